"""User behaviour: many tabs, cells that run again, switches during a stream, a shutdown."""

import asyncio
from pathlib import Path

import pytest

from nbchat.core.saved import SavedSession
from nbchat.handles.registry import SessionRegistry
from nbchat.jupyter.widgets import ChatTabs
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from nbchat.stores.sqlite import SqliteStore
from tests.engines import engine_of, live, use
from tests.faults.invariants import check_end
from tests.simulation.world import World
from tests.waiting import wait_for


def test_a_thousand_switches_in_a_stream_change_nothing() -> None:
    """U10: however often the shown tab changes, both texts are whole, each in its own session."""
    world = World(0, pages=1)

    async def story() -> None:
        a = world.registry.create("a", provider=ScriptedProvider(lambda _request: ["a "] * 400))
        b = world.registry.create("b", provider=ScriptedProvider(lambda _request: ["b "] * 400))
        await asyncio.sleep(1)
        page = world.pages[0]
        runs = [a.send("?"), b.send("?")]
        for number in range(1000):
            page.do({"type": "viewing", "session_ids": [(a, b)[number % 2].id]})
            await asyncio.sleep(0.001)
        await world.settle()
        await asyncio.sleep(30)
        assert [run.text for run in runs] == ["a " * 400, "b " * 400]
        assert page.states == {s.id: live(s).state for s in (a, b)}
        assert all(ack.error is None for ack in page.acks.values())

    world.run(story())


def test_an_answer_that_no_page_shows_is_marked_unread() -> None:
    """T02, T08: an answer that ends in a hidden tab is unread until it is shown; a visible one never is."""
    world = World(0, pages=1)

    async def story() -> None:
        a, b = (world.registry.create(provider=ScriptedProvider("x")) for _ in range(2))
        await asyncio.sleep(1)
        page = world.pages[0]
        page.do({"type": "viewing", "session_ids": [a.id]})
        await asyncio.sleep(0.5)
        a.send("?")
        b.send("?")
        await world.settle()
        await asyncio.sleep(2)
        assert (a.unread, b.unread) == (False, True)
        assert page.heads[b.id][1].unread
        page.do({"type": "viewing", "session_ids": [b.id]})
        await asyncio.sleep(2)
        assert not b.unread
        assert not page.heads[b.id][1].unread

    world.run(story())


def test_a_page_that_vanished_has_seen_nothing() -> None:
    """T02: an answer that ends in a page closed without notice is unread; a page confirms what it shows."""
    world = World(0, pages=1)

    async def story() -> None:
        a = world.registry.create(provider=ScriptedProvider("x"))
        await asyncio.sleep(1)
        page = world.pages[0]
        for is_there in (True, False):
            page.do({"type": "viewing", "session_ids": [a.id]})
            await asyncio.sleep(1)
            a.send("?")
            await world.settle()
            assert not a.unread
            if is_there:
                page.do({"type": "viewing", "session_ids": [a.id]})
            await asyncio.sleep(10)
            assert a.unread is not is_there

    world.run(story())


def test_a_cell_may_run_fifty_times(registry: SessionRegistry, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """U11, U12: running the creating cell again creates no second session, hub, reader or run."""
    host = use(monkeypatch, registry)
    provider = ScriptedProvider("a", PAUSE, "b")
    run = None
    for _ in range(50):
        chat = ChatTabs()
        geo = chat.session("geo", provider=provider)
        run = run or geo.send("?")
        chat.close()
    provider.wait_paused()
    provider.go()
    assert run is not None
    assert run.wait(10).text == "ab"
    assert len([s for s in registry.values() if s.title == "geo"]) == 1
    assert len(registry) <= 2
    assert len(engine_of(registry).readers) == 1
    assert len(provider.requests) == 1
    host.hub().close()
    wait_for(lambda: not engine_of(registry).readers, "the wire is closed")


def test_a_view_begins_with_the_tab_used_last(registry: SessionRegistry, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """A cell that is run again shows the tab used last; after a restart, the newest question."""
    host = use(monkeypatch, registry)
    first, second, third = (registry.create(title) for title in ("first", "second", "third"))
    assert ChatTabs().active == ""
    registry.create("asked", provider=ScriptedProvider("x")).ask("?")
    assert ChatTabs().active == registry["asked"].id
    chat = ChatTabs()
    chat.show(second)
    assert ChatTabs().active == second.id
    assert ChatTabs([third]).active == ""
    second.close()
    assert ChatTabs().active == registry["asked"].id
    assert ChatTabs(active=first.id).active == first.id
    chat.active = "third"
    assert chat.active == third.id, "a title is as good as an id"
    registry.create()
    chat.active = ""
    assert chat.active == "", "which is not a session without a title"
    host.hub().close()
    wait_for(lambda: not engine_of(registry).readers, "the wire is closed")


def test_shutting_down_keeps_all_messages(tmp_path: Path) -> None:
    """K24, T66: with live and queued runs and a slow store, everything is saved when shutdown returns."""
    registry = SessionRegistry()
    store = SqliteStore(tmp_path / "n-1.sqlite")
    engine_of(registry).open_journal(store)
    registry.limits.live_runs = 5
    provider = ScriptedProvider("some text", HANG)
    runs = [registry.create(provider=provider).send("question") for _ in range(6)]
    wait_for(lambda: sum(run.text == "some text" for run in runs) == 5, "five stream")
    engine_of(registry).shutdown()
    states = {run.id: run.state for run in runs}
    assert set(states.values()) == {"interrupted"}
    for run in runs:
        check_end(registry[run.session_id], run)

    from nbchat.engine.journal_reader import read_back  # noqa: PLC0415 - beside its only use

    again = SqliteStore(tmp_path / "n-1.sqlite")
    found: list[SavedSession] = list(read_back(again.read()).sessions)
    again.close()
    texts = sorted(m.text for saved in found for m in saved.state.messages.values() if m.role == "assistant")
    questions = [m for saved in found for m in saved.state.messages.values() if m.role == "user"]
    waiting = [r for saved in found for r in saved.state.runs if r.prompt is not None]
    assert [text for text in texts if text] == ["some text"] * 5
    assert len(questions) + len(waiting) == 6, "no question is lost"


def test_a_page_changes_a_view_without_the_widgets_comm(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tab chosen in a page sets the view's `active`, in order and once; observers run off the loop."""
    host = use(monkeypatch, registry)
    ids = [registry.create(title).id for title in ("first", "second", "third")]
    chat, other = ChatTabs(ids), ChatTabs(ids)
    changes: list[tuple[str, bool]] = []
    chat.observe(
        lambda change: changes.append((change["new"], engine_of(registry).loop.is_current)), "active"
    )

    def send(name: str, view: str, **change: object) -> None:
        command = {"type": "set_view", "id": name, "view_id": view, **change}
        host.hub().wire.receive(
            {"type": "run_command", "page": "p", "epoch": engine_of(registry).epoch, "command": command}
        )

    send("1", chat.view_id, active=ids[1])
    send("1", chat.view_id, active=ids[1])
    send("2", chat.view_id, active=ids[2], session_ids=[ids[2], ids[0]])
    send("3", "no such view", active=ids[0])
    send("4", other.view_id, active=ids[1])
    wait_for(lambda: other.active == ids[1], "the other view's tab")
    assert changes == [(ids[1], False), (ids[2], False)]
    assert (chat.active, chat.sessions) == (ids[2], [ids[2], ids[0]])
    assert other.sessions == ids
    assert host.hub().last_chosen == ids[1]
    host.hub().close()
    wait_for(lambda: not engine_of(registry).readers, "the wire is closed")
