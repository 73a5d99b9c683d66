"""Faults in a kernel: K1 to K26 of the promises."""

import asyncio
import gc
import logging
import sys
import threading
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import nbchat
from nbchat.core import errors
from nbchat.core.messages import Message, TextPart, Usage
from nbchat.core.transcript import ROOT, SessionState
from nbchat.engine import answer_builder, run_queue
from nbchat.engine.loop_thread import LoopThread
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import (
    Answering,
    Delta,
    Finish,
    ReasoningDelta,
    Request,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engines import drain_callbacks, engine_of, live, use
from tests.faults.invariants import check_end, check_free, slots
from tests.waiting import wait_for


class Odd(ScriptedProvider):
    """A third-party provider that yields unchecked values."""

    def __init__(self, *deltas: Any) -> None:
        super().__init__()
        self._deltas = deltas

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Yield the given values."""
        self.requests.append(request)
        for delta in self._deltas:
            yield delta


# K1, K3, K23: the engine has its own thread and clock.


def test_a_busy_main_thread_holds_no_stream_up(registry: SessionRegistry) -> None:
    """K1: while the main thread computes without blocking, the answer arrives whole."""
    run = registry.create(provider=ScriptedProvider(*"abcdefghij" * 20)).send("?")
    until = time.monotonic() + 20
    while not run.is_over and time.monotonic() < until:
        sum(range(2000))  # a busy cell that never waits

    assert run.text == "abcdefghij" * 20
    assert run.state == "completed"


def test_a_clock_that_jumps_changes_nothing(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K23: wall clock jumps of a day in either direction do not affect limits, which use monotonic time."""
    provider = ScriptedProvider("a", PAUSE, "b", PAUSE, "c")
    registry.limits.idle_s = registry.limits.total_s = 60
    run = registry.create(provider=provider).send("?")
    wall = time.time
    for jump in (86_400, -86_400):
        provider.wait_paused()
        monkeypatch.setattr(time, "time", lambda jump=jump: wall() + jump)
        provider.go()

    assert run.wait(10).text == "abc"
    assert run.state == "completed"
    assert run.progress.elapsed_s >= 0
    assert run.progress.characters_per_s >= 0


# K4, K5: callbacks.


@pytest.mark.parametrize("error", [ValueError("mistake"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_callback_that_raises_is_reported_once(
    registry: SessionRegistry, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """K4: `CallbackError` is logged once, other callbacks are called, and their thread survives."""
    heard: list[str] = []

    def fail(_event: object) -> None:
        raise error

    registry.on("end", fail)
    registry.on("end", lambda event: heard.append(str(event.run_id)))
    session = registry.create(provider=ScriptedProvider("x"))
    runs = [session.send("?").wait(10) for _ in range(3)]

    assert drain_callbacks(registry)
    assert heard == [run.id for run in runs]
    assert registry.stats()["callback_errors"] == 3
    told = [record for record in caplog.records if "callback" in record.getMessage()]
    assert len(told) == 1
    assert type(error).__name__ in told[0].getMessage()


def test_a_slow_callback_is_named(registry: SessionRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """K4: a callback that takes longer than 100 ms is named in a warning, once, and no run waits for it."""
    gate = threading.Event()
    registry.on("end", lambda _event: gate.wait(30))
    session = registry.create(provider=ScriptedProvider("x"))
    with caplog.at_level(logging.WARNING, "nbchat"):
        for _ in range(3):
            assert session.send("?").wait(10).state == "completed"
        wait_for(lambda: time.sleep(0.11) or True, "the callback is slow")
        gate.set()
        assert drain_callbacks(registry)
    assert sum("delays later callbacks" in record.getMessage() for record in caplog.records) == 1


def test_a_callback_may_send_stop_and_close(registry: SessionRegistry) -> None:
    """K5: a callback that calls nbchat does not deadlock, and receives events in order."""
    session = registry.create(provider=ScriptedProvider("x", PAUSE))
    states: list[str | None] = []

    def reenter(event: Any) -> None:
        states.append(event.state)
        if states.count("streaming") == 1 and event.state == "streaming":
            session.send("one more")
            session.pause()
            session.resume()
            session.close()
            session.stop_all()

    session.on("transition", reenter)
    session.on("end", lambda event: states.append(event.state))
    session.send("?")
    wait_for(lambda: states.count("stopped") >= 2, "both runs were stopped by the callback")
    assert drain_callbacks(registry)
    assert states[0] == "connecting"
    assert session.closed


# K10 is `tests/handles/test_process.py::test_a_forked_child_does_not_touch_the_parents_runs`.


def test_a_run_continues_without_references_to_it(
    registry: SessionRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """K11: a run completes if its handles, session and provider are collected while it streams."""
    provider = ScriptedProvider("a", PAUSE, "b")
    session = registry.create("kept by the registry", provider=provider)
    run = session.send("?")
    gone = [weakref.ref(run)]
    session_id, run_id = session.id, run.id
    provider.wait_paused()
    del run, session
    for _ in range(3):
        gc.collect()
    assert gone[0]() is None
    provider.go()
    registry.wait_all(10)

    again = registry[session_id]
    assert [(r.id, r.text, str(r.state)) for r in again.runs] == [(run_id, "ab", "completed")]
    assert not [r for r in caplog.records if "destroyed" in r.getMessage()]


# K12, K13: loops.


def test_calls_after_shutdown_raise_a_clear_error() -> None:
    """K12: after shutdown every call raises a clear error at once instead of hanging."""
    registry = SessionRegistry()
    session = registry.create(provider=ScriptedProvider("x"))
    session.send("?").wait(10)
    engine_of(registry).shutdown()

    for call in (registry.create, lambda: session.send("?"), session.stop_all):
        with pytest.raises(errors.CommandError, match="shut down"):
            call()
    assert session.messages[-1].text == "x", "what was there can still be read"


def test_a_loop_that_dies_under_a_call_does_not_hang_it() -> None:
    """K12: a call whose loop ends before it is answered raises instead of waiting for ever."""
    engine = LoopThread()

    def end_the_loop() -> None:
        engine._ending = True
        engine.aio.stop()

    engine.post(end_the_loop)
    assert engine._thread is not None
    engine._thread.join(10)
    with pytest.raises(errors.CommandError, match="shut down"):
        engine.call(lambda: 1)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_nothing_on_the_loop_ends_it(registry: SessionRegistry, error: type[BaseException]) -> None:
    """K12: `sys.exit()` in foreign code on the loop ends no session."""

    def leave() -> None:
        raise error

    session = registry.create(provider=ScriptedProvider("a", PAUSE, "b"))
    run = session.send("?")
    live(session).provider.wait_paused()  # type: ignore[union-attr]
    engine_of(registry).loop.post(leave)
    assert engine_of(registry).loop.call(lambda: "here") == "here"
    live(session).provider.go()  # type: ignore[union-attr]
    assert run.wait(10).text == "ab"
    check_free(registry, session)


def test_an_interrupt_while_the_engine_starts_makes_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """K2: an interrupt during the first call leaves one engine, which works."""
    engine = LoopThread()
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "nbchat-engine":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.call(lambda: 1)
    assert engine.call(lambda: 2) == 2
    assert sum(t.name == "nbchat-engine" and t is engine._thread for t in threading.enumerate()) == 1
    thread = engine._thread
    engine.close(5)
    assert thread is not None
    assert not thread.is_alive()


# K2: interrupts of a cell. tests/api/test_interrupts.py tests that a real kernel's interrupt arrives.


def test_an_interrupt_at_each_moment_of_ask_stops_its_run(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: an interrupt at any moment of `ask` is raised again, and its run does not continue."""
    from nbchat.engine import loop_thread  # noqa: PLC0415 - to count its waits
    from nbchat.handles import run  # noqa: PLC0415 - to count its waits

    use(monkeypatch, registry)
    provider = ScriptedProvider("a", HANG)
    background = registry.create(provider=ScriptedProvider("x", PAUSE)).send("?")
    waits = {"n": 0, "at": 0}
    take, wait = loop_thread._take, run.Run.wait

    def strike() -> None:
        waits["n"] += 1
        if waits["n"] == waits["at"]:
            raise KeyboardInterrupt

    def at_take(*args: Any, **kwargs: Any) -> Any:
        value = take(*args, **kwargs)
        if threading.current_thread() is threading.main_thread():
            strike()  # the work is done, and its result is lost
        return value

    def at_wait(self: run.Run, timeout: float | None = None) -> run.Run:
        strike()
        return wait(self, timeout)

    monkeypatch.setattr(loop_thread, "_take", at_take)
    monkeypatch.setattr(run.Run, "wait", at_wait)
    for moment in range(1, 4):
        session = registry.create(provider=provider)
        waits.update(n=0, at=moment)
        with pytest.raises(KeyboardInterrupt):
            session.ask("?")
        waits["at"] = 0
        for left in session.runs:
            assert wait(left, 10).state == "stopped"
    others = set(engine_of(registry).sessions)
    for moment in range(1, 5):  # without a session, creating one is one more moment
        waits.update(n=0, at=moment)
        with pytest.raises(KeyboardInterrupt):
            nbchat.ask("?", provider=provider)
        waits["at"] = 0
        assert set(engine_of(registry).sessions) == others
    assert background.state in ("connecting", "streaming"), "background runs go on"
    background.stop()


# K14 is tests/handles/test_registry.py::test_eight_threads_and_fifty_sessions; here with the most switches.


def test_no_update_is_lost_when_threads_change_hands_all_the_time(registry: SessionRegistry) -> None:
    """K14: with eight threads and a switch every microsecond, each of 400 sends is one run in its session."""
    sessions = [
        registry.create(provider=ScriptedProvider(lambda request: [request.messages[-1].text]))
        for _ in range(4)
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def send(number: int) -> None:
            for i in range(50):
                sessions[(number + i) % 4].send(f"{number}.{i}")

        threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    registry.wait_all(60)
    asked = [m.text for s in sessions for m in s.messages if m.role == "user"]
    assert sorted(asked) == sorted(f"{n}.{i}" for n in range(8) for i in range(50))
    for session in sessions:
        texts = [m.text for m in session.messages]
        assert texts[0::2] == texts[1::2], "every answer follows its own question"


# K17, K18: no reader, or a failing one.


def test_a_reader_that_raises_is_no_harm(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """K18: failures of a view, watcher or journal at each event are counted, and the run ends normally."""

    class Broken:
        waiting, lag_s = 0, 0.0

        def record(self, *_event: object) -> None:
            raise OSError(5, "the journal is broken")

        async def settled(self, _session_id: str) -> None:
            raise OSError(5, "the journal is broken")

    def broken(_conversation: object) -> None:
        raise RuntimeError("the view is broken")

    engine_of(registry).readers.add(broken)
    monkeypatch.setattr(engine_of(registry), "journal", Broken())
    session = registry.create(provider=ScriptedProvider("a", "b"))
    run = session.send("?").wait(10)

    assert (run.state, run.text) == ("completed", "ab")
    record = live(session).state.run(run.id)
    assert record is not None
    assert not record.saved, "the page is told that it is not written down"
    assert registry.stats()["reader_errors"] > 0
    check_end(session, run)
    check_free(registry, session)


@pytest.mark.parametrize("error", [OSError(28, "no space"), ValueError("a defect")], ids=repr)
def test_a_journal_that_fails_before_the_start_keeps_no_run_from_it(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """K18: a run starts although the journal fails, in any way, while the question is recorded."""

    class Broken:
        def record(self, *_args: object) -> None: ...

        async def settled(self, _session_id: str) -> None:
            raise error

    monkeypatch.setattr(engine_of(registry), "journal", Broken())
    session = registry.create(provider=ScriptedProvider("a"))
    assert session.send("?").wait(10).text == "a"
    check_free(registry, session)


def test_a_journal_that_hangs_holds_nothing_for_long(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3: the end is announced after the bound if the journal does not answer, and is marked unsaved."""
    monkeypatch.setattr("nbchat.engine.run_queue.SETTLE_S", 0.05)

    class Hanging:
        def record(self, *_args: object) -> None: ...

        async def settled(self, _session_id: str) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(engine_of(registry), "journal", Hanging())
    session = registry.create(provider=ScriptedProvider("a"))
    run = session.send("?").wait(10)
    assert (run.state, run.text) == ("completed", "a")
    record = live(session).state.run(run.id)
    assert record is not None
    assert not record.saved
    check_free(registry, session)


def test_a_stop_while_an_end_is_saved_returns_false(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the end of an answer is saved, Stop returns False, and the queued question is sent afterwards."""
    monkeypatch.setattr("nbchat.engine.run_queue.SETTLE_S", 60.0)
    saving, saved = threading.Event(), threading.Event()

    class Slow:
        def record(self, *_args: object) -> None: ...

        async def settled(self, _session_id: str) -> None:
            if live(session).state.runs[0].state.is_over and not saved.is_set():
                saving.set()
                await asyncio.to_thread(saved.wait, 30)

    monkeypatch.setattr(engine_of(registry), "journal", Slow())
    session = registry.create(provider=ScriptedProvider("a"))
    first, second = session.send("?"), session.send("And?")
    assert saving.wait(30)
    assert [first.stop(), session.stop(), registry.stop(session.id)] == [False, False, False]
    saved.set()
    assert (first.wait(10).state, second.wait(10).state) == ("completed", "completed")
    assert not second.stop()
    check_free(registry, session)


# K19, K21, K22, K25, K26, and third-party providers.


@pytest.mark.parametrize(
    "deltas",
    [
        [TextDelta("ab"), TextDelta(123)],  # type: ignore[arg-type]
        [TextDelta("ab"), TextDelta(b"cd")],  # type: ignore[arg-type]
        [TextDelta("ab"), ReasoningDelta(["x"])],  # type: ignore[arg-type]
        [TextDelta("ab"), ToolCallDelta(0, id=1)],  # type: ignore[arg-type]
        [TextDelta("ab"), ToolCallDelta(0, id="c", name="f"), ToolCallDelta(0, name=2)],  # type: ignore[arg-type]
        [TextDelta("ab"), ToolCallDelta(0, arguments={"a": 1})],  # type: ignore[arg-type]
        [TextDelta("ab"), ToolCallDelta([], arguments="{}")],  # type: ignore[arg-type]
        [TextDelta("ab"), Answering(model=3)],  # type: ignore[arg-type]
        [TextDelta("ab"), Answering(sequence="x")],  # type: ignore[arg-type]
        [TextDelta("ab"), Finish(7)],  # type: ignore[arg-type]
        [TextDelta("ab"), "not a delta"],
        [TextDelta("ab"), None],
        [TextDelta("ab"), RecursionError()],
    ],
    ids=repr,
)
def test_a_provider_may_yield_anything(registry: SessionRegistry, deltas: list[Any]) -> None:
    """A value of a wrong type ends its run with its text kept; the log stays valid and the session free."""
    session = registry.create(provider=Odd(*deltas))
    run = session.send("?").wait(10)

    assert run.state == "interrupted"
    assert type(run.error) is errors.RunCrashed
    assert run.text == "ab"
    check_end(session, run)
    assert live(session).state.seq == live(session).record.log.head
    check_free(registry, session)


def test_any_output_of_a_provider_can_be_sent_to_pages(registry: SessionRegistry) -> None:
    """Lone surrogates, NUL and long names are replaced or shortened before they are in the log."""
    import msgspec  # noqa: PLC0415 - the encoder of the wire and the journal

    session = registry.create(
        provider=Odd(
            Answering(model="m\ud800" + "x" * 1000, response_id="r\udfff\0"),
            TextDelta("\ud83d"),
            TextDelta("\ude00 \ud800 \0"),
            ToolCallDelta(0, id="\ud800", name="n" * 5000),
            ToolCallDelta(0, name="n" * 5000, arguments='{"\udc00": 1}'),
            UsageDelta("lots"),  # type: ignore[arg-type]
            UsageDelta(Usage(input_tokens=1, output_tokens=1)),
            Finish("stop\ud800"),
        )
    )
    run = session.send("?").wait(10)
    assert run.text == "😀 \ufffd \ufffd"
    assert run.state == "completed"
    for event in live(session).record.log.read_from(0):
        msgspec.json.encode(event)
    assert len(run.message.parts[1].name) <= answer_builder.MAX_NAME  # type: ignore[union-attr]
    check_end(session, run)


def test_parts_are_bounded(registry: SessionRegistry) -> None:
    """A server that keeps starting parts with hardly any content reaches a limit."""

    def endless(_request: Request) -> list[Delta]:
        return [
            TextDelta("a") if i % 2 else ReasoningDelta("b") for i in range(2 * answer_builder.MAX_PARTS + 10)
        ]

    session = registry.create(provider=ScriptedProvider(endless))
    run = session.send("?").wait(30)
    assert type(run.error) is errors.LimitExceeded
    assert len(run.message.parts) == answer_builder.MAX_PARTS
    check_end(session, run)


def test_an_event_that_cannot_be_folded_is_not_in_the_log(registry: SessionRegistry) -> None:
    """Log and state stay equal: an event that cannot be folded is refused before it gets a number."""
    from nbchat.core.events import MessageAdded  # noqa: PLC0415 - beside its only use

    conversation = live(registry.create())
    before = conversation.record.log.head
    with pytest.raises(AttributeError):
        engine_of(registry).loop.call(conversation.append, MessageAdded(message=3))  # type: ignore[arg-type]
    assert conversation.record.log.head == before == conversation.state.seq


def test_deep_recursion_in_a_provider_ends_its_run(registry: SessionRegistry) -> None:
    """K19: endless recursion in a provider fails its own run only."""

    def deeper(request: Request) -> Any:
        return deeper(request)

    session = registry.create(provider=ScriptedProvider(deeper))
    run = session.send("?").wait(30)
    assert run.state == "failed"
    assert "RecursionError" in str(run.error)
    check_free(registry, session)


def test_out_of_memory_ends_the_run_alone(registry: SessionRegistry) -> None:
    """K9: MemoryError in a run ends that run; the others continue."""
    session = registry.create(provider=ScriptedProvider("half", MemoryError()))
    run = session.send("?").wait(10)
    assert (run.state, run.text) == ("interrupted", "half")
    check_end(session, run)
    check_free(registry, session)


@pytest.mark.parametrize("size", [1, 50])
def test_stop_races_finish(registry: SessionRegistry, size: int) -> None:
    """K21: if stop and finish come at the same moment, exactly one of them wins, and the text is whole."""
    text = "x" * size
    for _ in range(40):
        provider = ScriptedProvider(text, PAUSE)
        session = registry.create(provider=provider)
        run = session.send("?")
        provider.wait_paused()
        racing = threading.Thread(target=provider.go)
        racing.start()
        run.stop()
        racing.join()
        run.wait(10)
        assert run.state in ("completed", "stopped")
        assert run.text == text
        check_end(session, run)
        session.delete()


def test_no_exception_is_left_unretrieved(
    registry: SessionRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """K22: runs that fail, crash or are gathered leave no asyncio warning."""

    async def gather() -> list[Any]:
        failing = registry.create(provider=ScriptedProvider(errors.StreamBroken("gone.")))
        crashing = registry.create(provider=ScriptedProvider("x", ZeroDivisionError()))
        return await asyncio.gather(failing.send("?"), crashing.send("?"), return_exceptions=True)

    found = asyncio.run(gather())
    assert [type(error) for error in found] == [errors.StreamBroken, errors.RunCrashed]
    del found
    gc.collect()
    assert not [r for r in caplog.records if r.name == "asyncio"]


def test_tracing_and_strict_warnings_change_nothing(registry: SessionRegistry) -> None:
    """K26: a trace function, warnings as errors and captured output do not change a run."""
    seen = []

    def trace(_frame: object, event: str, _argument: object) -> Callable[..., Any] | None:
        seen.append(event)
        return None

    before = threading.gettrace()
    threading.settrace(trace)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = registry.create(provider=ScriptedProvider("a", "b")).send("?").wait(10)
    finally:
        threading.settrace(before)  # type: ignore[arg-type]
    assert (run.state, run.text) == ("completed", "ab")
    assert seen


# Queues and fences.


def test_pausing_a_waiting_run_leaves_the_live_one(registry: SessionRegistry) -> None:
    """A pause names its run: the queued one is held, and the streaming one continues."""
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    first, second, third = session.send("1"), session.send("2"), session.send("3")
    provider.wait_paused()
    second.pause()
    assert (first.state, second.state, third.state) == ("streaming", "paused", "queued")
    provider.go()
    assert first.wait(10).state == "completed"
    assert (second.state, third.state) == ("paused", "queued"), "what is held holds its place"
    assert second.resume() is second
    for _ in range(2):
        provider.wait_paused()
        provider.go()
        wait_for(lambda: second.is_over, "the second run is over")
    assert third.wait(10).state == "completed"
    assert [m.text for m in session.messages if m.role == "user"] == ["1", "2", "3"]


def test_a_session_keeps_its_place_when_a_later_prompt_is_stopped(registry: SessionRegistry) -> None:
    """Stopping one of several queued prompts does not move the session to the end of the queue."""
    registry.limits.live_runs = 1
    provider = ScriptedProvider("x", PAUSE)
    busy, first, second = (registry.create(provider=provider) for _ in range(3))
    busy.send("?")
    provider.wait_paused()
    kept, dropped, other = first.send("1"), first.send("2"), second.send("3")
    assert (kept.progress.position, other.progress.position) == (1, 2)
    dropped.stop()
    assert (kept.progress.position, other.progress.position) == (1, 2)
    kept.stop()
    assert other.progress.position == 1


def stopped_while_waiting(registry: SessionRegistry, ask: Callable[[Any], Any], *script: Any) -> Any:
    """Return a session whose last run was stopped before it got its turn."""
    session = registry.create(provider=ScriptedProvider("answer", *script))
    session.send("question").wait(10)
    registry.limits.live_runs = 1
    holder = ScriptedProvider(HANG)
    busy = registry.create(provider=holder)
    busy.send("holds the slot")
    holder.wait_until(lambda p: p.requests)
    run = ask(session)
    assert run.state == "queued"
    run.stop()
    assert run.wait(10).state == "stopped"
    busy.stop()
    return session


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda s: s.send("second"), ["question", "answer", "second", "answer"]),
        (lambda s: s.edit(s.messages[0].id, "changed"), ["changed", "answer"]),
        (lambda s: s.regenerate(), ["question", "answer"]),
        (lambda s: s.continue_(), ["question", "answeranswer"]),
    ],
    ids=["send", "edit", "regenerate", "continue"],
)
def test_a_prompt_stopped_in_the_queue_can_be_retried(
    registry: SessionRegistry, ask: Callable[[Any], Any], expected: list[str]
) -> None:
    """A prompt whose run was stopped in the queue can be retried, with the same text in the same position."""
    session = stopped_while_waiting(registry, ask)
    before = len(live(session).state.messages)
    again = session.retry().wait(10)

    assert again.state == "completed"
    assert [m.text for m in session.messages] == expected
    assert len(live(session).state.messages) >= before
    check_end(session, again)


def test_retrying_a_continuation_that_failed_keeps_the_answer(registry: SessionRegistry) -> None:
    """`retry` after a `continue_` that never began continues again and keeps the existing text."""
    scripts: list[Any] = [["first half"], [errors.AuthenticationFailed("no.")], [" second half"]]
    session = registry.create(provider=ScriptedProvider(lambda _request: scripts.pop(0)))
    session.send("?").wait(10)
    assert session.continue_().wait(10).state == "failed"
    assert session.retry().wait(10).state == "completed"
    assert [m.text for m in session.messages] == ["?", "first half second half"]


def test_retrying_in_the_middle_adds_a_version(registry: SessionRegistry) -> None:
    """If the conversation continued after an interrupted answer, retry adds a version beside it."""
    scripts: list[Any] = [["half", errors.StreamBroken("gone.")], ["later"], ["whole"]]
    session = registry.create(provider=ScriptedProvider(lambda _request: scripts.pop(0)))
    session.send("1").wait(10)
    session.send("2").wait(10)
    session.retry(session.messages[1].id).wait(10)
    assert [m.text for m in session.messages] == ["1", "whole"]
    half = next(m for m in live(session).state.messages.values() if m.text == "half")
    session.select(half.id)
    assert [m.text for m in session.messages] == ["1", "half", "2", "later"]


# Events between two steps.


def hold_the_start(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let runs wait between their turn and their start, until the event is set."""
    gate = asyncio.Event()

    class Slow:
        def record(self, *_args: object) -> None: ...

        async def settled(self, _session_id: str) -> None:
            await gate.wait()

    monkeypatch.setattr(engine_of(registry), "journal", Slow())
    return gate


@pytest.mark.parametrize(
    "what", ["stop", "pause", "pause and resume", "delete", "stop_all", "delete and undo"]
)
def test_anything_may_happen_between_turn_and_start(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A run that has its slot but has not started can be stopped, held and deleted; no slot is lost."""
    gate = hold_the_start(registry, monkeypatch)
    provider = ScriptedProvider("x")
    session = registry.create(provider=provider)
    run = session.send("?")
    assert engine_of(registry).scheduler.live == 1
    assert run.state == "queued"
    if what == "stop":
        run.stop()
    elif what.startswith("pause"):
        run.pause()
        if "resume" in what:
            run.resume()
    elif what.startswith("delete"):
        session.delete()
        if "undo" in what:
            registry.undelete(session.id)
    else:
        assert registry.stop_all() == 1
    engine_of(registry).loop.call(gate.set)
    monkeypatch.undo()
    if what == "pause":
        wait_for(lambda: slots(registry) == (0, 0), "the slot is free")
        assert run.state == "paused"
        assert provider.requests == []
        run.resume()
    run.wait(10)
    expected = "completed" if what.startswith("pause") else "stopped"
    assert run.state == expected
    assert len(provider.requests) == (expected == "completed")
    wait_for(lambda: slots(registry) == (0, 0), "the slot is free")
    if what != "delete":
        check_end(session, run)
        check_free(registry, session)


@pytest.mark.parametrize("moment", ["created", "first step", "reading"])
def test_a_cancelled_task_leaves_the_session_free(registry: SessionRegistry, moment: str) -> None:
    """K20: a run whose task is cancelled at any moment, even before its first step, settles."""
    provider = ScriptedProvider("a", HANG)
    session = registry.create(provider=provider)
    conversation = live(session)
    if moment == "created":

        def cancel(_conversation: object) -> None:
            if conversation.live is not None:
                conversation.live.task.cancel()

        engine_of(registry).readers.add(cancel)
        begin = conversation.runs._begin

        def begin_and_cancel(run: Any) -> None:
            begin(run)
            cancel(None)

        conversation.runs._begin = begin_and_cancel  # type: ignore[method-assign]
        run = session.send("?")
    else:
        run = session.send("?")
        provider.wait_until(lambda p: p.requests)
        if moment == "reading":
            next(iter(run))
        assert conversation.live is not None
        engine_of(registry).loop.call(conversation.live.task.cancel)
    run.wait(10)
    assert run.state in ("failed", "interrupted")
    assert type(run.error) is errors.RunCrashed
    engine_of(registry).readers.clear()
    if moment == "created":
        del conversation.runs._begin
    check_end(session, run)
    check_free(registry, session)


def test_every_task_of_ours_may_be_cancelled(registry: SessionRegistry) -> None:
    """K20: if all tasks of the loop are cancelled, repeatedly, every run settles and no slot is lost."""
    session = registry.create(provider=ScriptedProvider("a", "b", "c"))

    def cancel_all() -> None:
        for task in asyncio.all_tasks(engine_of(registry).loop.aio):
            if task.get_name().startswith("nbchat-"):
                task.cancel()

    for _ in range(30):
        run = session.send("?")
        engine_of(registry).loop.call(cancel_all)
        run.wait(10)
        check_end(session, run)
    check_free(registry, session)


@pytest.mark.parametrize("prefix", ["nbchat-start", "nbchat-run", "nbchat-finish"])
def test_a_task_may_be_cancelled_before_its_first_step(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """K20: a task cancelled before its first step holds neither the session nor the slot."""
    provider = ScriptedProvider("a")
    session = registry.create(provider=provider)
    loop = engine_of(registry).loop.aio
    create_task, cancelled = loop.create_task, []

    def create_and_cancel(coroutine: Any, *, name: str | None = None, context: Any = None) -> Any:
        task = create_task(coroutine, name=name, context=context)
        if str(name).startswith(prefix) and not cancelled:
            cancelled.append(name)
            task.cancel()
        return task

    monkeypatch.setattr(loop, "create_task", create_and_cancel)
    run = session.send("?").wait(10)
    assert len(cancelled) == 1
    assert run.state == ("failed" if prefix == "nbchat-run" else "completed")
    check_end(session, run)
    check_free(registry, session)


def test_a_stop_in_the_first_instant_is_at_once(registry: SessionRegistry) -> None:
    """T37: a stop before the run's first step settles the run without waiting for any limit."""
    registry.limits.stop_s = 60
    session = registry.create(provider=ScriptedProvider(HANG))
    conversation = live(session)
    begin = conversation.runs._begin

    def begin_and_stop(run: Any) -> None:
        begin(run)
        conversation.stop()

    conversation.runs._begin = begin_and_stop  # type: ignore[method-assign]
    run = session.send("?")
    assert run.wait(5).state == "stopped"
    del conversation.runs._begin
    check_end(session, run)
    check_free(registry, session)


def test_a_defect_while_starting_ends_the_run(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An internal error between a run's turn and its start fails the run and frees its slot."""
    session = registry.create(provider=ScriptedProvider("x"))
    ended: list[str | None] = []
    session.on("end", lambda event: ended.append(event.state))

    def broken(*_args: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(run_queue, "plan_of", broken)
        run = session.send("?").wait(10)
    assert run.state == "failed"
    assert type(run.error) is errors.RunCrashed
    assert drain_callbacks(registry)
    assert ended == ["failed"]
    check_end(session, run)
    check_free(registry, session)


# Pause, retry and their clocks.


def test_a_failure_while_paused_is_tried_again_after_it(
    registry: SessionRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A paused run whose server fails while it connects stays paused, and retries after the resume."""
    answers: list[Any] = [[PAUSE, errors.ProviderUnavailable("busy.")], ["fine"]]
    provider = ScriptedProvider(lambda _request: answers.pop(0))
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    run.pause()
    provider.go()
    provider.wait_until(lambda p: p.closed == 1)
    assert run.state == "paused"
    run.resume()
    assert run.wait(10).text == "fine"
    assert not [r for r in caplog.records if "cannot take" in r.getMessage()]
    check_end(session, run)


def test_the_total_limit_holds_while_a_retry_waits(registry: SessionRegistry) -> None:
    """P20: the total time limit includes the time that the server asks to wait before a retry."""
    registry.limits.total_s = 0.1
    session = registry.create(provider=ScriptedProvider(errors.RateLimited("wait.", retryable=100.0)))
    run = session.send("?").wait(10)
    assert run.state == "failed"
    assert type(run.error) is errors.TotalTimeout
    check_free_with(registry, session)


def check_free_with(registry: SessionRegistry, session: Any) -> None:
    """Run `check_free` with a total limit that does not interfere."""
    registry.limits.total_s = None
    check_free(registry, session)


def test_waiting_to_retry_is_not_silence(registry: SessionRegistry) -> None:
    """A run that waits as the server asked is not marked stale."""
    session = registry.create(provider=ScriptedProvider(errors.RateLimited("wait.", retryable=100.0)))
    run = session.send("?")
    wait_for(lambda: run.state == "retrying", "it waits")
    assert registry.cleanup_stale(0) == []
    assert run.state == "retrying"
    run.stop()
    assert run.wait(10).state == "stopped"


# States from a damaged or hostile file.


def message(key: str, parent: str | None, role: str = "user") -> Message:
    """Return a message of the tree."""
    return Message(id=key, role=role, parent_id=parent, parts=(TextPart(text=key),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("messages", "selected"),
    [
        ({"a": message("a", "a")}, {ROOT: "a", "a": "a"}),
        ({"a": message("a", "b"), "b": message("b", "a")}, {ROOT: "a", "a": "b", "b": "a"}),
        ({"a": message("a", None)}, {ROOT: "a", "a": "a"}),
        ({"a": message("a", "gone")}, {ROOT: "a", "a": "gone"}),
        ({}, {ROOT: "x", "x": ROOT}),
    ],
    ids=["self", "two", "selected", "dangling", "empty"],
)
def test_a_tree_that_goes_in_a_circle_ends(messages: dict[str, Message], selected: dict[str, str]) -> None:
    """D10: walking a tree with cycles or dangling parents ends, and gives each message at most once."""
    state = SessionState(id="s", messages=messages, selected=selected)
    assert len(state.path) <= len(messages)
    assert len({m.id for m in state.path}) == len(state.path)
    assert state.leaf is None or state.leaf in messages
    for key in messages:
        assert len(state.context(key)) <= len(messages)
    assert isinstance(state.title, str)
