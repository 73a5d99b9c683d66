"""`RunToolContext`: connects the tool calls of a run with its session. Implements `ToolContext`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from nbchat.core.messages import Message
from nbchat.engine.callbacks import Notification

if TYPE_CHECKING:
    from nbchat.core.calls import ToolCall
    from nbchat.engine.session_log import SessionLog
    from nbchat.engine.tools import AnyPolicy, AnyTool


STORED_S: Final = 10.0
"""Maximum seconds to wait for the journal before a call. A call that is not recorded is not run."""


class Slots(Protocol):
    """The slot of the run."""

    def release_slot(self) -> None:
        """Release the slot, if there is one."""
        ...

    async def take_slot(self) -> None:
        """Wait for a slot, unless there is one."""
        ...

    async def stored(self, timeout_s: float) -> bool:
        """Wait for the journal; return False if it does not have everything."""
        ...


class RunToolContext:
    """The session of a run, with the tools that it had when the run started."""

    def __init__(self, session: SessionLog, queue: Slots, run_id: str, message_id: str) -> None:
        self.session_id: str = session.id
        self.tools: Mapping[str, AnyTool] = {tool.spec.name: tool for tool in session.tools}
        self._session = session
        self._queue = queue
        self._run_id = run_id
        self._message_id = message_id

    @property
    def policy(self) -> AnyPolicy | None:
        """The session's policy now."""
        return self._session.policy

    def answer(self) -> Message:
        """Return the answer so far; an empty one if it was discarded."""
        found = self._session.state.messages.get(self._message_id)
        return Message(id=self._message_id, role="assistant") if found is None else found

    async def stored(self) -> bool:
        """Wait until all events so far are in the journal."""
        return await self._queue.stored(STORED_S)

    def can_ask(self) -> bool:
        """Return whether a page is open or a callback is subscribed."""
        return self._session.context.can_ask(self.session_id)

    def changed(self) -> None:
        """Notify readers of the session."""
        self._session.publish()

    def asks(self, calls: tuple[ToolCall, ...]) -> None:
        """Notify callbacks of calls that wait for approval."""
        asking = tuple(replace(call, state="asking") for call in calls)
        self._session.context.callbacks.notify(
            Notification(
                event="approval_needed", session_id=self.session_id, run_id=self._run_id, data=asking
            )
        )

    def release_slot(self) -> None:
        """Release the slot of the run."""
        self._queue.release_slot()

    async def take_slot(self) -> None:
        """Wait for a slot."""
        await self._queue.take_slot()

    def release_tools(self) -> None:
        """Drop the tools, since tools of a server keep its process alive."""
        self.tools = {}
