"""The journal writer: when it writes, how it handles failing stores, and what a restore returns."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nbchat.core.errors import SnapshotCorrupt, StoreBusy, StoreError, StoreFull, TooManySessions
from nbchat.core.run import RunState
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import dump, parse
from nbchat.engine.callbacks import Notification
from nbchat.engine.journal_reader import read_back
from nbchat.engine.journal_writer import SaveStatus
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from nbchat.stores.base import Contents, Entry, Kept, Stretch
from tests.core.test_snapshot import sessions
from tests.engines import drain_callbacks, engine_of, live
from tests.stores.memory import MemoryStore
from tests.waiting import wait_for


class FailingStore(MemoryStore):
    """A store whose writes fail according to `plan`: one error, or None, for each write from the first."""

    def __init__(self, plan: Sequence[StoreError | None] = ()) -> None:
        super().__init__()
        self.plan = list(plan)
        self.broken: StoreError | None = None
        self.writes: list[list[Entry]] = []
        self.wrote = threading.Condition()

    def write(self, entries: Sequence[Entry]) -> None:
        """Write, or fail as planned."""
        error = self.broken or (self.plan.pop(0) if self.plan else None)
        with self.wrote:
            self.writes.append(list(entries))
            self.wrote.notify_all()
        if error is not None:
            raise error
        super().write(entries)


MakeRegistry = Callable[..., SessionRegistry]


@pytest.fixture
def kernel() -> Iterator[MakeRegistry]:
    """Make registries that write to a store after restoring its contents; shut them down at the end."""
    made: list[SessionRegistry] = []

    def start(store: MemoryStore) -> SessionRegistry:
        registry = SessionRegistry()
        made.append(registry)

        def begin() -> None:
            engine_of(registry).open_journal(store)
            snapshot = read_back(store.read())
            known = {one.state.id: one.state for one in snapshot.sessions}
            engine_of(registry).snapshots.restore(snapshot, known=known)

        engine_of(registry).loop.call(begin)
        return registry

    yield start
    for registry in made:
        engine_of(registry).shutdown()


def contents(store: MemoryStore) -> Contents:
    """Return the contents of a store, as a kernel that starts now would read them."""
    return store.read()


def test_messages_are_restored_in_another_kernel(kernel: MakeRegistry) -> None:
    """A later kernel restores a conversation with its settings and runs unchanged."""
    store = MemoryStore()
    first = kernel(store)
    geo = first.create("geo", model="m", instructions="Be brief.", provider=ScriptedProvider("The Seine."))
    geo.ask("Which river?")
    geo.pin()
    assert first.save()

    second = kernel(store)
    again = second["geo"]

    assert again.id == geo.id
    assert [m.text for m in again.messages] == ["Which river?", "The Seine."]
    assert again.messages == geo.messages
    assert (again.model, again.instructions, again.pinned, again.from_file) == ("m", "Be brief.", True, False)
    assert [run.state for run in again.runs] == ["completed"]
    assert len(second) == 1


def test_a_live_run_comes_back_interrupted_and_nothing_starts(kernel: MakeRegistry) -> None:
    """A restore keeps partial text and queued prompts, and sends no request until the user does."""
    store = MemoryStore()
    first = kernel(store)
    provider = ScriptedProvider("Half an", HANG)
    geo = first.create("geo", provider=provider)
    run = geo.send("one")
    for text in run:
        if "an" in text:
            break
    geo.send("two")
    first.save()

    second = kernel(store)
    geo = second["geo"]

    assert [(m.role, m.text) for m in geo.messages] == [
        ("user", "one"),
        ("assistant", "Half an"),
        ("user", "two"),
        ("assistant", ""),
    ]
    assert [r.state for r in geo.runs] == ["interrupted", "interrupted"]
    assert [r.error.code for r in geo.runs if r.error] == ["kernel_gone", "kernel_gone"]
    assert second.stats()["live"] == second.stats()["queued"] == 0

    live(second["geo"]).provider = ScriptedProvider("The answer.")
    assert geo.retry().result(10).text == "The answer."
    assert [m.text for m in geo.messages] == ["one", "Half an", "two", "The answer."]


def test_the_question_is_written_before_anybody_is_asked(kernel: MakeRegistry) -> None:
    """When a provider receives a request, the store already contains the user's message."""
    store = MemoryStore()
    found: list[str] = []

    def script(_request: Any) -> list[str]:
        found.append(b"".join(_bodies(store)).decode())
        return ["ok"]

    kernel(store).create("geo", provider=ScriptedProvider(script)).ask("Which river?")

    assert "Which river?" in found[0]


def _bodies(store: MemoryStore) -> list[bytes]:
    return [s.body for kept in store.read().sessions.values() for s in (*kept.stretches, kept.base) if s]


def test_the_end_is_announced_when_the_store_has_it(kernel: MakeRegistry) -> None:
    """When waiting for a run returns, the store contains the run's end."""
    store = MemoryStore()
    kernel(store).create("geo", provider=ScriptedProvider("The Seine.")).ask("Which river?")

    assert "run_completed" in b"".join(_bodies(store)).decode()


REFUSALS = [StoreFull("full"), StoreBusy("busy"), StoreError("EIO")]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
@pytest.mark.parametrize("n", range(8))
def test_a_write_that_fails_costs_nothing(kernel: MakeRegistry, n: int, error: StoreError) -> None:
    """Whichever write fails, the run continues, stored data is intact, and a later write saves the rest."""
    store = FailingStore([None] * n + [error])
    registry = kernel(store)
    geo = registry.create("geo", provider=ScriptedProvider("The ", "Seine."))
    states: list[str] = []
    engine_of(registry).journal._on_status = lambda status: states.append(status.state)  # type: ignore[union-attr]

    for _ in range(2):
        assert geo.ask("Which river?").text == "The Seine."
    while True:
        try:
            registry.save()
        except StoreError:
            continue
        break
    registry.save()  # a second save records that the ends are saved

    assert "The Seine." in [m.text for m in kernel(store)["geo"].messages]
    assert kernel(store)["geo"].messages == geo.messages
    assert all(run.progress.state is RunState.COMPLETED for run in geo.runs)
    if len(store.writes) > n:
        assert "unsaved" in states
    assert states[-1] == "saved"


def test_a_run_is_marked_unsaved_until_its_end_is_written(kernel: MakeRegistry) -> None:
    """A run whose end could not be written is marked unsaved until a later write succeeds."""
    store = FailingStore()
    registry = kernel(store)
    geo = registry.create("geo", provider=ScriptedProvider("The Seine."))
    registry.save()
    statuses: list[SaveStatus] = []
    engine_of(registry).journal._on_status = statuses.append  # type: ignore[union-attr]
    store.broken = StoreFull("no space is left")

    geo.ask("Which river?")

    assert live(geo).state.runs[0].saved is False
    assert (statuses[-1].state, statuses[-1].error) == ("unsaved", store.broken)
    with pytest.raises(StoreFull):
        registry.save()

    store.broken = None
    assert registry.save()
    assert registry.save()
    assert live(geo).state.runs[0].saved is True
    assert statuses[-1].state == "saved"


def test_callbacks_are_notified_whether_a_run_is_saved(kernel: MakeRegistry) -> None:
    """`on("error")` gets the store's error, and `on("saved")` follows when everything is written."""
    store = FailingStore([StoreFull("no space is left")])
    registry = kernel(store)
    heard: list[str] = []
    registry.on("error", lambda n: heard.append(n.data.code))
    registry.on("saved", lambda n: heard.append(n.event))
    registry.create("geo")
    with pytest.raises(StoreFull):
        registry.save()
    registry.save()
    drain_callbacks(registry)

    assert heard == ["store_full", "saved"]


def test_deltas_are_written_in_batches(kernel: MakeRegistry) -> None:
    """A stream is written a few times a second, not once for each delta."""
    store = FailingStore()
    registry = kernel(store)
    geo = registry.create("geo", provider=ScriptedProvider(*["word "] * 500, PAUSE, "end"))
    run = geo.send("go")
    live(geo).provider.wait_paused()  # type: ignore[union-attr, attr-defined]
    registry.save()
    live(geo).provider.go()  # type: ignore[union-attr, attr-defined]
    run.wait(10)
    registry.save()

    assert len(store.writes) < 15
    events = sum(e.count for batch in store.writes for e in batch if isinstance(e, Stretch))
    assert events == live(geo).state.seq


def test_a_long_session_is_folded_into_a_base(kernel: MakeRegistry) -> None:
    """The log of a long session is replaced by its state, so its size is limited."""
    store = MemoryStore()
    registry = kernel(store)
    geo = registry.create("geo", provider=ScriptedProvider("x" * 300_000))
    for _ in range(4):
        geo.ask("go")
        registry.save()

    kept = store.read_session(geo.id)
    assert kept.base is not None
    assert sum(len(s.body) for s in kept.stretches) < 700_000
    assert kernel(store)["geo"].messages == geo.messages


def test_deleted_sessions_stay_deleted(kernel: MakeRegistry) -> None:
    """A deleted session is not restored, unless the deletion was undone."""
    store = MemoryStore()
    first = kernel(store)
    for title in ("a", "b"):
        first.create(title, provider=ScriptedProvider("ok")).ask("go")
    gone, back = first["a"].id, first["b"].id
    first.delete(gone)
    first.delete(back)
    first.save()
    first.undelete(back)
    first.save()

    second = kernel(store)
    assert list(second) == [back]
    assert [m.text for m in second[back].messages] == ["go", "ok"]


def test_temporary_sessions_and_keys_are_written_nowhere(kernel: MakeRegistry) -> None:
    """Stores and snapshots contain neither temporary sessions nor credentials from parameters."""
    store = MemoryStore()
    registry = kernel(store)
    registry.create(temporary=True, provider=ScriptedProvider("whisper")).ask("secret question")
    registry.create("geo", params={"extra_headers": {"Authorization": "Bearer abcdefgh12345678"}, "n": 1})
    registry.save()

    for text in (b"".join(_bodies(store)).decode(), json.dumps(registry.snapshot())):
        assert "secret question" not in text
        assert "abcdefgh12345678" not in text
        assert '"n":1' in text.replace(" ", "")


def test_a_snapshot_restores_its_contents(kernel: MakeRegistry) -> None:
    """A snapshot taken during a stream restores exactly the text of that moment."""
    first = kernel(MemoryStore())
    provider = ScriptedProvider("Half", PAUSE, " more")
    run = first.create("geo", model="m", provider=provider).send("go")
    provider.wait_paused()
    while run.text != "Half":
        pass
    snapshot = json.loads(json.dumps(first.snapshot()))
    provider.go()
    run.wait(10)

    second = kernel(MemoryStore())
    (geo,) = second.restore(snapshot)
    assert [m.text for m in geo.messages] == ["go", "Half"]
    assert geo.status == "interrupted"
    assert second.restore(json.dumps(snapshot)) == [geo]
    assert len(second) == 1
    # In the first kernel the snapshot is older than the session, and changes nothing.
    assert [m.text for m in first.restore(snapshot)[0].messages] == ["go", "Half more"]
    with pytest.raises(SnapshotCorrupt):
        second.restore({"format": "something else"})


def test_a_strangers_settings_are_not_used(kernel: MakeRegistry) -> None:
    """Model, instructions and parameters from a file are shown, and used only after `adopt`."""
    stranger = kernel(MemoryStore())
    stranger.create("geo", model="evil", instructions="Obey.", params={"temperature": 2}, provider=None)
    registry = kernel(MemoryStore())
    (geo,) = registry.restore(stranger.snapshot())
    provider = ScriptedProvider("ok")
    live(geo).provider = provider

    assert (geo.from_file, geo.model, geo.instructions) == (True, "evil", "Obey.")
    geo.ask("hello")
    request = provider.requests[-1]
    assert (request.model, request.instructions, dict(request.params)) == ("scripted", None, {})

    geo.adopt()
    geo.ask("hello")
    request = provider.requests[-1]
    assert (request.model, request.instructions, dict(request.params)) == (
        "evil",
        "Obey.",
        {"temperature": 2},
    )


def test_choosing_one_setting_does_not_adopt_the_others(kernel: MakeRegistry) -> None:
    """A user who sets the model of a session from a file does not get the file's instructions with it."""
    stranger = kernel(MemoryStore())
    stranger.create("geo", model="evil", instructions="Obey.")
    registry = kernel(MemoryStore())
    registry.restore(stranger.snapshot())

    geo = registry.get_or_create("geo", model="mine")

    assert (geo.from_file, geo.model, geo.instructions) == (False, "mine", None)


def test_the_longest_untouched_session_leaves_memory_and_comes_back(kernel: MakeRegistry) -> None:
    """At the limit the longest idle, saved, unpinned session is evicted, and reloaded unchanged when used."""
    registry = kernel(MemoryStore())
    told: list[str] = []
    registry.on("evicted", lambda n: told.append(n.session_id or ""))
    limits: list[Any] = []
    registry.on("limit", lambda n: limits.append(n.data))
    registry.limits.sessions = 3
    handles = []
    for number in range(3):
        handles.append(registry.create("" if number == 1 else f"t{number}", provider=ScriptedProvider("ok")))
        handles[-1].ask(f"question {number}")
    handles[0].pin()
    registry.save()
    before = registry.snapshot([handles[1].id])["sessions"]

    registry.create("fourth")
    drain_callbacks(registry)

    assert told == [handles[1].id]
    assert engine_of(registry).sessions.get(handles[1].id).evicted
    assert limits[0]["limit"] == "sessions"
    assert registry.snapshot([handles[1].id])["sessions"] == before
    assert engine_of(registry).sessions.get(handles[1].id).evicted  # a snapshot does not reload it
    assert registry["question 1"] is handles[1]
    assert [m.text for m in handles[1].messages] == ["question 1", "ok"]
    assert not engine_of(registry).sessions.get(handles[1].id).evicted
    assert registry.snapshot([handles[1].id])["sessions"] == before


def test_a_session_larger_than_the_memory_limit_is_read_and_continued_whole(kernel: MakeRegistry) -> None:
    """A session that is loaded stays in memory until it is read or changed, however small the limit is."""
    store = MemoryStore()
    registry = kernel(store)
    registry.limits.total_chars = 100
    sessions = [registry.create(provider=ScriptedProvider("x" * 200, finish="length")) for _ in "ab"]
    for session in sessions:
        session.ask("question")
    registry.save()
    wait_for(lambda: all(engine_of(registry).sessions.get(s.id).evicted for s in sessions), "the eviction")

    for session in sessions:
        assert [message.text for message in session.messages] == ["question", "x" * 200]
        session.continue_().wait(10)
    registry.save()
    again = kernel(store)
    for session in sessions:
        assert [m.text for m in session.messages] == ["question", "x" * 400]
        assert again[session.id].messages == session.messages


class ReadStore(MemoryStore):
    """A store that records on which threads single sessions are read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[str] = []

    def read_session(self, session_id: str) -> Kept:
        """Read, and record the thread."""
        self.readers.append(threading.current_thread().name)
        return super().read_session(session_id)


def test_checkpoints_leave_evicted_sessions_where_they_are(kernel: MakeRegistry) -> None:
    """Checkpoints read evicted sessions off the loop, once, within the size limit, and do not reload them."""
    store = ReadStore()
    registry = kernel(store)
    for number in range(4):
        registry.create(f"t{number}", provider=ScriptedProvider(f"{number}" * 40_000)).ask("go")
    registry.save()
    whole = registry.snapshot()["sessions"]
    registry.limits.sessions = 2
    for number in range(2):
        registry.create(f"new {number}").pin()
    assert sum(c.evicted for c in list(engine_of(registry).sessions)) == 4

    def checkpoint(limit: int) -> list[Any]:
        snapshot = engine_of(registry).loop.call(engine_of(registry).snapshots.take)
        sessions: list[Any] = json.loads(engine_of(registry).snapshots.encode(snapshot, limit))["sessions"]
        return sessions

    assert store.readers == []
    assert checkpoint(1_000_000)[:4] == whole
    assert checkpoint(1_000_000)[:4] == whole
    assert store.readers == [threading.current_thread().name] * 4
    small = checkpoint(60_000)
    assert [len(str(session)) > 30_000 for session in small] == [False, False, False, True, False, False]
    assert [session["omitted"] for session in small[:3]] == [2, 2, 2]

    # Restoring a snapshot without news does not reload them into memory.
    engine_of(registry).loop.call(
        engine_of(registry).snapshots.restore, parse({**registry.snapshot(), "sessions": whole})
    )
    assert sum(c.evicted for c in list(engine_of(registry).sessions)) == 4


def test_a_session_is_refused_when_none_can_be_evicted(kernel: MakeRegistry) -> None:
    """If all sessions are busy or pinned, a new one is refused and nothing changes."""
    registry = kernel(MemoryStore())
    registry.limits.sessions = 2
    registry.create("pinned").pin()
    busy = registry.create("busy", provider=ScriptedProvider(HANG))
    busy.send("go")
    registry.save()

    with pytest.raises(TooManySessions, match="none of them may leave"):
        registry.create("third")
    assert len(registry) == 2
    busy.stop()


def test_characters_in_memory_have_a_limit_too(kernel: MakeRegistry) -> None:
    """Sessions are evicted until their text fits `limits.total_chars`."""
    registry = kernel(MemoryStore())
    told: list[Notification] = []
    registry.on("evicted", told.append)
    for number in range(4):
        registry.create(f"t{number}", provider=ScriptedProvider("x" * 1000)).ask("go")
    registry.limits.total_chars = 2500
    registry.save()
    registry["t3"].rename("t3!")
    registry.save()
    drain_callbacks(registry)

    assert len(told) == 2
    assert [len(registry[f"t{n}"].messages[-1].text) for n in range(3)] == [1000] * 3


@pytest.mark.parametrize("apart", [False, True], ids=["went on there", "went on in both places"])
def test_messages_omitted_from_a_file_are_restored(kernel: MakeRegistry, apart: bool) -> None:
    """Messages omitted from a file are restored when it returns to the kernel that has them."""
    store = MemoryStore()
    home = kernel(store)
    geo = home.create("geo", provider=ScriptedProvider("x" * 2000))
    for number in range(10):
        geo.ask(f"question {number}")
    file = engine_of(home).snapshots.encode(engine_of(home).loop.call(engine_of(home).snapshots.take), 10_000)
    assert b"question 9" in file
    assert b"question 0" not in file
    if apart:
        geo.ask("question at home")
    home.save()

    away = kernel(MemoryStore())
    (there,) = away.restore(file)
    live(there).provider = ScriptedProvider("said elsewhere")
    there.ask("question 10")
    file = engine_of(away).snapshots.encode(
        engine_of(away).loop.call(engine_of(away).snapshots.take), 1_000_000
    )
    assert parse(file).sessions[0].omitted > 0

    again = kernel(store)
    (here,) = again.restore(file)
    assert [m.text for m in here.messages][::2] == [f"question {number}" for number in range(11)]
    assert here.messages[-1].text == "said elsewhere"
    assert parse(again.snapshot()).sessions[0].omitted == 0
    versions = {m.text for m in live(here).state.versions(here.messages[-2].id)}
    assert versions == ({"question at home", "question 10"} if apart else {"question 10"})


@settings(max_examples=max(settings().max_examples // 3, 1), deadline=None)
@given(st.lists(sessions(), max_size=3, unique_by=lambda one: one.state.id))
def test_a_snapshot_restored_is_the_same_snapshot(chosen: list[SavedSession]) -> None:
    """A restored snapshot of sessions whose runs are over is written unchanged by another kernel."""
    before = []
    for number, saved in enumerate(chosen):
        over = tuple(run for run in saved.state.runs if run.state.is_over)
        state = replace(saved.state, runs=over, created_at=1e9 + number)
        before.append(replace(saved, state=state, clock={"k-1": 1, **saved.clock}))
    text = json.dumps(dump(Snapshot(sessions=tuple(before))))
    registry = SessionRegistry()
    try:
        registry.restore(text, adopt=True)
        assert parse(json.dumps(registry.snapshot())).sessions == tuple(before)
        registry.restore(text, adopt=True)
        assert parse(json.dumps(registry.snapshot())).sessions == tuple(before)
    finally:
        engine_of(registry).shutdown()
