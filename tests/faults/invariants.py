"""The five invariants, asserted after every fault.

I1  exactly one end, of one kind, with an error exactly where the contract requires one
I2  the transcript's text equals the accepted text: nothing lost, nothing repeated
I3  the end came within the declared bound
I4  no task, slot or socket is left, and the loop still runs
I5  the session, and every other one, can send again at once
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from nbchat.core.events import RunCompleted, RunFailed, RunIncomplete, RunInterrupted, RunStopped
from nbchat.core.text import checksum, utf16_length
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import engine_of, live
from tests.waiting import wait_for

if TYPE_CHECKING:
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.run import Run
    from nbchat.handles.session import Session

ENDS = (RunCompleted, RunIncomplete, RunStopped, RunFailed, RunInterrupted)


def check_end(session: Session, run: Run) -> None:
    """I1 and I2: one end, and a text equal to the sum of the run's events."""
    events = live(session).record.log.read_from(live(session).record.log.base)
    ends = [event for event in events if isinstance(event, ENDS) and event.run_id == run.id]
    assert len(ends) == 1, f"{run!r} ended {len(ends)} times"
    later = events[events.index(ends[0]) + 1 :]
    moving = [event for event in later if getattr(event, "run_id", None) == run.id]
    assert [event.type for event in moving if event.type not in ("run_saved", "run_acknowledged")] == []
    assert run.is_over
    assert run.state in ("completed", "incomplete", "stopped", "failed", "interrupted")
    assert (run.error is not None) == (run.state in ("failed", "interrupted"))

    texts: dict[int, str] = {}
    for event in events:
        if getattr(event, "run_id", None) != run.id:
            continue
        if event.type == "part_started":
            texts[event.part_index] = event.part.text  # an image arrives whole
        elif event.type == "part_delta":
            said = texts.setdefault(event.part_index, "")
            assert event.offset == utf16_length(said), "a delta is where the one before it ended"
            texts[event.part_index] = said + event.text
        elif event.type == "part_ended":
            said = texts.get(event.part_index, "")
            assert (event.length, event.crc32) == (utf16_length(said), checksum(said))
    record = live(session).state.run(run.id)
    assert record is not None
    message = live(session).state.messages.get(record.message_id)
    for index, said in texts.items():
        assert message is not None
        assert message.parts[index].text == said


def check_free(registry: SessionRegistry, *sessions: Session) -> None:
    """I4 and I5: no slot is taken, the loop runs, and every session answers at once."""
    assert engine_of(registry).loop.call(lambda: 42) == 42
    wait_for(lambda: slots(registry) == (0, 0), "no slot is taken by nobody")
    for session in (*sessions, registry.create()):
        held = live(session).provider
        live(session).provider = ScriptedProvider("free")
        try:
            run = session.send("Are you there?").wait(10)
            assert (run.state, run.text) == ("completed", "free")
        finally:
            live(session).provider = held
    wait_for(lambda: slots(registry) == (0, 0), "no slot is taken by nobody")


def slots(registry: SessionRegistry) -> tuple[int, int]:
    """Return the numbers of slots taken and of sessions waiting for one, as the loop sees them."""
    return engine_of(registry).loop.call(
        lambda: (engine_of(registry).scheduler.live, len(engine_of(registry).scheduler))
    )


def tasks(registry: SessionRegistry) -> set[str]:
    """Return the tasks on the engine's loop, with what they wait for."""

    async def found() -> set[str]:
        here = asyncio.current_task()
        return {repr(task) for task in asyncio.all_tasks() if task is not here}

    return engine_of(registry).loop.run(found(), 10)


def open_files() -> int:
    """Return how many files and sockets this process has open; 0 if the system does not report it."""
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.is_dir() else 0
