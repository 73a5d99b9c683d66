"""The tests can fail: for each promise one deliberate defect, which its check must catch.

Each case is a check that passes, and a deliberate defect with which the same check fails.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from nbchat.core import errors, text
from nbchat.core.events import RunStopped
from nbchat.core.session import SessionRecord
from nbchat.engine import answer_builder, carry_out, logs, run_queue
from nbchat.engine.answer_builder import AnswerBuilder
from nbchat.engine.attempts import Attempts
from nbchat.engine.callbacks import Callbacks
from nbchat.engine.deadlines import Deadlines
from nbchat.engine.live_run import LiveRun
from nbchat.engine.live_session import LiveSession
from nbchat.engine.outcomes import Outcomes
from nbchat.engine.scheduler import Scheduler
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import Delta
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from nbchat.wire.commands import PageCommands
from nbchat.wire.server import WireServer
from nbchat.wire.subscriptions import Subscriptions
from tests.engines import engine_of, live
from tests.faults.invariants import check_end, slots
from tests.simulation.test_world import check_prefixes, story, view_equals_transcript
from tests.simulation.world import PageModel, World

Patch = pytest.MonkeyPatch


# Checks: each is a small story.


def views_are_right() -> None:
    """Fold the packets of an unreliable channel in two pages; every view equals the transcript."""
    for seed in range(4):
        world = World(seed, loss=0.4)

        async def whole(world: World = world) -> None:
            await story(world, moves=20)
            await asyncio.sleep(30)

        world.run(whole())
        view_equals_transcript(world)
        for page in world.pages:
            check_prefixes(page, {c.id: c.state for c in list(engine_of(world.registry).sessions)})


def with_registry(check: Callable[[SessionRegistry], None]) -> Callable[[], None]:
    """Give a check its own registry."""

    def run() -> None:
        registry = SessionRegistry()
        registry.limits.stop_s = 0.1
        try:
            check(registry)
        finally:
            engine_of(registry).shutdown()

    run.__doc__, run.__name__ = check.__doc__, check.__name__
    return run


@with_registry
def runs_end_once(registry: SessionRegistry) -> None:
    """Finish, break and stop runs whose text is not only ASCII; each ends once with its whole text."""
    broken = errors.StreamBroken("gone.")
    scripts = [("é😀日本", ["é😀", "日本"]), ("é😀", ["é😀", broken]), ("😀", ["\ud83d", "\ude00"])]
    for said, script in [*scripts, ("\ufffd", ["\ud83d"])]:
        session = registry.create(provider=ScriptedProvider(*script))
        run = session.send("?").wait(5)
        engine_of(registry).loop.call(live(session).append, RunStopped(run_id=run.id, at=0.0))
        check_end(session, run)
        assert run.text == said
        for event in live(session).record.log.read_from(0):
            msgspec.json.encode(event)


@with_registry
def stops_name_their_run(registry: SessionRegistry) -> None:
    """Stop a run that is over, and one that is queued: the live one continues."""
    provider = ScriptedProvider("x", PAUSE, "y")
    session = registry.create(provider=provider)
    first = session.send("1")
    provider.wait_paused()
    provider.go()
    first.wait(5)
    second, third = session.send("2"), session.send("3")
    provider.wait_paused()
    first.stop()
    third.stop()
    assert second.state == "streaming"
    third.wait(5)
    second.stop()


@with_registry
def slots_come_back(registry: SessionRegistry) -> None:
    """Run more sessions than there are slots, one after the other."""
    registry.limits.live_runs = 1
    for _ in range(3):
        registry.create(provider=ScriptedProvider("x")).send("?").wait(3)
    assert slots(registry) == (0, 0)


@with_registry
def nothing_is_asked_twice(registry: SessionRegistry) -> None:
    """Break after the first piece: one request, and its text once."""
    provider = ScriptedProvider("x", errors.ProviderUnavailable("busy.", retryable=0.001))
    run = registry.create(provider=provider).send("?").wait(5)
    assert (len(provider.requests), run.text, run.state) == (1, "x", "interrupted")


@with_registry
def a_clean_end_is_no_success(registry: SessionRegistry) -> None:
    """End without a finish reason."""
    run = registry.create(provider=ScriptedProvider("x", finish=None)).send("?").wait(5)
    assert run.state == "interrupted"


@with_registry
def limits_hold(registry: SessionRegistry) -> None:
    """Exceed the limits on length and on time."""
    registry.limits.answer_chars = 10
    run = registry.create(provider=ScriptedProvider("x" * 100)).send("?").wait(5)
    assert run.text == "x" * 10
    assert type(run.error) is errors.LimitExceeded
    registry.limits.idle_s = 0.05
    run = registry.create(provider=ScriptedProvider("x", PAUSE)).send("?").wait(3)
    assert type(run.error) is errors.IdleTimeout


@with_registry
def sessions_are_apart(registry: SessionRegistry) -> None:
    """Ask in two sessions: their contexts are separate."""
    provider = ScriptedProvider(lambda request: [m.text for m in request.messages])
    a, b = registry.create(provider=provider), registry.create(provider=provider)
    for n in range(3):
        a.send(f"a{n}").wait(5)
        b.send(f"b{n}").wait(5)
    assert "b" not in "".join(m.text for m in a.messages)
    assert "a" not in "".join(m.text for m in b.messages)
    assert [m.role for m in a.messages] == ["user", "assistant"] * 3


@with_registry
def callbacks_are_isolated(registry: SessionRegistry) -> None:
    """Raise in a callback; the next callback is still called."""
    heard: list[str] = []

    def leave(_event: object) -> None:
        raise SystemExit

    registry.on("end", leave)
    registry.on("end", lambda event: heard.append(event.event))
    registry.create(provider=ScriptedProvider("x")).send("?").wait(5)
    assert engine_of(registry).callbacks.drain(2)
    assert heard == ["end"]


@with_registry
def logs_hold_no_key(registry: SessionRegistry) -> None:
    """Crash with a key in the exception, and read the log records that a handler gets."""
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(logging.Formatter().format(record))

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        key = "sk-0123456789abcdefghijklmnop"
        run = registry.create(provider=ScriptedProvider(RuntimeError(f"key {key}"))).send("?").wait(5)
    finally:
        logging.getLogger().removeHandler(handler)
    assert seen
    assert key not in "".join(seen)
    assert key not in str(run.error)


def commands_are_done_once() -> None:
    """Send one command three times, and one that was meant for another kernel."""
    world = World(3, pages=1)

    async def repeated() -> None:
        session = world.registry.create(provider=ScriptedProvider("x"))
        await asyncio.sleep(1)
        command = {"type": "send", "id": "c-1", "session_id": session.id, "text": "once"}
        for epoch in ("k-older", engine_of(world.registry).epoch, engine_of(world.registry).epoch):
            page = world.pages[0].id
            world.wire.receive({"type": "run_command", "page": page, "epoch": epoch, "command": command})
            if epoch == "k-older":
                command = {**command, "id": "c-2"}
        await asyncio.sleep(1)
        await world.settle()
        assert len(session.runs) == 1

    world.run(repeated())


def the_end_is_told_when_it_is_durable() -> None:
    """Look at a page before the journal has answered."""
    world = World(0, pages=1)
    gate = asyncio.Event()

    class Slow:
        def record(self, *_event: object) -> None: ...

        async def settled(self, _session_id: str) -> None:
            if session.runs and live(session).state.runs[0].state.is_over:
                await gate.wait()

    engine_of(world.registry).journal = Slow()  # type: ignore[assignment]
    session = world.registry.create(provider=ScriptedProvider("x"))

    async def look() -> None:
        await asyncio.sleep(1)
        session.send("?")
        await asyncio.sleep(0.5)
        assert world.pages[0].states[session.id].runs[0].state == "streaming"
        gate.set()
        await asyncio.sleep(1)
        assert world.pages[0].states[session.id].runs[0].state == "completed"

    world.run(look())


# Defects.


def skip_an_event(patch: Patch) -> None:
    """Omit an event from some packets to pages."""
    read = Subscriptions._read

    def wrong(self: Subscriptions, session: LiveSession, reader: Any, size: int, deltas: list[Delta]) -> Any:
        if reader.seq and reader.seq % 5 == 0 and reader.seq < session.record.visible:
            reader.seq += 1
        return read(self, session, reader, size, deltas)

    patch.setattr(Subscriptions, "_read", wrong)
    patch.setattr(PageModel, "_ask", lambda _self: None)


def say_an_event_twice(patch: Patch) -> None:
    """Make a page apply events that it already has."""

    def wrong(self: PageModel, message: Any) -> None:
        state = self.states.get(message.session_id)
        if state is not None:
            for event in message.events:
                state = live_apply(state, event)
            self._show(state)

    from nbchat.core.transcript import apply_event as live_apply  # noqa: PLC0415 - beside its only use

    patch.setattr(PageModel, "_take_events", wrong)


def answer_without_the_news(patch: Patch) -> None:
    """Report to a page that it is up to date, without the events that it misses."""
    patch.setattr(Subscriptions, "_catch_up", lambda *_arguments: [])


def take_late_events(patch: Patch) -> None:
    """Accept every event without looking it up in the table."""
    patch.setattr(SessionRecord, "check", lambda *_arguments: None)


def count_code_points(patch: Patch) -> None:
    """Count code points, as Python does, instead of UTF-16 code units."""
    patch.setattr(answer_builder, "utf16_length", len)


def forget_the_checksum(patch: Patch) -> None:
    """Restart the checksum with each delta."""
    patch.setattr(answer_builder, "checksum", lambda piece, _start=0: text.checksum(piece))


def leave_halves(patch: Patch) -> None:
    """Let lone surrogates into the log."""
    patch.setattr(answer_builder, "clean", lambda value: value)


def lose_the_last_words(patch: Patch) -> None:
    """End a run without the text that is still buffered."""

    def wrong(self: AnswerBuilder, **_options: bool) -> None:
        for part in self._parts.values():
            part.pending.clear()

    patch.setattr(AnswerBuilder, "flush", wrong)


def stop_whatever_is_live(patch: Patch) -> None:
    """Stop the live run, whichever run the command names."""
    stop = LiveSession.stop
    patch.setattr(LiveSession, "stop", lambda self, _run_id=None: stop(self))


def keep_the_slot(patch: Patch) -> None:
    """Never release a slot."""
    patch.setattr(Scheduler, "release", lambda _self: None)


def ask_again_in_the_middle(patch: Patch) -> None:
    """Retry also after the first delta."""
    patch.setattr(Attempts, "_may_retry", lambda _self, _round, _error, retries: 0.0 if retries < 2 else None)


def take_any_end_for_success(patch: Patch) -> None:
    """Complete a run whose stream ended without a finish reason."""
    end_by = LiveRun._end_by

    def wrong(self: LiveRun, cause: Any) -> Any:
        if cause is None:
            self._outcome.finish = self._outcome.finish or "stop"
        return end_by(self, cause)

    patch.setattr(LiveRun, "_end_by", wrong)


def have_no_limits(patch: Patch) -> None:
    """Ignore every limit on time and length."""
    patch.setattr(Deadlines, "_deadlines", lambda _self: [])


def cut_nothing(patch: Patch) -> None:
    """Count no characters."""
    add = AnswerBuilder.add
    patch.setattr(AnswerBuilder, "add", lambda self, delta, _room: add(self, delta, sys.maxsize))


def share_a_context(patch: Patch) -> None:
    """Send the messages of all sessions with each question."""
    plan_of = run_queue.plan_of
    said: list[Any] = []

    def wrong(*args: Any) -> Any:
        made = plan_of(*args)
        said.extend(made.request.messages)
        return replace(made, request=replace(made.request, messages=tuple(said)))

    patch.setattr(run_queue, "plan_of", wrong)


def let_callbacks_through(patch: Patch) -> None:
    """Call callbacks without catching their exceptions."""
    patch.setattr(Callbacks, "_call", lambda _self, callback, item: callback(item))


def log_as_it_is(patch: Patch) -> None:
    """Redact nothing."""
    patch.setattr(logs, "redact", lambda value, _secrets=(): value)


def forget_what_was_done(patch: Patch) -> None:
    """Forget executed commands, both per page and in the engine."""
    patch.setattr("nbchat.wire.commands.KEPT_ACKS", 0)
    patch.setattr(Outcomes, "add", lambda _self, _command_id, _outcome: None)


def take_any_kernels_commands(patch: Patch) -> None:
    """Ignore the kernel that a command was meant for."""
    patch.setattr(
        PageCommands,
        "_execute",
        lambda self, message: carry_out.carry_out(self._engine, message.command) and None,
    )
    patch.setattr(WireServer, "say", lambda *_message: None)


def tell_the_end_at_once(patch: Patch) -> None:
    """Announce the end before it is durable."""
    patch.setattr(SessionRecord, "hold", lambda _self, _run_id: None)


def never_tell_the_end(patch: Patch) -> None:
    """Never announce the end."""
    patch.setattr(SessionRecord, "release", lambda _self: None)


def drop_the_fence(patch: Patch) -> None:
    """Let a run settle any number of times."""
    settle = LiveRun._settle

    def wrong(self: LiveRun, end: Any) -> None:
        self.over = False
        settle(self, end)
        self.over = False
        settle(self, end)

    patch.setattr(LiveRun, "_settle", wrong)
    patch.setattr(SessionRecord, "check", lambda *_arguments: None)


DEFECTS: list[tuple[Callable[[], None], Callable[[Patch], None]]] = [
    (views_are_right, skip_an_event),
    (views_are_right, say_an_event_twice),
    (views_are_right, answer_without_the_news),
    (runs_end_once, take_late_events),
    (runs_end_once, count_code_points),
    (runs_end_once, forget_the_checksum),
    (runs_end_once, leave_halves),
    (runs_end_once, lose_the_last_words),
    (runs_end_once, drop_the_fence),
    (stops_name_their_run, stop_whatever_is_live),
    (slots_come_back, keep_the_slot),
    (nothing_is_asked_twice, ask_again_in_the_middle),
    (a_clean_end_is_no_success, take_any_end_for_success),
    (limits_hold, have_no_limits),
    (limits_hold, cut_nothing),
    (sessions_are_apart, share_a_context),
    (callbacks_are_isolated, let_callbacks_through),
    (logs_hold_no_key, log_as_it_is),
    (commands_are_done_once, forget_what_was_done),
    (commands_are_done_once, take_any_kernels_commands),
    (the_end_is_told_when_it_is_durable, tell_the_end_at_once),
    (the_end_is_told_when_it_is_durable, never_tell_the_end),
]


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in DEFECTS), ids=lambda c: c.__name__)
def test_the_check_passes(check: Callable[[], None]) -> None:
    """Without a defect each check passes."""
    check()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("check", "defect"), DEFECTS, ids=lambda c: c.__name__)
def test_the_check_catches_the_defect(
    check: Callable[[], None], defect: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    """With the defect the same check fails."""
    with monkeypatch.context() as patch:
        defect(patch)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any failure counts
            check()
    assert isinstance(caught.value, AssertionError | TimeoutError | ValueError | TypeError | KeyError)
