"""`Quotas`: the limits of each namespace of a service, which its operator sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nbchat.core.commands import Fork, NewSession
from nbchat.core.errors import CommandError, TooManySessions
from nbchat.core.kernel_commands import (
    Command,
    CreateSession,
    GetOrCreateSession,
    GetOrCreateThread,
    Restore,
)
from nbchat.runner.messages import STARTS_RUN

if TYPE_CHECKING:
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.engine.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Limits of one namespace."""

    links: int = 50
    """Kernels that are linked."""
    live_runs: int = 32
    """Runs that have a connection to a model at the same time; others wait. The same for each batch."""
    sessions: int = 10_000
    store_bytes: int = 1_000_000_000
    """Bytes of the sessions, beyond which no answer is started."""


DEFAULTS: Final = Quotas()


class Quota:
    """Refuses what would exceed the quotas of one namespace. Only for its loop.

    Parameters
    ----------
    quotas
        The limits.
    engine
        The engine of the namespace.
    stored_bytes
        Returns the bytes of its sessions.
    """

    def __init__(self, quotas: Quotas, engine: Engine, stored_bytes: Callable[[], int]) -> None:
        self._quotas = quotas
        self._engine = engine
        self._stored_bytes = stored_bytes

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
        if created or isinstance(command, STARTS_RUN):
            self._check_bytes()

    def check_batch(self, request: BatchRequest) -> None:
        """Raise `CommandError` if a batch would have too many live runs, or the store is full."""
        if request.concurrency > self._quotas.live_runs:
            raise CommandError(
                f"concurrency must be at most {self._quotas.live_runs} in this service, not "
                f"{request.concurrency}."
            )
        self._check_bytes()

    def _check_bytes(self) -> None:
        stored = self._stored_bytes()
        if stored >= self._quotas.store_bytes:
            raise CommandError(
                f"the sessions have {stored / 1e6:,.1f} MB; this service allows "
                f"{self._quotas.store_bytes / 1e6:,.1f} MB.",
                hint="Delete some, or ask the operator of the service for more.",
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
