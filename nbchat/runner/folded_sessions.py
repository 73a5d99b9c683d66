"""`FoldedSessions`: the kernel's copies of the sessions that it follows, folded from the runner's events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbchat.core.clock import now
from nbchat.core.errors import SessionGone
from nbchat.core.recovery import recovered
from nbchat.core.transcript import SessionState, apply_event
from nbchat.runner.messages import FollowedEvents


class FoldedSessions:
    """States of sessions by id, and the functions that wait for changes. For use from any thread."""

    def __init__(self) -> None:
        self._states: dict[str, SessionState] = {}
        self._watchers: dict[str, set[Callable[[], None]]] = {}
        self._ended: set[str] = set()
        """Sessions that were not saved, and whose runner was killed. They can only be read."""

    def __repr__(self) -> str:
        """Return the number of sessions."""
        return f"<FoldedSessions, {len(self._states)}>"

    def get(self, session_id: str) -> SessionState | None:
        """Return the state of a session that is followed."""
        return self._states.get(session_id)

    def clear(self) -> dict[str, SessionState]:
        """Forget all states, and return them: another link begins with whole ones."""
        before = dict(self._states)
        self._states.clear()
        return before

    def forget(self, session_id: str) -> None:
        """Forget a state, which is fetched again when it is read."""
        self._states.pop(session_id, None)

    def replace(self, state: SessionState) -> None:
        """Use a complete state."""
        self._states[state.id] = state
        self.wake(state.id)

    def fold(self, message: FollowedEvents) -> None:
        """Apply events."""
        state = self._states.get(message.session_id)
        if state is None or state.seq != message.first_seq - 1:
            self.forget(message.session_id)
            return
        for event in message.events:
            state = apply_event(state, event)
        if state.temporary and state.deleted:
            self.forget(message.session_id)
        else:
            self._states[message.session_id] = state
        self.wake(message.session_id)

    # Sessions that ended with a killed runner

    def end(self, state: SessionState) -> None:
        """Keep a session that a killed runner had not saved; its live runs are interrupted."""
        if not state.deleted:
            self._ended.add(state.id)
            self._states[state.id] = recovered(state, now())

    def discard(self, session_id: str) -> None:
        """Forget a session that ended with its runner; no effect on others."""
        if session_id in self._ended:
            self._ended.remove(session_id)
            self.forget(session_id)

    def refuse_ended(self, session_id: object) -> None:
        """Raise `SessionGone` for a session that ended with its runner."""
        if isinstance(session_id, str) and session_id in self._ended:
            raise SessionGone(
                session_id,
                f"session {session_id!r} was not saved, and ended with its runner, which was killed.",
                "Its text can still be read. Create a new session to ask again.",
            )

    # Waiting

    def watched(self) -> list[str]:
        """Return the sessions that are waited for."""
        return list(self._watchers)

    def wake(self, *session_ids: str) -> None:
        """Call the functions that wait for changes of these sessions."""
        for session_id in session_ids:
            for wake in list(self._watchers.get(session_id, ())):
                wake()

    @contextmanager
    def watch(self, session_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` after every change of a session."""
        watchers = self._watchers.setdefault(session_id, set())
        try:
            watchers.add(wake)
            yield
        finally:
            watchers.discard(wake)
            if not watchers:
                self._watchers.pop(session_id, None)
