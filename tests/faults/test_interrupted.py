"""K2, K3: an interrupt may hit a waiting thread at any instruction, and the engine continues to work."""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from nbchat.engine.main_thread import Job, MainThread
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, ScriptedProvider
from tests.engines import engine_of

LIBRARIES = ("/nbchat/engine/", "/nbchat/handles/", "/threading.py", "/concurrent/futures/")
"""Code that waits and may be interrupted between any two of its instructions."""


def interrupted_at(step: int, call: Callable[[], object]) -> bool:
    """Call with a `KeyboardInterrupt` at the n-th instruction; return whether the call got that far."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if not any(part in frame.f_code.co_filename for part in LIBRARIES):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == step:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return count >= step


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # interrupted before it was handed over
@pytest.mark.parametrize("what", ["call", "run", "wait", "iterate"])
def test_an_interrupt_at_any_instruction_leaves_the_engine_free(
    registry: SessionRegistry, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt at any instruction of a waiting call, the engine runs new calls and submits jobs."""
    engine = engine_of(registry).loop
    main = MainThread()  # not that of other tests: Python itself interrupts only at some instructions
    monkeypatch.setattr("nbchat.handles.waits.main_thread", main)
    session = registry.create(provider=ScriptedProvider("so far", HANG))
    run = session.send("?")
    assert next(iter(run)) == "so far"

    async def nothing() -> None: ...

    def call() -> None:
        with suppress(TimeoutError):
            if what == "call":
                engine.call(len, "two")
            elif what == "run":
                engine.run(nothing())
            elif what == "wait":
                run.wait(0.001)
            else:
                deltas = iter(run)
                try:
                    next(deltas)
                finally:
                    deltas.close()  # type: ignore[attr-defined]

    # Python 3.12.1 traces the instructions of a function from the second traced call.
    assert not interrupted_at(sys.maxsize, call)
    step = 1
    while interrupted_at(step, call):
        heard = threading.Event()
        engine.post(main.submit, Job(lambda: False, lambda: None, lambda _reason: None))
        engine.post(heard.set)
        assert heard.wait(10), f"the engine stands still after instruction {step}"
        step += 1
    assert step > 50
    assert run.state == "streaming"
