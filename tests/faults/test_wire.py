"""Messages between pages and the kernel, and messages that must be refused: B1 to B15 in the kernel."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbchat.core import errors
from nbchat.core.events import Settings
from nbchat.core.transcript import SessionState
from nbchat.engine.live_session import LiveSession
from nbchat.engine.session_index import UNDO
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import Packet, SessionStateMessage, encode_packet
from nbchat.providers.base import Request
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from nbchat.wire.server import WireServer
from tests.engines import drain_callbacks, engine_of, live
from tests.simulation.world import PageModel, World
from tests.stores.memory import MemoryStore

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
TYPES = ["hello", "sync", "want_earlier", "run_command", "stored", "want_checkpoint", "packet", ""]
COMMANDS = [
    "send",
    "stop",
    "stop_all",
    "configure",
    "delete",
    "edit",
    "viewing",
    "rename",
    "set_key",
    "new_session",
]
FIELDS = ["id", "page", "epoch", "session_id", "run_id", "message_id", "text", "title", "model", "params"]
FORGED = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        **dict.fromkeys(["id", "page", "epoch", "session_id", "before", "text"], st.text(max_size=8) | ANY),
        **dict.fromkeys(["rev", "protocol", "piece", "of", "version"], st.integers() | ANY),
        "sessions": st.dictionaries(st.text(max_size=8), st.integers()) | ANY,
        "command": st.fixed_dictionaries(
            {"type": st.sampled_from(COMMANDS)}, optional=dict.fromkeys(FIELDS, st.text(max_size=8) | ANY)
        )
        | ANY,
    },
)


@settings(max_examples=200)
@given(st.lists(FORGED | ANY, min_size=1, max_size=5))
def test_nothing_a_page_sends_breaks_the_wire(messages: list[Any]) -> None:
    """Forged, damaged and random messages are ignored and counted; sessions stay unchanged and usable."""
    world = World(0, pages=1)

    async def story() -> None:
        session = world.registry.create("geo", provider=ScriptedProvider("x"))
        await asyncio.sleep(1)
        before = live(session).state
        for message in messages:
            world.wire.receive(message)
        await asyncio.sleep(1)
        assert live(session).state == before, "none of them knew this kernel's epoch"
        run = session.send("?")
        await world.settle()
        await asyncio.sleep(1)
        assert (run.state, run.text) == ("completed", "x")
        assert world.pages[0].states[session.id] == live(session).state

    world.run(story())


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_a_message_as_deep_as_can_be_is_refused(depth: int) -> None:
    """K19: a message nested without end is refused like any other that is not in the protocol."""
    world = World(0, pages=1)
    deep: Any = {}
    for _ in range(depth):
        deep = {"a": deep}

    async def story() -> None:
        session = world.registry.create(provider=ScriptedProvider("x"))
        await asyncio.sleep(1)
        command = {"type": "configure", "id": "c-1", "session_id": session.id, "params": deep}
        for message in (deep, [deep], {"type": "run_command", "page": "p", "epoch": "k", "command": command}):
            world.wire.receive(message)
        await asyncio.sleep(1)
        assert world.registry.stats()["wire_errors"] == 3
        assert session.params == {}

    world.run(story())
    while deep:  # taken apart in a loop: Python would recurse
        deep = deep.pop("a", None)


def test_odd_values_do_not_silence_the_wire_or_the_journal() -> None:
    """D12: settings that JSON cannot represent are replaced when sent; other sessions are not affected."""
    world = World(0, pages=1)
    odd = {"a\ud800": "\udfff", "b": "\0"}

    async def story() -> None:
        registry = world.registry
        bad = registry.create("t\ud800", instructions="i\ud800\0", params=odd, provider=world.provider)
        good = registry.create("good", provider=ScriptedProvider("x"))
        run = good.send("\ud83d half")
        await world.settle()
        await asyncio.sleep(2)
        page = world.pages[0]
        assert page.states[good.id] == live(good).state
        assert page.states[bad.id].settings.instructions == "i\ufffd\ufffd"
        assert run.state == "completed"

    world.run(story())


def test_a_packet_can_always_be_written() -> None:
    """Values that JSON cannot hold are replaced: lone surrogates, numbers beyond 2**64, other objects."""
    settings = Settings(params={"n": 2**70, "s": "\ud800", "o": object(), "d": {1: [float("nan")]}})
    state = SessionState(id="s-1", settings=settings)
    packet = msgspec.json.decode(
        encode_packet(Packet(epoch="k", n=1, rev=1, messages=(SessionStateMessage(state=state, omitted=0),)))
    )
    params = packet["messages"][0]["state"]["settings"]["params"]
    assert params["n"] == str(2**70)
    assert params["s"] == "\ufffd"
    assert params["d"] == {"1": [None]}


def test_the_journal_accepts_whatever_a_session_accepts(registry: SessionRegistry) -> None:
    """D12: the journal can write every text and setting that a session accepts."""
    engine_of(registry).open_journal(MemoryStore())
    bad = registry.create("t\ud800", instructions="\ud800", params={"a\ud800": "\udfff"})
    live(bad).provider = ScriptedProvider("x\ud800")
    bad.send("\udc00 ?").wait(10)
    good = registry.create("good", provider=ScriptedProvider("y"))
    good.send("?").wait(10)
    assert registry.save() is True
    stats = registry.stats()
    assert stats["journal_waiting"] == 0
    assert stats["journal_lag_s"] == 0.0
    assert all(run.saved for c in list(engine_of(registry).sessions) for run in c.state.runs)


def test_a_page_that_missed_a_deletion_receives_it() -> None:
    """A page that missed a deletion drops the session with the next packet, also when undo has expired."""
    world = World(0, pages=2)

    async def story() -> None:
        registry = world.registry
        kept, gone = registry.create("kept"), registry.create("gone")
        await asyncio.sleep(1)
        deaf, end = world.pages[1], world.line.ends.pop()
        gone.delete()
        await asyncio.sleep(1)
        for _ in range(UNDO + 1):
            registry.create().delete()
            await asyncio.sleep(0.1)
        await asyncio.sleep(60)
        world.line.ends.append(end)
        assert gone.id in deaf.heads
        kept.rename("news")
        await asyncio.sleep(5)
        assert gone.id not in deaf.heads
        assert {key: head.title for key, (_, head) in deaf.heads.items() if not head.deleted} == {
            kept.id: "news"
        }
        assert len(world.wire._subscriptions._readers) <= UNDO + 1

    world.run(story())


def test_a_deleted_session_can_be_looked_at_until_its_undo_is_over() -> None:
    """A page that is behind when a session is deleted stops asking, and the undo restores the session."""
    world = World(2, pages=2, loss=0.5)

    async def story() -> None:
        session = world.registry.create(provider=ScriptedProvider("some text"))
        session.send("?")
        session.delete()
        await asyncio.sleep(20)
        asked = [page.resyncs for page in world.pages]
        await asyncio.sleep(60)
        assert [page.resyncs for page in world.pages] == asked, "nobody asks for ever"
        world.registry.undelete(session.id)
        await asyncio.sleep(30)
        for page in world.pages:
            assert page.states[session.id] == live(session).state
            assert not page.heads[session.id][1].deleted

    world.run(story())


def test_a_page_that_floods_with_questions_is_answered_once() -> None:
    """A hundred questions of one page in one tick get one answer."""
    world = World(0, pages=1)

    async def story() -> None:
        session = world.registry.create(provider=ScriptedProvider("x" * 5000))
        session.send("?")
        await world.settle()
        await asyncio.sleep(2)
        frames = world.registry.stats()["frame_bytes"]
        for number in range(100):
            world.wire.receive(
                {
                    "type": "sync",
                    "id": f"a-{number}",
                    "page": world.pages[0].id,
                    "epoch": engine_of(world.registry).epoch,
                    "rev": 0,
                    "sessions": {session.id: 0},
                }
            )
        await asyncio.sleep(1)
        assert world.registry.stats()["frame_bytes"] - frames < 50_000

    world.run(story())


def test_without_a_page_nothing_piles_up() -> None:
    """K17, B7: memory does not grow during a long stream without a listener, or if sending raises."""
    world = World(0, pages=0)

    async def story() -> None:
        def broken(*_message: object) -> None:
            raise OSError("the comm is closed")

        world.wire._pacer._send = broken
        session = world.registry.create(provider=ScriptedProvider(lambda _request: ["word "] * 3000))
        run = session.send("?")
        most = 0
        while not run.is_over:
            await asyncio.sleep(0.05)
            most = max(most, len(world.wire._pacer._outbox) + len(world.wire._messages))
        assert most <= 4
        assert run.text == "word " * 3000
        assert world.registry.stats()["send_errors"] > 0
        late = PageModel(world.loop, world._up)
        world.line.ends.append(late.receive)
        world.wire._pacer._send = world._down
        await asyncio.sleep(5)
        assert late.states[session.id] == live(session).state

    world.run(story())


def test_the_end_is_sent_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """T68: no page sees `completed` before it is journaled; after a second it is sent, marked unsaved."""
    world = World(0, pages=1)
    written = asyncio.Event()

    class Slow:
        def record(self, *_event: object) -> None: ...

        async def settled(self, _session_id: str) -> None:
            if session.runs and live(session).state.runs[0].state.is_over:
                await written.wait()

    monkeypatch.setattr(world.engine, "journal", Slow())
    session = world.registry.create(provider=ScriptedProvider("x"))

    async def story() -> None:
        await asyncio.sleep(1)
        run = session.send("?")
        page = world.pages[0]
        await asyncio.sleep(0.5)
        assert live(session).state.runs[0].state == "completed"
        assert run.state == session.status == "stopping"
        assert page.states[session.id].runs[0].state == "streaming"
        assert page.heads[session.id][1].state == "stopping"
        await asyncio.sleep(2)
        assert run.state == "completed"
        assert (page.states[session.id].runs[0].state, page.states[session.id].runs[0].saved) == (
            "completed",
            False,
        )

    world.run(story())


def test_editing_while_it_streams_is_refused_and_changes_nothing(registry: SessionRegistry) -> None:
    """U8: edit, regenerate, retry, continue and discard raise `RunInProgress` and change nothing."""
    provider = ScriptedProvider("a", PAUSE, "b")
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    question, answer = session.messages
    before = live(session).state
    for what in (
        lambda: session.edit(question.id, "changed"),
        session.regenerate,
        session.retry,
        session.continue_,
        lambda: session.discard(answer.id),
        lambda: session.select(answer.id),
    ):
        with pytest.raises(errors.RunInProgress, match="is streaming"):
            what()
    assert live(session).state == before
    provider.go()
    assert run.wait(10).text == "ab"


def test_a_model_that_is_changed_holds_for_the_next_run(registry: SessionRegistry) -> None:
    """U16: settings that change during a run apply to the next run."""
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider, model="first", instructions="one", params={"seed": 1})
    run = session.send("?")
    provider.wait_paused()
    session.model, session.instructions, session.params = "second", "two", {"seed": 2}
    provider.go()
    run.wait(10)
    assert (run.model, session.messages[-1].model) == ("first", "first")
    again = session.send("?")
    provider.wait_paused()
    provider.go()
    again.wait(10)
    asked: list[Request] = provider.requests
    assert [(r.model, r.instructions, dict(r.params)) for r in asked] == [
        ("first", "one", {"seed": 1}),
        ("second", "two", {"seed": 2}),
    ]


NASTY = [
    "<script>alert(1)</script>",
    "\u202egnp.exe\u202c",
    "\u200b\u200c\u200d\u2060",
    "\U000e0041\U000e0042",
    "\x1b[31mred\x1b[0m",
    "\ufeffBOM",
    "🏳️‍🌈👩‍👩‍👧‍👦",
    "Z\u0321\u0353a\u0358l\u0334g\u0341o" * 50,
    "x" * 10_240,
    "__proto__",
    "constructor",
    "\ud800",
    "\0",
    "`rm -rf`; $(x)",
    "../../etc/passwd",
    "CON",
    "%s%n",
]


@pytest.mark.parametrize("title", NASTY, ids=range(len(NASTY)))
def test_any_title_gets_to_the_page_and_back(title: str) -> None:
    """U5: every title can be sent, found and renamed; characters that are not valid text are replaced."""
    world = World(0, pages=1)

    async def story() -> None:
        session = world.registry.create(title)
        await asyncio.sleep(1)
        head = world.pages[0].heads[session.id][1]
        assert head.title == session.title
        assert len(head.title) <= 10_000
        assert session.title in world.registry
        head.title.encode()

    world.run(story())


def test_ten_megabytes_are_taken_or_refused_whole(registry: SessionRegistry) -> None:
    """U6: a huge prompt is one message, or an error before anything changes."""
    session = registry.create(provider=ScriptedProvider("x"))
    with pytest.warns(UserWarning, match="this question has about 2,500,000 tokens"):
        run = session.send("y" * 10_000_000).wait(20)
    assert run.state == "completed"
    assert len(session.messages[0].text) == 10_000_000
    with pytest.raises(errors.SessionFull, match="its limit is 20,000,000"):
        session.send("z" * 10_000_000)
    assert len(session.messages) == 2


def test_ten_thousand_sessions(registry: SessionRegistry) -> None:
    """U7: ten thousand idle sessions use little memory, and listing them is fast."""
    import time  # noqa: PLC0415 - only measured here
    import tracemalloc  # noqa: PLC0415 - as above

    registry.limits.sessions = None
    tracemalloc.start()
    made: list[LiveSession] = engine_of(registry).loop.call(
        lambda: [engine_of(registry).create(Settings(title=f"session {n}")) for n in range(10_000)]
    )
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(made) <= 20_000
    began = time.process_time()
    assert len(list(registry)) == 10_000
    assert time.process_time() - began <= 0.2
    assert registry["session 9999"].id == made[-1].id


def test_every_event_has_a_callback_and_a_counter(registry: SessionRegistry) -> None:
    """Every kind of event has a callback with its subject, and `stats` counts from the start."""
    heard: list[tuple[str, str | None]] = []
    names = [
        "created",
        "changed",
        "closed",
        "deleted",
        "message",
        "transition",
        "delta",
        "end",
        "queued",
        "resync",
    ]
    for name in names:
        registry.on(name, lambda event: heard.append((event.event, event.state)))
    assert registry.stats()["deltas"] == registry.stats()["retries"] == registry.stats()["frames"] == 0
    wire = engine_of(registry).loop.call(WireServer, engine_of(registry), lambda _content, _buffers: None)
    answers: list[Any] = [[errors.ProviderUnavailable("busy.", retryable=0.01)], ["a"], ["b"]]
    session = registry.create(provider=ScriptedProvider(lambda _request: answers.pop(0)))
    first, second = session.send("1"), session.send("2")
    first.wait(10)
    second.wait(10)
    session.rename("named")
    wire.receive({"type": "sync", "id": "a-1", "page": "p-1", "epoch": engine_of(registry).epoch, "rev": 0})
    engine_of(registry).loop.call(lambda: None)
    session.close()
    stats = registry.stats()
    session.delete()
    assert drain_callbacks(registry)

    assert {name for name, _ in heard} == set(names)
    states = [state for name, state in heard if name == "transition"]
    assert states[:4] == ["connecting", "retrying", "connecting", "streaming"]
    assert [state for name, state in heard if name == "end"] == ["completed", "completed"]
    assert (stats["runs"], stats["deltas"], stats["retries"], stats["resyncs"]) == (2, 2, 1, 1)
    assert stats["characters"] == len("1a2b")
    assert stats["bytes"] == sum(stats["bytes_by_session"].values()) > 0
    engine_of(registry).loop.call(wire.close)
