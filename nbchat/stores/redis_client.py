"""`RedisClient`: calls a server of Redis or Valkey, and translates its errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nbchat.core.errors import StoreError
from nbchat.stores.redis_server import connect, secrets_in, translated

if TYPE_CHECKING:
    from redis import Redis

    from nbchat.stores.redis_rows import Argument
    from nbchat.stores.redis_scripts import Script


class RedisClient:
    """The connections of this process to a server. Methods may be called from any thread.

    Parameters
    ----------
    url
        Address of the server.
    timeout_s
        Longest time in seconds to connect, and to wait for an answer.
    where
        The server, for display.
    """

    def __init__(self, url: str, timeout_s: float, where: str) -> None:
        self.where: str = where
        self._secrets = secrets_in(url)
        self._pid = os.getpid()
        self._client: Redis | None = connect(url, timeout_s)

    def _call(self, work: Callable[[Redis], Any]) -> Any:  # noqa: ANN401 - as the library
        """Return the result of a call; repeat it once if the connection was closed, as after a restart."""
        client = self._client
        if client is None or self._pid != os.getpid():
            raise StoreError(f"{self.where} is closed.")
        with translated(self.where, self._secrets):
            from redis import AuthenticationError, BusyLoadingError, ConnectionError  # noqa: A004, PLC0415

            try:
                return work(client)
            except (AuthenticationError, BusyLoadingError):
                raise
            except ConnectionError:
                return work(client)

    def _run(self, script: Script, keys: Sequence[bytes], *arguments: Argument) -> Any:  # noqa: ANN401
        """Return the result of a script, which is sent in full only if the server does not have it."""

        def work(client: Redis) -> Any:  # noqa: ANN401 - as above
            from redis.exceptions import NoScriptError  # noqa: PLC0415 - an extra

            try:
                return client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return client.eval(script.text, len(keys), *keys, *arguments)

        return self._call(work)

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()
            client.connection_pool.disconnect()
