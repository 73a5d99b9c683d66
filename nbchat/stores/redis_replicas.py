"""`RedisReplicas`: the processes that share a server of Redis or Valkey, and the namespaces they hold."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from nbchat.stores.redis import root_of
from nbchat.stores.redis_client import RedisClient
from nbchat.stores.redis_rows import decoded, encoded
from nbchat.stores.redis_scripts import ANNOUNCE, ANNOUNCED
from nbchat.stores.redis_server import shown


class RedisReplicas(RedisClient):
    """The addresses of replicas. Methods block, and may be called from any thread.

    Parameters
    ----------
    url
        Address of the server, as of `RedisStore`.
    prefix
        Beginning of all keys.
    timeout_s
        Longest time in seconds to connect, and to wait for an answer.

    Raises
    ------
    ConfigError
        If the extra `redis` is not installed, or the URL is not valid.
    """

    def __init__(self, url: str, *, prefix: str = "nb", timeout_s: float = 5.0) -> None:
        super().__init__(url, timeout_s, shown(url))
        self._prefix = prefix

    def __repr__(self) -> str:
        """Return the server."""
        return f"<RedisReplicas at {self.where}>"

    def announce(self, address: str, seconds: float) -> str:
        """Announce a replica for some time; return the secret that all replicas share, which it may create.

        Raises
        ------
        StoreError
            If the server cannot be reached.
        """
        keys = [encoded(f"{self._prefix}:replicas"), encoded(f"{{{self._prefix}:replicas}}:secret")]
        arguments = (b"", encoded(address), int(seconds * 1000), encoded(secrets.token_hex(32)))
        return decoded(self._run(ANNOUNCE, keys, *arguments))

    def announced(self) -> Sequence[str]:
        """Return the addresses of all replicas that are announced. Raises as `announce`."""
        found = self._run(ANNOUNCED, [encoded(f"{self._prefix}:replicas")], b"")
        return [decoded(one) for one in found]

    def leave(self, address: str) -> None:
        """Announce a replica no longer. Raises as `announce`."""
        self._call(lambda client: client.zrem(f"{self._prefix}:replicas", encoded(address)))

    def holder(self, namespace: str) -> str | None:
        """Return the address of the replica that holds a namespace, or held it last.

        Its lease may have expired, for example because the server was not reachable for a while.

        Returns
        -------
        `None` if the lease was released, if there was none, or if its holder has no address.

        Raises
        ------
        StoreError
            If the server cannot be reached.
        """
        head = encoded(root_of(self._prefix, namespace) + "head")
        expires, address = self._call(lambda client: client.hmget(head, "expires", "address"))
        return None if not address or int(expires or 0) == 0 else decoded(address)
