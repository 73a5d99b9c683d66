"""`Backend`: interface of clients to an engine, in this process or over a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from nbchat.core.kernel_commands import Command, Outcome
from nbchat.core.transcript import SessionState
from nbchat.engine.callbacks import Callback
from nbchat.engine.limits import Limits
from nbchat.engine.tools import Policy, Tool
from nbchat.providers.base import Provider, Request


class Backend(Protocol):
    """Reads are immutable values, changes are commands. All methods may be called from any thread."""

    epoch: str
    """Identifies the engine; each engine has its own epoch."""

    # Reading and changing

    def state(self, session_id: str) -> SessionState:
        """Return a session's state with all its messages, including one that is deleted but can be restored.

        Raises
        ------
        SessionGone
            If there is no such session any more.
        """
        ...

    def execute(self, command: Command, timeout_s: float | None = None) -> Outcome:
        """Carry out a command and wait for its acknowledgement; `state` then includes its effect.

        Raises
        ------
        NbchatError
            If the command was refused; nothing has changed.
        TimeoutError
            If there was no acknowledgement in time.
        """
        ...

    def watch(self, session_id: str, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `wake` after every change of a session, for as long as the context lasts.

        `wake` is called on a thread of the backend and must not block.
        """
        ...

    # The sessions

    def find(self, key: str) -> str | None:
        """Return the id of the session with this id, else of the oldest open one with this title.

        Raises
        ------
        TypeError
            If `key` is not a string.
        """
        ...

    def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions that are not temporary, oldest first."""
        ...

    def streaming(self) -> Sequence[SessionState]:
        """Return the sessions with a run that is not over, temporary ones included, oldest first."""
        ...

    def position(self, session_id: str) -> int | None:
        """Return the position of a session's prompt in the engine's queue, from 1."""
        ...

    def last_asked(self) -> Mapping[str, float]:
        """Return when each session's newest run was queued."""
        ...

    def snapshot(self, session_ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Return all sessions that are saved, or some, as JSON values: a consistent cut at any time."""
        ...

    def save(self, timeout_s: float) -> bool:
        """Save everything; return False if there is no journal."""
        ...

    def stats(self) -> dict[str, Any]:
        """Return the values of `registry.stats()`."""
        ...

    def clear_cache(self) -> int:
        """Remove all answers from the cache, and return their number."""
        ...

    # Of this process only

    @property
    def share(self) -> Literal["schema", "summary", "rows"]:
        """Level of detail at which a variable is sent with `context=`."""
        ...

    @property
    def limits(self) -> Limits:
        """The limits in force; `SetLimits` changes them."""
        ...

    def on(self, event: str, callback: Callback, session_id: str | None = None) -> Callable[[], None]:
        """Subscribe a callback; return the function that unsubscribes."""
        ...

    def offer(self, provider: Provider) -> str:
        """Keep a provider object for the next command that names the returned id."""
        ...

    def tools_of(self, session_id: str) -> tuple[Tool, ...]:
        """Return the tools of a session."""
        ...

    def use_tools(self, session_id: str, tools: tuple[Tool, ...]) -> None:
        """Set the tools of a session, for runs that start later. They stay objects of this process."""
        ...

    def policy_of(self, session_id: str) -> Policy | None:
        """Return the policy of a session."""
        ...

    def use_policy(self, session_id: str, policy: Policy | None) -> None:
        """Set the policy of a session. It stays an object of this process."""
        ...

    def request_of(self, session_id: str, run_id: str) -> Request | None:
        """Return the request of a run, if it is known."""
        ...

    def cause_of(self, session_id: str, run_id: str) -> BaseException | None:
        """Return the exception behind a run's error, if it is known."""
        ...

    def shutdown(self, timeout_s: float) -> None:
        """Release the engine; an engine in this process ends all its runs."""
        ...

    def refuse_to_block(self, what: str) -> None:
        """Raise `WouldDeadlock` on a thread that would wait for itself."""
        ...
