"""`Quotas`: the limits of each namespace of a service, which its operator sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nbchat.core import commands as c
from nbchat.core.commands import Fork, NewSession
from nbchat.core.errors import CommandError, TooManySessions
from nbchat.core.kernel_commands import (
    CleanUpStale,
    Command,
    CreateSession,
    DiscardTemporary,
    GetOrCreateSession,
    GetOrCreateThread,
    PauseAll,
    Restore,
    SetLimits,
)
from nbchat.core.values import encode_json

if TYPE_CHECKING:
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.engine.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Limits of one namespace."""

    links: int = 50
    """Kernels that are linked."""
    live_runs: int = 32
    """Runs that have a connection to a model at the same time; others wait. The same for all batches."""
    sessions: int = 10_000
    store_bytes: int = 1_000_000_000
    """Bytes of sessions and of answers of batches, beyond which no answer is started and nothing is added."""
    idle_s: float = 600.0
    """Time without a kernel and without a live run, after which the sessions leave memory."""


DEFAULTS: Final = Quotas()


STORED_S: Final = 5.0
"""Time after which an accepted command is stored, or has failed."""

_ADDS_NOTHING: Final = (
    *(c.Stop, c.StopAll, c.Pause, c.RetryNow, c.Decide, c.SwitchTool, c.Keep, c.Discard, c.SelectVersion),
    *(c.Pin, c.Move, c.Close, c.Archive, c.Delete, c.Viewing, c.SetView, c.ListModels),
    *(DiscardTemporary, PauseAll, CleanUpStale, SetLimits),
)
"""Commands that are accepted when the store is full. All others add content or start an answer."""


class Quota:
    """Refuses what would exceed the quotas of one namespace. Only for its loop.

    Parameters
    ----------
    quotas
        The limits.
    engine
        The engine of the namespace.
    stored_bytes
        Returns the bytes that are stored for it.
    concurrency
        Returns the sum of the concurrencies of its batches in progress.
    """

    def __init__(
        self, quotas: Quotas, engine: Engine, stored_bytes: Callable[[], int], concurrency: Callable[[], int]
    ) -> None:
        self._quotas = quotas
        self._engine = engine
        self._stored_bytes = stored_bytes
        self._concurrency = concurrency
        self._stored = 0
        """The bytes that were stored when they were last checked."""
        self._added = 0
        """Bytes of the commands accepted since then, which may not be stored yet."""
        self._until = 0.0

    def check_command(self, command: Command) -> None:
        """Raise `CommandError` if a command would create too many sessions, or the store is full."""
        if self._engine.outcomes.get(command.id) is not None:
            return  # it was executed before, and is only acknowledged again
        created = self._created_by(command)
        if created and len(self._engine.sessions) + created > self._quotas.sessions:
            raise TooManySessions(
                f"there are {len(self._engine.sessions):,} sessions; this service allows "
                f"{self._quotas.sessions:,}.",
                hint="Delete some, or ask the operator of the service for more.",
            )
        if not (isinstance(command, _ADDS_NOTHING) or self._only_gets(command)):
            self._check_bytes(len(encode_json(command)))

    def check_batch(self, request: BatchRequest) -> None:
        """Raise `CommandError` if the batches would have too many live runs."""
        others = self._concurrency()
        if others + request.concurrency > self._quotas.live_runs:
            raise CommandError(
                f"concurrency must be at most {self._quotas.live_runs} in this service, not "
                f"{request.concurrency}{f' in addition to {others} of other batches' if others else ''}.",
                hint="Use a smaller concurrency=, or wait for the other batches.",
            )

    def refusal(self) -> CommandError | None:
        """Return the error of batches that would send more prompts, if the store is full."""
        stored = self._stored_bytes()
        return self._full(stored) if stored >= self._quotas.store_bytes else None

    def _check_bytes(self, added: int) -> None:
        """Raise `CommandError` if the store would be too large with what a command adds."""
        stored, now = self._stored_bytes(), self._engine.loop.aio.time()
        if stored != self._stored or now > self._until:
            self._stored, self._added, self._until = stored, 0, now + STORED_S
        if stored + self._added + added > self._quotas.store_bytes:
            raise self._full(stored + self._added + added)
        self._added += added

    def _full(self, needed: int) -> CommandError:
        return CommandError(
            f"the sessions and the answers of batches would have {needed / 1e6:,.1f} MB; this service allows "
            f"{self._quotas.store_bytes / 1e6:,.1f} MB.",
            hint="Delete some sessions, or ask the operator of the service for more.",
        )

    def _only_gets(self, command: Command) -> bool:
        """Return whether a command only returns a session that exists."""
        return (
            isinstance(command, GetOrCreateSession | GetOrCreateThread)
            and not self._created_by(command)
            and not command.settings.changes()
        )

    def _created_by(self, command: Command) -> int:
        """Return how many sessions a command creates, at most."""
        sessions = self._engine.sessions
        match command:
            case CreateSession() | NewSession() | Fork():
                return 1
            case GetOrCreateSession():
                return int(sessions.find(command.key) is None)
            case GetOrCreateThread():
                return int(sessions.of_thread(command.thread_id) is None)
            case Restore():
                return sum(sessions.get(saved.state.id) is None for saved in command.snapshot.sessions)
            case _:
                return 0
