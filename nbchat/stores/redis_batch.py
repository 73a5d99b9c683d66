"""`RedisBatch`: the prompts and answers of batches on a server of Redis or Valkey, and a rate limiter.

Several processes send the prompts of one batch. Each has a token and a lease, which it renews. A prompt is
claimed by one of them, and is marked as sent before it is sent. If the lease of its owner expires, a prompt
that was marked is *unknown*: it may have been answered. One that was not marked is free.

The server's clock decides when a lease expires and when a request may be sent. Every operation is one script
and can be repeated.

===========================  ======  ===================================================================
`nb:{<name>}:…`              type    contents
===========================  ======  ===================================================================
`map:<batch>:answers`        hash    the answer of each prompt
`map:<batch>:failed`         hash    `<position in the log>:<outcome>` of prompts that failed
`map:<batch>:open`           hash    claimed prompts: `<w or s>:<times sent>:<token>:<response id>`
`map:<batch>:owners`         hash    the time at which the lease of each token expires; 0: closed
`map:<batch>:log`            list    prompts that were answered, have failed or are free again
`batches`                    zset    ids of temporary batches, by the time of their last use
`gate:<profile>`             hash    `next`: time of the next request; `closed`: none before this time
===========================  ======  ===================================================================
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from nbchat.core.errors import ConfigError, NbchatError
from nbchat.core.ids import new_id
from nbchat.stores import redis_batch_scripts as scripts
from nbchat.stores.bodies import compressed, decompressed
from nbchat.stores.redis import NAMESPACE
from nbchat.stores.redis_client import RedisClient
from nbchat.stores.redis_rows import Argument, decoded, encoded
from nbchat.stores.redis_server import check, shown

if TYPE_CHECKING:
    from redis import Redis

    from nbchat.stores.redis_scripts import Script

logger = logging.getLogger("nbchat")

LEASE_S: Final = 10.0
"""Seconds after which the prompts of a process that no longer renews its lease are unknown."""

TIMEOUT_S: Final = 5.0
"""Longest time to connect, and to wait for an answer of the server."""

READ_AT_ONCE: Final = 500
"""Prompts that one script reads; the server does nothing else meanwhile."""

NEWS_AT_ONCE: Final = 200

TEMPORARY_S: Final = 7 * 86_400.0
"""Seconds for which a temporary batch remains that no process uses."""

_TABLES: Final = ("answers", "failed", "open", "owners", "log")


class Outcome(Struct, frozen=True, kw_only=True):
    """The state of a prompt that this process does not send."""

    key: str
    body: bytes | None = None
    """The outcome, as it was stored, or empty if it is damaged; `None`: the prompt is free, or unknown."""
    times: int = 0
    """Of an unknown prompt: the number of times it was sent; 0 for others."""
    response_id: str | None = None


class RedisBatch(RedisClient):
    """Coordinates the processes of one batch. For use from any thread; methods block.

    Parameters
    ----------
    url
        Address of the server.
    name
        Name of a set of batches, which share the rate of their requests.
    batch
        Id of a temporary batch, which is deleted some days after its last use. Empty for one that remains.
    joins
        Another process began the batch, and decides which failed prompts are sent again. `False`: those that
        failed before this process began.
    lease_s, timeout_s
        Duration of the lease, and the longest time to wait for an answer of the server.

    Raises
    ------
    ConfigError
        If the extra `redis` is not installed, or the URL is not valid.
    StoreError
        If the server cannot be reached, or may lose answers.
    """

    def __init__(
        self,
        url: str,
        name: str,
        batch: str = "",
        *,
        joins: bool = False,
        lease_s: float = LEASE_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if not NAMESPACE.fullmatch(name):
            raise ConfigError(
                f"{shown(url)!r} has no valid name of a batch.",
                hint="Add one of letters, digits and ._~@+- after #, as in redis://host/0#reviews.",
            )
        super().__init__(url, timeout_s, f"{shown(url)}#{name}")
        self.token: str = new_id("l-")
        self._root = f"nb:{{{name}}}:"
        self._table = f"map:{batch}:"
        self._batch = batch
        self._kept_ms = int(TEMPORARY_S * 1000) if batch else 0
        self._lease_s = lease_s
        self._closing = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="nbchat-batch-lease", daemon=True)
        try:
            check(self._call(lambda client: client.info()), self.where, safe=True)
            self._cursor: int = self._call(lambda client: client.llen(self._key(self._table + "log")))
            self._start = 0 if joins else self._cursor
            if batch:
                self._call(self._register)
        except BaseException:
            super().close()
            raise
        self._renewing.start()

    def __repr__(self) -> str:
        """Return the server and the batch."""
        return f"<RedisBatch {self.where}>"

    def _register(self, client: Redis) -> None:
        """Note when this batch was used last."""
        with client.pipeline() as pipeline:
            now = time.time()
            pipeline.zadd(self._key("batches"), {self._batch: now})
            pipeline.zremrangebyscore(self._key("batches"), "-inf", now - TEMPORARY_S)
            pipeline.pexpire(self._key("batches"), self._kept_ms)
            pipeline.execute()

    def _key(self, name: str) -> bytes:
        return encoded(self._root + name)

    def _script(self, script: Script, names: Iterable[str], *arguments: Argument) -> Any:  # noqa: ANN401 - as there
        return self._run(script, [self._key(self._table + name) for name in names], *arguments)

    @property
    def _owner(self) -> tuple[Argument, Argument]:
        return encoded(self.token), int(self._lease_s * 1000)

    # The lease

    def _renew(self) -> None:
        while not self._closing.wait(self._lease_s / 4):
            try:
                self._script(scripts.RENEW, _TABLES, *self._owner, self._kept_ms)
                if self._batch:
                    self._call(self._register)
            except NbchatError as error:
                logger.debug("the lease of a batch could not be renewed: %s", error)

    def close(self, *, is_abandoned: bool = False) -> None:
        """Release the prompts of this process, and close the connection.

        Parameters
        ----------
        is_abandoned
            Prompts that are marked as sent are unknown from now on. `False`: they are free again.
        """
        self._closing.set()
        self._renewing.join()
        try:
            self._script(scripts.CLOSE, _TABLES, encoded(self.token), int(is_abandoned), self._kept_ms)
        finally:
            super().close()

    def delete(self) -> None:
        """Delete the batch, except for its rate, and close the connection. No other process may use it."""
        self._closing.set()
        self._renewing.join()
        names = [self._key(self._table + name) for name in _TABLES]

        def unlink(client: Redis) -> None:
            with client.pipeline() as pipeline:
                pipeline.unlink(*names)
                pipeline.zrem(self._key("batches"), encoded(self._batch))
                pipeline.execute()

        try:
            self._call(unlink)
        finally:
            super().close()

    # Prompts

    def read(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """Return the answers that are stored, and the unknown prompts."""
        found = {}
        for at in range(0, len(keys), READ_AT_ONCE):
            chosen = [encoded(key) for key in keys[at : at + READ_AT_ONCE]]
            rows = self._script(scripts.READ, ["answers", "open", "owners"], *chosen)
            found.update({outcome.key: outcome for outcome in map(_outcome, rows)})
        return found

    def news(self) -> list[Outcome]:
        """Return what has happened since the last call.

        Returns
        -------
        Outcomes and prompts that were released, once each, and at every call those that are unknown or free
        because the lease of their owner has expired.
        """
        count, rows = self._script(scripts.NEWS, _TABLES, self._cursor, NEWS_AT_ONCE)
        self._cursor += count
        return [_outcome(row) for row in rows]

    def claim(self, key: str, *, again: bool) -> bool:
        """Claim a prompt for this process, if it is free; `again`: or unknown. A repeated claim succeeds."""
        keys = ["answers", "failed", "open", "owners"]
        return bool(self._script(scripts.CLAIM, keys, *self._owner, encoded(key), int(again), self._start))

    def sent(self, key: str) -> bool:
        """Mark a claimed prompt as sent; False if another process has it now."""
        keys = ["answers", "open", "owners"]
        return bool(self._script(scripts.SENT, keys, *self._owner, encoded(key)))

    def answering(self, key: str, response_id: str) -> None:
        """Store the id under which the server keeps an answer that has begun."""
        arguments = (encoded(one) for one in (self.token, key, response_id))
        self._script(scripts.ANSWERING, ["open"], *arguments)

    def unanswered(self, key: str) -> None:
        """Mark a prompt as not sent; it remains claimed."""
        self._script(scripts.UNANSWERED, ["open"], encoded(self.token), encoded(key))

    def keep(self, key: str, body: bytes, *, is_answer: bool) -> None:
        """Store the outcome of a prompt. The first answer remains; a failure counts until this batch ends."""
        arguments = (encoded(self.token), encoded(key), int(is_answer), compressed(body))
        self._script(scripts.KEEP, _TABLES, *arguments)

    # Requests

    def take_turn(self, profile: str, interval_s: float) -> float:
        """Return 0 if a request may be sent now, which counts it; else the seconds until one may be sent."""
        wait = self._run(scripts.TURN, [self._key(f"gate:{profile}")], int(interval_s * 1_000_000))
        return int(wait) / 1_000_000

    def close_gate(self, profile: str, seconds: float) -> None:
        """Let no process send a request for this time; of several calls the latest end applies."""
        self._run(scripts.CLOSE_GATE, [self._key(f"gate:{profile}")], int(seconds * 1_000_000))


def memory_of(url: str, name: str) -> int:
    """Return the bytes of memory that the server uses for the answers of temporary batches.

    Parameters
    ----------
    url, name
        As for `RedisBatch`.

    Raises
    ------
    StoreError
        If the server cannot be reached.
    """
    with closing(_Memory(url, TIMEOUT_S, f"{shown(url)}#{name}")) as server:
        return server.of_batches(f"nb:{{{name}}}:")


class _Memory(RedisClient):
    def of_batches(self, root: str) -> int:
        def read(client: Redis) -> int:
            with client.pipeline(transaction=False) as pipeline:
                batches: list[Any] = client.zrange(encoded(f"{root}batches"), 0, -1)
                for batch in batches:
                    pipeline.memory_usage(encoded(f"{root}map:{decoded(batch)}:answers"))
                return sum(size or 0 for size in pipeline.execute())

        found: int = self._call(read)
        return found


def _outcome(row: Sequence[Any]) -> Outcome:
    key, kind = decoded(row[0]), row[1]
    if kind == b"free":
        return Outcome(key=key)
    if kind == b"unknown":
        return Outcome(key=key, times=int(row[2]), response_id=decoded(row[3]) or None)
    try:
        return Outcome(key=key, body=decompressed(row[2]))
    except zlib.error:
        return Outcome(key=key, body=b"")
