"""A model-checked state machine over registry, runs, views and journal, in virtual time.

Hypothesis chooses the steps: questions, pieces of answers, ends of all kinds, stops, pauses, pages that open
and close, lost messages, a failing disk, a killed kernel. After every step the kernel is compared with the
log that it wrote, the log with the text that providers streamed, and every view with the log.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from nbchat.core import errors
from nbchat.core.events import Event
from nbchat.core.recovery import recovered
from nbchat.core.run import RunState
from nbchat.core.saved import SavedSession
from nbchat.core.text import clean
from nbchat.core.transcript import SessionState, apply_event
from nbchat.engine.engine import Engine
from nbchat.engine.live_session import LiveSession
from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import Delta as WireDelta
from nbchat.providers.base import Delta, Finish, Request, TextDelta
from nbchat.wire.server import WireServer
from nbchat.wire.subscriptions import Subscriptions
from tests.faults.invariants import ENDS
from tests.simulation.world import InlineEngine, PageModel, World

PIECES = ("word ", "日本", "😀", "\ud83d", "\ude00", "\n\n# h\n", "é" * 30, "\0")
LATE = (errors.StreamBroken, errors.ProtocolError, errors.ProviderErrorEvent)


class ToldProvider:
    """A provider that streams the text that the machine gives it, and records it to compare with."""

    name = "told"
    can_prefill = True
    can_resume = False

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Queue[Delta | BaseException | None]] = {}
        """Queues of the streams that are being read, by run."""
        self.given: dict[str, str] = {}
        """Text streamed to each run."""
        self.healthy: Callable[[], bool] = lambda: True
        self.promised: set[str] = set()
        """Runs that started while the disk was good, so that their question is on it."""

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Stream the steps of a run until its end."""
        queue: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()
        self.open[request.run_id] = queue
        self.given.setdefault(request.run_id, "")
        if self.healthy():
            self.promised.add(request.run_id)
        try:
            while (step := await queue.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            if self.open.get(request.run_id) is queue:
                del self.open[request.run_id]

    def say(self, run_id: str, *steps: Delta | BaseException | None) -> None:
        """Queue the next steps of a stream."""
        for step in steps:
            if isinstance(step, TextDelta):
                self.given[run_id] += step.text
            self.open[run_id].put_nowait(step)
            if step is None or isinstance(step, BaseException):
                # No step follows this one, which a paused stream may read later.
                del self.open[run_id]
                return

    async def models(self) -> list[str]:
        """List one model."""
        return ["told"]

    async def aclose(self) -> None:
        """Close nothing."""


class Disk:
    """A journal on a disk that may be full, hang, or be lost with the kernel."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.states: dict[str, list[SessionState]] = {}
        """Every state that each session has had, folded from the recorded events."""
        self.events: dict[str, list[Event]] = {}
        self.durable: dict[str, int] = {}
        """Number of states that are on the disk, by session."""
        self.health = "good"
        self.dead = False
        self._flush: asyncio.TimerHandle | None = None
        self.store = None

    def adopt(self, state: SessionState) -> None:
        """Start with a state that is already on the disk."""
        self.states[state.id], self.events[state.id], self.durable[state.id] = [state], [], 1

    def record(self, session_id: str, seq: int, event: Event) -> None:
        """Record an event, and check that its number is the next and that it can be folded."""
        if self.dead:
            return
        states = self.states.setdefault(session_id, [SessionState(id=session_id)])
        assert seq == states[-1].seq + 1
        states.append(apply_event(states[-1], event))
        self.events.setdefault(session_id, []).append(event)
        if self._flush is None:
            self._flush = self._loop.call_later(0.25, self._write)

    def _write(self) -> None:
        self._flush = None
        if self.health == "good" and not self.dead:
            self.durable = {key: len(states) for key, states in self.states.items()}
        else:
            self._flush = self._loop.call_later(0.5, self._write)

    async def settled(self, session_id: str) -> None:
        """Return when everything is written."""
        del session_id
        if self.health == "full":
            raise errors.StoreFull("no space is left.")
        if self.health == "hangs":
            await asyncio.Event().wait()
        self._write()

    def write_whole(self, session_id: str) -> None:
        """Do nothing; only `adopt` writes a whole state here."""

    def is_saved(self, session_id: str) -> bool:
        """Return whether everything is written."""
        return self.durable.get(session_id) == len(self.states.get(session_id, ()))

    def close(self) -> None:
        """Cancel the pending write."""
        if self._flush is not None:
            self._flush.cancel()


def _not_any_more(coroutine: Coroutine[Any, Any, object], name: str) -> Any:
    del name
    coroutine.close()


picks = st.integers(0, 30)
any_piece = st.sampled_from(PIECES)


class Chats(RuleBasedStateMachine):
    """The possible steps, and the invariants that must hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0, pages=0)
        self.loop = self.world.loop
        asyncio.set_event_loop(self.loop)
        self.provider = ToldProvider()
        self.disk = Disk(self.loop)
        self.world.engine.journal = self.disk
        self.provider.healthy = lambda: self.disk.health == "good"
        self.number = 0
        self.cut: set[str] = set()
        """Runs ended by a user, a pause or a crash, so that not all of their text was read."""
        self.doubled: dict[str, int] = {}
        self.crashed_at = 0
        """Number of prompts at the last crash; the next crash needs at least two more."""
        self.open_page()
        for _ in range(2):  # start with two prompts, which most steps need
            self.create()
            self.send(which=-1, how="cell", page=0, more=1)

    # The kernel

    @property
    def registry(self) -> SessionRegistry:
        """Return the kernel's registry."""
        return self.world.registry

    def go(self, seconds: float = 0.0) -> None:
        """Let virtual time pass; without `seconds`, run everything that is ready."""

        async def turn() -> None:
            for _ in range(12):
                await asyncio.sleep(0)
            if seconds:
                await asyncio.sleep(seconds)

        self.loop.run_until_complete(turn())

    def pick(self, number: int) -> LiveSession:
        """Return one of the sessions."""
        found = list(self.world.engine.sessions)
        return found[number % len(found)]

    def pick_stream(self, number: int) -> str | None:
        """Return one of the runs whose stream is being read."""
        running = sorted(self.provider.open)
        return running[number % len(running)] if running else None

    def attempt(self, what: Callable[[], object]) -> None:
        """Perform a step that may be refused, and check that a refusal changes nothing."""
        before = {c.id: c.state for c in list(self.world.engine.sessions)}
        try:
            what()
        except errors.CommandError:
            assert {c.id: c.state for c in list(self.world.engine.sessions)} == before
        self.go()

    def page(self, number: int) -> PageModel | None:
        """Return one of the pages that are connected to the kernel."""
        pages = [page for page in self.world.pages if page.epoch is not None]
        return pages[number % len(pages)] if pages else None

    # Sessions

    @precondition(lambda self: len(list(self.world.engine.sessions)) < 4)
    @rule()
    def create(self) -> None:
        """Create a session."""
        self.registry.create(provider=self.provider)
        self.go()

    @precondition(lambda self: list(self.world.engine.sessions))
    @rule(which=picks, what=st.sampled_from(["rename", "fork", "close", "delete", "delete and undo"]))
    def manage(self, which: int, what: str) -> None:
        """Rename, fork, close or delete a session."""
        conversation = self.pick(which)
        handle = self.registry[conversation.id]
        if what == "rename":
            handle.rename(f"name {which} \u202e")
        elif what == "fork":
            if len(list(self.world.engine.sessions)) < 6:
                handle.fork()
        elif what == "close":
            handle.close()
        else:
            self.cut.update(run.id for run in conversation.state.runs if run.state.is_live)
            handle.delete()
            if what != "delete":
                self.go(0.01)
                self.registry.undelete(conversation.id)
        self.go()

    # Prompts

    @precondition(lambda self: list(self.world.engine.sessions))
    @rule(which=picks, how=st.sampled_from(["cell", "page", "twice"]), page=picks, more=st.integers(0, 2))
    def send(self, which: int, how: str, page: int, more: int) -> None:
        """Send a prompt from a cell, from a page, or by a command that reaches the kernel several times."""
        conversation = self.pick(which)
        self.number += 1
        text = f"question {self.number}"
        looking = self.page(page)
        if how == "cell" or looking is None:
            conversation.send(text)
            for extra in range(more):
                conversation.send(f"{text}, and {extra}")
        elif how == "page":
            looking.do({"type": "send", "session_id": conversation.id, "text": text})
        else:
            command = {"type": "send", "id": f"c-{self.number}", "session_id": conversation.id, "text": text}
            for _ in range(3):
                self.world._up(
                    {
                        "type": "run_command",
                        "page": looking.id,
                        "epoch": self.world.engine.epoch,
                        "command": command,
                    }
                )
            self.doubled[text] = self.number
        self.go(0.01)

    @precondition(lambda self: list(self.world.engine.sessions))
    @rule(
        which=picks,
        what=st.sampled_from(
            ["retry", "regenerate", "continue_", "resume", "edit", "discard", "select", "keep"]
        ),
        message=picks,
    )
    def revise(self, which: int, what: str, message: int) -> None:
        """Request another answer, or return to an earlier one."""
        conversation = self.pick(which)
        messages = list(conversation.state.messages)
        chosen = messages[message % len(messages)] if messages else "m-none"
        if what in ("retry", "regenerate", "continue_", "resume"):
            self.attempt(getattr(conversation, what))
        elif what == "edit":
            self.attempt(lambda: conversation.edit(chosen, f"edited {self.number}"))
        elif what == "keep":
            self.attempt(lambda: conversation.keep(chosen))
        else:
            self.attempt(lambda: getattr(conversation, what)(chosen))

    # Answers

    @precondition(lambda self: self.provider.open)
    @rule(which=picks, pieces=st.lists(any_piece, min_size=1, max_size=4))
    def deliver(self, which: int, pieces: list[str]) -> None:
        """Let a stream yield text."""
        run_id = self.pick_stream(which)
        assert run_id is not None
        self.provider.say(run_id, *map(TextDelta, pieces))
        self.go()

    @precondition(lambda self: self.provider.open)
    @rule(
        which=picks,
        how=st.sampled_from(["stop", "length", "eos", "cut", "broken", "crash", "unavailable", "refused"]),
        last=st.lists(any_piece, max_size=1),
    )
    def end(self, which: int, how: str, last: list[str]) -> None:
        """Let a stream end, with or without an error."""
        run_id = self.pick_stream(which)
        assert run_id is not None
        self.provider.say(run_id, *map(TextDelta, last))
        if how == "cut":
            self.provider.say(run_id, None)
        elif how == "broken":
            self.provider.say(run_id, LATE[which % len(LATE)]("gone."))
        elif how == "crash":
            self.provider.say(run_id, [ZeroDivisionError(), SystemExit(), MemoryError()][which % 3])
        elif how == "unavailable":
            self.provider.say(run_id, errors.ProviderUnavailable("busy.", retryable=0.3))
        elif how == "refused":
            self.provider.say(run_id, errors.AuthenticationFailed("no."))
        else:
            self.provider.say(run_id, Finish(how), None)
        self.go()

    # Control

    @precondition(lambda self: any(c.state.runs for c in list(self.world.engine.sessions)))
    @rule(which=picks, run=picks, what=st.sampled_from(["stop", "pause", "resume"]), page=st.booleans())
    def control(self, which: int, run: int, what: str, page: bool) -> None:
        """Stop, pause or resume a run: live, queued or over."""
        conversation = self.pick(which)
        if not conversation.state.runs:
            return
        # Mostly a live run, and sometimes one that is over.
        runs = conversation.state.runs
        runs = tuple(r for r in runs if r.state.is_live and run % 5) or runs
        record = runs[run % len(runs)]
        others = {r.id: r.state for r in conversation.state.runs if r.id != record.id}
        looking = self.page(run)
        if what == "stop" and record.state.is_live:
            self.cut.add(record.id)
        if page and looking is not None:
            looking.do({"type": what, "session_id": conversation.id, "run_id": record.id})
            self.go(0.01)
            return
        refused = False
        try:
            getattr(conversation, what)(record.id)
        except errors.CommandError:
            refused = True
        now = {r.id: r.state for r in conversation.state.runs if r.id in others}
        assert now == others, "a command that names a run touches that run alone"
        if what == "pause" and not refused:
            after = conversation.state.run(record.id)
            assert after is not None
            assert after.state is RunState.PAUSED
        self.go()

    @rule(what=st.sampled_from(["pause_all", "resume_all", "stop_all", "cleanup"]))
    def control_all(self, what: str) -> None:
        """Pause, resume, stop or clean up all runs."""
        live = [r.id for c in list(self.world.engine.sessions) for r in c.state.runs if r.state.is_live]
        if what == "cleanup":
            self.registry.cleanup_stale(60)
        else:
            if what == "stop_all":
                self.cut.update(live)
            getattr(self.registry, what)()
        self.go()

    # Pages, network, disk, time

    @precondition(lambda self: len(self.world.pages) < 3)
    @rule()
    def open_page(self) -> None:
        """Open a page at any moment."""
        page = PageModel(self.loop, self.world._up)
        self.world.pages.append(page)
        self.world.line.ends.append(page.receive)
        self.go()

    @precondition(lambda self: self.world.pages)
    @rule(which=picks)
    def close_page(self, which: int) -> None:
        """Close a page without notice."""
        page = self.world.pages.pop(which % len(self.world.pages))
        self.world.line.ends.remove(page.receive)
        page._up = lambda _message: None
        if page._timer is not None:
            page._timer.cancel()
        page._asked, page._wanted = None, set()

    @precondition(lambda self: self.world.pages and list(self.world.engine.sessions))
    @rule(which=picks, page=picks)
    def look(self, which: int, page: int) -> None:
        """Show another session in a page."""
        looking = self.page(page)
        if looking is not None:
            looking.do({"type": "viewing", "session_ids": [self.pick(which).id]})
            self.go(0.01)

    @rule(loss=st.sampled_from([0.0, 0.3, 0.6]))
    def weather(self, loss: float) -> None:
        """Change the rate of lost messages."""
        self.world.line.loss = loss

    @rule(health=st.sampled_from(["good", "good", "full", "hangs"]))
    def disk_changes(self, health: str) -> None:
        """Change the state of the disk."""
        self.disk.health = health
        self.go()

    @rule(seconds=st.sampled_from([0.04, 0.3, 1.1, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.go(seconds)

    @precondition(lambda self: self.number >= self.crashed_at + 2)
    @rule()
    def crash(self) -> None:
        """Kill the kernel, so that unwritten data is lost, and start one that restores the rest."""
        self.crashed_at = self.number
        promised = {
            run.prompt_id
            for states in self.disk.states.values()
            for run in states[-1].runs
            if run.id in self.provider.promised and run.prompt_id in states[-1].messages
            if not states[-1].deleted
        }
        kept = {
            key: states[self.disk.durable[key] - 1]
            for key, states in self.disk.states.items()
            if self.disk.durable.get(key, 0) > 1 or (states[0].seq > 0 and key in self.disk.durable)
        }
        self.disk.dead = True
        self.disk.close()
        self.world.wire.close()
        self.world.wire._pacer._send = lambda *_message: None  # it must not answer messages in transit
        while self.world.pages:
            self.close_page(0)
        # A killed process runs no code; here its tasks are cancelled, and must not start others.
        self.world.engine.loop.spawn = _not_any_more  # type: ignore[method-assign]
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.go()
        self.provider.open.clear()

        old = self.world.engine
        self.world.engine = Engine(loop=InlineEngine(self.loop))
        self.world.registry = SessionRegistry(backend=LocalBackend(self.world.engine))
        self.disk = Disk(self.loop)
        self.world.engine.journal = self.disk
        self.world.wire = WireServer(self.world.engine, self.world._down)
        assert self.world.engine.epoch != old.epoch
        for state in kept.values():
            if not state.deleted:
                after = recovered(state, 0.0)
                self.disk.adopt(after)
                self.world.engine.add_restored(SavedSession(state=after)).provider = self.provider
                assert all(run.state.is_over for run in after.runs)
                lost = {run.id for run in state.runs if run.state.is_live}
                assert all(
                    run.state is RunState.INTERRUPTED and run.error is not None
                    for run in after.runs
                    if run.id in lost
                )
                self.cut |= lost
        there = {key for c in list(self.world.engine.sessions) for key in c.state.messages}
        deleted = {key for state in kept.values() if state.deleted for key in state.messages}
        assert promised <= there | deleted, "a question is not lost"
        self.open_page()

    # Invariants

    @invariant()
    def the_log_is_the_state(self) -> None:
        """Check that the folded log equals the kernel's state, and that every run ended at most once."""
        for conversation in list(self.world.engine.sessions):
            states = self.disk.states[conversation.id]
            assert conversation.state == states[-1]
            assert conversation.record.log.head == conversation.state.seq
            ends: set[str] = set()
            for event in self.disk.events[conversation.id]:
                if isinstance(event, ENDS):
                    assert event.run_id not in ends
                    ends.add(event.run_id)

    @invariant()
    def a_session_does_one_thing(self) -> None:
        """Check that a session has at most one connection, and that queued runs and slots are consistent."""
        held = 0
        everybody = [
            *list(self.world.engine.sessions),
            *self.world.engine.sessions._deleted.values(),
        ]
        for conversation in everybody:
            busy = conversation.live is not None or conversation.runs._starting
            held += busy
            begun = [r for r in conversation.state.runs if r.state.is_live and r.started_at is not None]
            assert len(begun) <= 1
            if begun:
                assert conversation.live is not None, "a run that began is driven by somebody"
                assert conversation.live.run_id == begun[0].id
            elif conversation.state.live is not None and conversation.state.live.state is RunState.QUEUED:
                assert busy or conversation.position is not None, "a prompt that waits stands in the queue"
        assert self.world.engine.scheduler.live == held

    @invariant()
    def texts_are_what_was_said(self) -> None:
        """Check that a run's text is a prefix of its provider's text, and all of it after a normal end."""
        for conversation in list(self.world.engine.sessions):
            for run in self.registry[conversation.id].runs:
                record = conversation.state.run(run.id)
                assert record is not None
                if record.started_at is None or record.message_id not in conversation.state.messages:
                    continue
                given, text = self.provider.given.get(run.id, ""), run.text
                whole = clean(given)
                if (
                    run.is_over
                    and run.id not in self.cut
                    and (record.error is None or record.error.code != "pause_expired")
                ):
                    assert text == whole
                else:
                    begun = text.rstrip("\ufffd")
                    assert whole.startswith(begun)
                    assert len(text) - len(begun) <= given.count("\ud83d") + given.count(
                        "\ude00"
                    ) + given.count("\0")
                assert (run.error is not None) == (run.state in (RunState.FAILED, RunState.INTERRUPTED))

    @invariant()
    def views_show_the_past_or_the_present(self) -> None:
        """Check that a page's state of a session equals the session's state at that event number."""
        for page in self.world.pages:
            for key, state in page.states.items():
                states = self.disk.states[key]
                assert state == states[state.seq - states[0].seq]

    def teardown(self) -> None:
        """Check that without faults all runs end, all views are right, and all sessions answer."""
        try:
            self._recover()
        finally:
            self.disk.dead = True
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with contextlib.suppress(RuntimeError):
                self.go()
            asyncio.set_event_loop(None)
            self.loop.close()

    def _recover(self) -> None:
        self.disk.health, self.world.line.loss = "good", 0.0
        self.registry.resume_all()
        for _ in range(self.registry.limits.queue + 30):  # the queue of a session may be full
            self.go(0.5)
            for run_id in list(self.provider.open):
                self.provider.say(run_id, TextDelta("end"), Finish("stop"), None)
            self.registry.resume_all()
            if all(c.is_idle for c in list(self.world.engine.sessions)):
                break
        assert all(c.is_idle for c in list(self.world.engine.sessions)), "a run did not end"
        runs = [self.registry[c.id].send("free?") for c in list(self.world.engine.sessions)]
        for _ in range(40):
            # A disk that hung may delay the start of a run for a moment.
            self.go(0.5)
            for run_id in list(self.provider.open):
                self.provider.say(run_id, TextDelta("yes"), Finish("stop"), None)
            if all(run.is_over for run in runs):
                break
        self.go(12)
        assert [(run.state, run.text) for run in runs] == [("completed", "yes")] * len(runs), runs
        self.the_log_is_the_state()
        self.a_session_does_one_thing()
        self.texts_are_what_was_said()
        assert self.world.engine.scheduler.live == 0
        final = {c.id: c.state for c in list(self.world.engine.sessions)}
        for page in self.world.pages:
            shown = {key: state for key, state in page.states.items() if not state.deleted}
            assert shown == final
            heads = {key: head for key, (_, head) in page.heads.items() if not head.deleted}
            assert {key: head.state for key, head in heads.items()} == {
                key: state.status for key, state in final.items()
            }
        for text in self.doubled:
            asked = [m for s in final.values() for m in s.messages.values() if m.text == text]
            assert len({m.created_at for m in asked if m.role == "user"}) <= 1 + len(final)
        names = {task.get_name() for task in asyncio.all_tasks(self.loop)}
        assert not {name for name in names if name.startswith("nbchat-")}


@pytest.mark.timeout(600)
def test_whatever_happens_the_invariants_hold(soak: bool) -> None:
    """In 300 stories of 30 steps no text is lost, doubled or stuck, no slot is lost, and no view is wrong."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Chats,
        settings=settings(
            settings.default if soak else settings(max_examples=300, stateful_step_count=30),
            suppress_health_check=list(HealthCheck),
        ),
    )


def _pause_the_live_one(patch: pytest.MonkeyPatch) -> None:
    pause = LiveSession.pause

    def wrong(self: LiveSession, run_id: str | None = None) -> Any:
        return pause(self, self.live.run_id if self.live is not None else run_id)

    patch.setattr(LiveSession, "pause", wrong)


def _keep_the_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("nbchat.engine.scheduler.Scheduler.release", lambda _self: None)


def _ask_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    async def at_once(_self: Disk, _session_id: str) -> None:
        return

    patch.setattr(Disk, "settled", at_once)


def _send_one_event_twice(patch: pytest.MonkeyPatch) -> None:
    read = Subscriptions._read

    def wrong(
        self: Subscriptions, session: LiveSession, reader: Any, size: int, deltas: list[WireDelta]
    ) -> Any:
        reader.seq -= reader.seq > 3
        found: list[WireDelta] = []
        messages, size = read(self, session, reader, size, found)
        deltas += [replace(delta, seq=delta.seq + 1) for delta in found]
        return [
            replace(m, first_seq=m.first_seq + 1) if hasattr(m, "first_seq") else m for m in messages
        ], size

    patch.setattr(Subscriptions, "_read", wrong)


@pytest.mark.parametrize(
    "defect", [_pause_the_live_one, _keep_the_slot, _ask_before_it_is_written, _send_one_event_twice]
)
def test_the_machine_finds_defects(
    defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a deliberate defect, the machine finds a story that breaks an invariant."""
    with monkeypatch.context() as patch:
        defect(patch)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever invariant finds it
            run_state_machine_as_test(  # type: ignore[no-untyped-call]
                Chats,
                settings=settings(
                    max_examples=3000,
                    stateful_step_count=30,
                    phases=[Phase.generate],
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
    assert isinstance(caught.value, AssertionError | BaseExceptionGroup)
