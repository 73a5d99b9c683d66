"""A process that runs an approved tool, which appends a line to a file, and is killed at a chosen step.

Arguments: the journal, the file, and the step: the number of an event of the log, or `before` or `after` the
line is written. If the step is not reached, it ends by itself with status 0.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbchat
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import Finish, Request, ToolCallDelta
from nbchat.providers.scripted import Script, ScriptedProvider
from nbchat.stores.sqlite import SqliteStore
from tests.engines import engine_of

if TYPE_CHECKING:
    from nbchat.core.events import Event


def script(request: Request) -> Script:
    """Call the tool, and answer once its result is there."""
    if any(part.type == "tool_result" for part in request.messages[-1].parts):
        return ["Done.", Finish("stop")]
    return ["Let me. ", ToolCallDelta(0, "c", "append", "{}"), Finish("tool_calls")]


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Ask once, and approve the call."""
    journal, file, step = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    store = SqliteStore(journal, busy_s=10)
    registry = SessionRegistry()
    engine = engine_of(registry)

    @nbchat.tool
    def append() -> str:
        """Append a line to a file."""
        if step == "before":
            die()
        with file.open("a", encoding="utf-8") as lines:
            lines.write("line\n")
        if step == "after":
            die()
        return "appended"

    def begin() -> None:
        writer = engine.open_journal(store)
        record, seen = writer.record, iter(range(10_000))

        def counted(session_id: str, seq: int, event: Event) -> None:
            record(session_id, seq, event)
            if step == str(next(seen)):
                die()

        writer.record = counted  # type: ignore[method-assign]

    engine.loop.call(begin)
    session = registry.create("acting", provider=ScriptedProvider(script, finish=None), tools=[append])

    def approve(event: nbchat.Notification) -> None:
        registry[event.session_id or ""].runs[-1].approve()

    session.on("approval_needed", approve)
    session.send("Append.").wait(60)
    registry.shutdown()


if __name__ == "__main__":
    main()
