"""`LocalBackend`: the backend whose engine runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from nbchat.core.errors import SessionGone
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import Command, Outcome
from nbchat.core.transcript import SessionState
from nbchat.engine.callbacks import Callback
from nbchat.engine.carry_out import carry_out
from nbchat.engine.engine import Engine
from nbchat.engine.limits import Limits
from nbchat.engine.live_session import LiveSession
from nbchat.engine.tools import Policy, RemotePolicy, Tool
from nbchat.providers.base import Provider, Request


class LocalBackend:
    """Posts commands to the engine's loop. Implements `Backend`."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine = engine
        self.epoch: str = engine.epoch

    def __repr__(self) -> str:
        """Return the engine."""
        return f"<LocalBackend of {self.engine!r}>"

    def _session(self, session_id: str) -> LiveSession:
        found = self.engine.sessions.get_including_deleted(session_id)
        if found is None:
            raise SessionGone(session_id)
        return found

    def state(self, session_id: str) -> SessionState:
        """Return a session's state; an evicted one is loaded first."""
        session = self._session(session_id)
        if session.evicted:
            # The state is read in the same step: the session may be evicted again in the next one.
            return self.engine.loop.call(lambda: self.engine.ensure_loaded(session).shown)
        return session.shown

    def execute(self, command: Command, timeout_s: float | None = None) -> Outcome:
        """Carry out a command on the engine's loop and wait for it."""
        return self.engine.loop.call_within(timeout_s, carry_out, self.engine, command)

    @contextmanager
    def watch(self, session_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` on the engine's loop after every change of a session."""
        loop, watchers = self.engine.loop, self._session(session_id).watchers
        try:
            loop.call(watchers.add, wake)  # undone below even if this call is interrupted
            yield
        finally:
            loop.post(watchers.discard, wake)

    def find(self, key: str) -> str | None:
        """Return the id of the session with this id or title."""
        found = self.engine.sessions.find(key)
        return None if found is None else found.id

    def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions that are not temporary, oldest first."""
        return [session.id for session in self.engine.sessions if not session.state.temporary]

    def streaming(self) -> Sequence[SessionState]:
        """Return the sessions with a run that is not over."""
        states = [session.shown for session in self.engine.sessions]
        return [state for state in states if state.live is not None]

    def position(self, session_id: str) -> int | None:
        """Return the position of a session's prompt in the queue, from 1."""
        return self._session(session_id).position

    def last_asked(self) -> Mapping[str, float]:
        """Return when each session's newest run was queued."""
        return self.engine.last_asked()

    def snapshot(self, session_ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Return all sessions that are saved, or some, as JSON values."""
        snapshots = self.engine.snapshots
        return snapshots.dump(self.engine.loop.call(snapshots.take, session_ids))

    def save(self, timeout_s: float) -> bool:
        """Save everything; return False if there is no journal."""
        engine = self.engine
        engine.loop.call(engine.request_checkpoint)
        if engine.journal is None:
            return False
        engine.loop.run(engine.journal.settled(""), timeout_s)
        return True

    def clear_cache(self) -> int:
        """Remove all answers from the cache, and return their number."""
        return self.engine.saved_answers.clear()

    def stats(self) -> dict[str, Any]:
        """Return the values of `registry.stats()`."""
        return self.engine.stats()

    @property
    def share(self) -> Literal["schema", "summary", "rows"]:
        """Level of detail at which a variable is sent with `context=`."""
        return self.engine.providers.defaults.share

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self.engine.limits

    def on(self, event: str, callback: Callback, session_id: str | None = None) -> Callable[[], None]:
        """Subscribe a callback; return the function that unsubscribes."""
        return self.engine.callbacks.on(event, callback, session_id)

    def offer(self, provider: Provider) -> str:
        """Keep a provider object for the next command that names the returned id."""
        provider_id = new_id("o-")
        self.engine.offered[provider_id] = provider
        return provider_id

    def tools_of(self, session_id: str) -> tuple[Tool, ...]:
        """Return the tools of a session."""
        return tuple(tool for tool in self._session(session_id).tools if isinstance(tool, Tool))

    def use_tools(self, session_id: str, tools: tuple[Tool, ...]) -> None:
        """Set the tools of a session."""
        self.engine.loop.call(self._session(session_id).use_tools, tools)

    def policy_of(self, session_id: str) -> Policy | None:
        """Return the policy of a session."""
        policy = self._session(session_id).policy
        return None if isinstance(policy, RemotePolicy) else policy

    def use_policy(self, session_id: str, policy: Policy | None) -> None:
        """Set the policy of a session."""
        self._session(session_id).policy = policy

    def request_of(self, session_id: str, run_id: str) -> Request | None:
        """Return the request of a run, if it is known."""
        return self._session(session_id).requests.get(run_id)

    def cause_of(self, session_id: str, run_id: str) -> BaseException | None:
        """Return the exception behind a run's error, if it is known."""
        return self._session(session_id).causes.get(run_id)

    def shutdown(self, timeout_s: float) -> None:
        """End the engine."""
        self.engine.shutdown(timeout_s)

    def refuse_to_block(self, what: str) -> None:
        """Raise `WouldDeadlock` on the engine's thread."""
        self.engine.loop.refuse_to_block(what)
