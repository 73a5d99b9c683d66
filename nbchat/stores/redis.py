"""`RedisStore`: a store on a server of Redis or Valkey.

A store is one *namespace* of the server: a set of sessions with one writer. All its keys have one hash tag.
Each operation is one script (`redis_scripts.py`), which the server executes as a whole, or not at all.

The clock of the server decides when a lease expires, so clocks of other machines do not matter.

An operation whose answer is lost may have been executed, or may be executed later, when the server reads
what was sent before the connection was closed. Every operation can be repeated, and the next write makes the
server refuse abandoned ones, so that they cannot take effect in another order.

A server can go back in time: restored from an older copy, or after the failover to a replica that lagged. A
write names the last accepted write of its token. If the server does not have that, the store raises
`StoreRolledBack` instead of writing, and the engine writes its sessions again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, overload

from msgspec import Struct, field

from nbchat.core.errors import (
    LeaseLost,
    SnapshotTooNew,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreRolledBack,
)
from nbchat.core.ids import new_id
from nbchat.stores import redis_scripts as scripts
from nbchat.stores.base import Contents, Entry, Kept, Record, arrange
from nbchat.stores.bodies import Tails, decompressed
from nbchat.stores.redis_client import RedisClient
from nbchat.stores.redis_rows import Argument, Rows, decoded, encoded, packed
from nbchat.stores.redis_server import check, shown

NAMESPACE: Final = re.compile(r"[A-Za-z0-9._~@+%-]{1,200}")
"""Names of namespaces."""

PREFIX: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

READ_AT_ONCE: Final = 100
"""Sessions that one script reads; the server does nothing else meanwhile."""


MAX_UNANSWERED: Final = 100
"""Writes without an answer that the next write makes the server refuse: the last ones."""


def root_of(prefix: str, namespace: str) -> str:
    """Return the beginning of the keys of a namespace.

    Raises
    ------
    ValueError
        If the namespace or the prefix is not valid.
    """
    if not NAMESPACE.fullmatch(namespace):
        raise ValueError(f"{namespace!r} is not a valid namespace: use letters, digits and ._~@+%-")
    if not PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is not a valid prefix: use letters, digits and ._:-")
    return f"{prefix}:{{{namespace}}}:"


class _Writes(Struct):
    """The writes of one token through this store."""

    lease_s: float = 0.0
    before: frozenset[str] = frozenset()
    """The tokens that claimed before it, and the empty text for no claim at all; empty until it claims."""
    accepted: str = ""
    """The last accepted write."""
    unanswered: list[str] = field(default_factory=list)
    """Later ones, whose answers were lost."""


class RedisStore(RedisClient):
    """Stores the sessions of a namespace on a server. Implements `FencedStore`.

    Parameters
    ----------
    url
        Address of the server: `redis://`, `rediss://` (TLS) or `unix://`, with user and password if needed.
    namespace
        Name of the set of sessions: letters, digits and `._~@+%-`.
    prefix
        Beginning of all keys.
    safe
        Refuse a server that may delete entries when its memory is full, or loses them when it restarts.
        `False` is for servers that keep them in a way that `INFO` does not show.
    timeout_s
        Longest time in seconds to connect, and to wait for an answer.
    address
        Address of this process, which others read while it holds the lease, and after that has expired.
    clock
        Returns the time in seconds since 1970-01-01 UTC; by default the server's clock.

    Raises
    ------
    ConfigError
        If the extra `redis` is not installed, or the URL is not valid.
    ValueError
        If the namespace or the prefix is not valid.
    StoreBusy, StoreReadOnly, StoreError
        If the server cannot be reached or cannot keep sessions. The hint has the remedy.
    SnapshotTooNew
        If a newer nbchat wrote the namespace.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        prefix: str = "nb",
        safe: bool = True,
        timeout_s: float = 5.0,
        address: str = "",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._root = root_of(prefix, namespace)
        super().__init__(url, timeout_s, f"{shown(url)} ({namespace})")
        self.namespace = namespace
        self._address = address
        self._clock = clock
        self._lock = threading.Lock()
        self._writes: dict[str, _Writes] = {}
        self._tails = Tails()
        try:
            check(self._call(lambda client: client.info()), self.where, safe=safe)
            self._check_layout()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        """Return the server, the namespace and whether it is open."""
        return f"<RedisStore {self.where}{'' if self._client else ', closed'}>"

    def _check_layout(self) -> None:
        layout = self._call(lambda client: client.hget(self._key("head"), "layout"))
        if layout is not None and int(layout) > scripts.LAYOUT:
            raise SnapshotTooNew(f"{self.where} was written by a newer nbchat (layout {int(layout)}).")

    # Calls of the server

    def _key(self, name: str) -> bytes:
        return encoded(self._root + name)

    def _keys_of(self, session_id: str, *names: str) -> list[bytes]:
        return [self._key(f"s:{session_id}:{name}") for name in names]

    def _now(self) -> Argument:
        return b"" if self._clock is None else int(self._clock() * 1000)

    # Reading

    def read(self) -> Contents:
        """Return all undamaged entries. Each session is read as it is at one moment."""
        names = self._call(lambda client: client.zrange(self._key("sessions"), 0, -1))
        return self._read([decoded(name) for name in names])

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        return self._read([session_id]).sessions.get(session_id, Kept())

    def _read(self, session_ids: Sequence[str]) -> Contents:
        rows = Rows()
        for at in range(0, len(session_ids), READ_AT_ONCE):
            chosen = session_ids[at : at + READ_AT_ONCE]
            keys = [key for one in chosen for key in self._keys_of(one, "base", "log")]
            for session_id, found in zip(chosen, self._run(scripts.READ, keys), strict=True):
                rows.add(session_id, found)
        return arrange(rows.bases, rows.stretches, rows.gone, rows.damage)

    def acknowledged(self) -> Mapping[str, bytes]:
        """Return the bodies of the last acknowledgements, oldest first."""
        keys = [self._key("acks"), self._key("ack_order")]
        ids, bodies = self._run(scripts.ACKNOWLEDGED, keys)
        return {
            decoded(one): decompressed(body)
            for one, body in zip(ids, bodies, strict=True)
            if body is not None
        }

    # The lease

    def claim(self, token: str, lease_s: float, *, after: str | None = None) -> bool:
        """Claim the lease; return whether the token holds it now."""
        return self._claim(token, lease_s, after or "", "*")

    def _claim(self, token: str, lease_s: float, after: str, only: str) -> bool:
        claimed, *before = self._run(
            scripts.CLAIM,
            [self._key("head"), self._key("tokens"), self._key("writes")],
            *(self._now(), encoded(token), int(lease_s * 1000)),
            *(encoded(after), encoded(only), encoded(self._address)),
        )
        if claimed:
            known = self._known(token)
            known.lease_s = lease_s
            known.before |= {"", *(decoded(one) for one in before[0])}
        return bool(claimed)

    def renew(self, token: str, lease_s: float) -> bool:
        """Extend the lease of the token; return False if it does not hold it.

        Raises
        ------
        StoreRolledBack
            If the server has gone back to an older state. The lease is held, and the store can be written.
        """
        known = self._known(token)
        status, *details = self._run(
            scripts.RENEW,
            [self._key("head"), self._key("tokens"), self._key("writes")],
            *(self._now(), encoded(token), int(lease_s * 1000), encoded(known.accepted)),
        )
        if status == b"unknown":
            self._claim_again(token, known, decoded(details[0]))
            return False
        if status == b"older":
            self._rolled_back(known)
        return bool(status == b"ok")

    def release(self, token: str) -> None:
        """End the lease of the token."""
        self._run(scripts.RELEASE, [self._key("head"), self._key("writes")], encoded(token))
        with self._lock:
            self._writes.pop(token, None)

    def holder(self) -> str | None:
        """Return the token that claimed last, unless it released the lease."""
        token, expires = self._call(lambda client: client.hmget(self._key("head"), "token", "expires"))
        return None if token is None or int(expires) == 0 else decoded(token)

    def _known(self, token: str) -> _Writes:
        with self._lock:
            return self._writes.setdefault(token, _Writes())

    def _claim_again(self, token: str, known: _Writes, last: str) -> None:
        """Claim the lease after the server went back to a time before the claim.

        Nothing happens if another token has claimed since then: it may have written, so this one has lost.

        Raises
        ------
        StoreRolledBack
            If the token holds the lease again.
        """
        if last in known.before and self._claim(token, known.lease_s, last, last):
            self._rolled_back(known)

    def _rolled_back(self, known: _Writes) -> None:
        known.accepted = ""
        raise StoreRolledBack(
            f"{self.where} has gone back to an older state.",
            hint="The sessions in memory are written again; others are as they were then.",
        )

    # Writing

    @overload
    def write(self, entries: Sequence[Entry], /) -> None: ...

    @overload
    def write(self, token: str, write_id: str, entries: Sequence[Record], /) -> None: ...

    def write(
        self, first: str | Sequence[Entry], write_id: str = "", records: Sequence[Record] = (), /
    ) -> None:
        """Write records by one script; see `FencedStore`.

        Ids of writes are kept until another token claims. A write whose answer was lost can be repeated until
        another one is accepted.

        Raises
        ------
        StoreRolledBack
            If the server has gone back to an older state. Nothing is written; the next write is.
        """
        if isinstance(first, str):
            self._write_fenced(first, write_id, records)
        else:
            self._refused(first, self._write("", new_id("l-"), "", (), first))

    def _write_fenced(self, token: str, write_id: str, records: Sequence[Record]) -> None:
        known = self._known(token)
        with self._lock:
            abandoned = [one for one in known.unanswered if one != write_id]
            # Another write has none meanwhile, and neither has the next one if this one is not accepted.
            tails, self._tails = self._tails, Tails()
        try:
            answer = self._write(token, write_id, known.accepted, abandoned, records, tails)
            if answer[0] == b"tail":
                answer = self._write(token, write_id, known.accepted, abandoned, records)
            elif list(answer) == [b"ok", 0]:
                with self._lock:
                    self._tails = tails
        except StoreError:
            with self._lock:
                known.unanswered = [*abandoned, write_id][-MAX_UNANSWERED:]
            raise
        if answer[0] == b"unknown":
            self._claim_again(token, known, decoded(answer[1]))
        elif answer[0] == b"older":
            self._rolled_back(known)
        self._refused(records, answer)
        with self._lock:
            known.accepted = write_id
            known.unanswered = [one for one in known.unanswered if one not in {*abandoned, write_id}]

    def _write(  # noqa: PLR0917 - the parts of the command
        self,
        token: str,
        write_id: str,
        accepted: str,
        abandoned: Sequence[str],
        records: Sequence[Record],
        tails: Tails | None = None,
    ) -> Sequence[Any]:
        session_ids, fields = packed(records, tails)
        names = ("head", "tokens", "writes", "sessions", "acks", "ack_order")
        keys = [self._key(name) for name in names]
        for session_id in session_ids:
            keys += self._keys_of(session_id, "base", "log", "ends")
        head = (self._now(), *(encoded(text) for text in (token, write_id, accepted)))
        lists: list[list[Argument]] = [[encoded(one) for one in texts] for texts in (abandoned, session_ids)]
        listed = [one for each in lists for one in (len(each), *each)]
        answer: Sequence[Any] = self._run(scripts.WRITE, keys, *head, *listed, *fields)
        return answer

    def _refused(self, records: Sequence[Record], answer: Sequence[Any]) -> None:
        """Raise the error of a write that was refused."""
        status = answer[0]
        if status in (b"lost", b"unknown"):
            raise LeaseLost(
                f"the lease of {self.where} is not held.",
                hint="Another process has taken over these sessions.",
            )
        if status == b"busy":
            raise StoreBusy(
                f"{decoded(answer[1])!r} holds the lease of {self.where}.",
                hint="A process that runs these sessions has it; everything is kept in memory here.",
            )
        if status == b"abandoned":
            raise StoreConflict("a later write was accepted after this one had no answer.", hint="")
        if status == b"conflict":
            raise StoreConflict(_conflict(records, answer[1:]), hint="")

    # The store itself

    def recall(self, name: str) -> str:
        """Return a property of the store."""
        found = self._call(lambda client: client.hget(self._key("facts"), encoded(name)))
        return "" if found is None else decoded(found)

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        self._call(lambda client: client.hset(self._key("facts"), encoded(name), encoded(value)))


def _conflict(records: Sequence[Record], details: Sequence[Any]) -> str:
    """Return a description of records that do not continue what is stored."""
    kind, index, *values = details
    session = f"session {packed(records)[0][int(index) - 1]!r}"
    if kind == b"gone":
        return f"{session} is deleted."
    if kind == b"needed":
        return f"{session}: later events in the store need those that would be replaced."
    if kind == b"gap":
        return f"{session}: events {values[0]} to {values[1]} are missing."
    if kind == b"writer":
        return f"{session}: event {values[0]} was written by {decoded(values[1])!r}."
    return f"run {decoded(values[1])!r} ended at event {values[2]}; event {values[0]} is too late."
