"""`ServedTools`: the runner's functions about tools, which one kernel calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbchat.core.errors import SessionGone
from nbchat.core.values import convert
from nbchat.runner.messages import OfferedTool
from nbchat.runner.tool_objects import KernelCalls, KernelPolicy, KernelTool, KernelTools

if TYPE_CHECKING:
    from nbchat.engine.live_session import LiveSession
    from nbchat.runner.engine import RunnerEngine


class ServedTools:
    """Sets the tools and policies of one kernel in sessions. Only for the engine's loop."""

    def __init__(self, engine: RunnerEngine, calls: KernelCalls) -> None:
        self._engine = engine
        self._calls = calls

    def __repr__(self) -> str:
        """Return the calls."""
        return f"<ServedTools, {self._calls!r}>"

    def close(self, *, is_ending: bool) -> None:
        """Remove the kernel's tools: its link has ended. If the process `is_ending`, so are its runs."""
        self._calls.is_gone = True
        if not is_ending:
            self._engine.drop(self._calls)

    def use_tools(
        self, *, session_id: str, tools: str, offered: object, off: Sequence[str], again: bool
    ) -> bool:
        """Set a session's tools; with `again` only if no others were set since. Return whether they are."""
        session = self._session(session_id)
        if again and not self._engine.is_latest(session_id, "tools", tools):
            return False
        parsed: tuple[OfferedTool, ...] = convert(tuple[OfferedTool, ...], offered)
        together = KernelTools(self._calls, tools)
        made = tuple(KernelTool(together, one) for one in parsed)
        self._engine.use_tools(session, tools, made, off)
        return True

    def use_policy(self, *, session_id: str, policy: str, is_set: bool, again: bool) -> bool:
        """Set a session's policy, as `use_tools`."""
        session = self._session(session_id)
        if again and not self._engine.is_latest(session_id, "policy", policy):
            return False
        made = KernelPolicy(self._calls, policy) if is_set else None
        self._engine.use_policy(session, policy, made)
        return True

    def begin_call(self, *, key: str) -> bool:
        """Return whether the kernel may start a call."""
        return self._calls.begin(key)

    def _session(self, session_id: str) -> LiveSession:
        session = self._engine.sessions.get_including_deleted(session_id)
        if session is None:
            raise SessionGone(session_id)
        return session
