"""The registry: one per process, usable from any thread, with independent sessions."""

import copy
import gc
import importlib.util
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

import nbchat
from nbchat.core import errors
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engines import echo, engine_of, live, use


def test_a_look_up_takes_an_id_or_a_title(registry: SessionRegistry) -> None:
    """A key is looked up as an id, then as the title of the oldest open session."""
    first, second = registry.create("geo"), registry.create("geo")
    assert registry["geo"] is first
    assert registry[second.id] is second
    first.close()
    assert registry["geo"] is second
    assert list(registry) == [first.id, second.id]
    assert len(registry) == 2
    assert "geo" in registry
    assert registry.get("nope") is None
    with pytest.raises(errors.UnknownSession, match="no session has the id or title 'nope'"):
        registry["nope"]
    with pytest.raises(KeyError):
        registry.stop("nope")
    for wrong in (0, b"geo", ["geo"]):
        for look in (registry.__getitem__, registry.get, registry.get_or_create):
            with pytest.raises(TypeError, match="session key must be a string"):
                look(wrong)  # type: ignore[arg-type]


def test_get_or_create_creates_one_session_for_all_threads(registry: SessionRegistry) -> None:
    """Fifty concurrent callers get the same session."""
    found: list[object] = []
    barrier = threading.Barrier(50)

    def ask() -> None:
        barrier.wait()
        found.append(registry.get_or_create("shared"))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 50
    assert len(set(map(id, found))) == 1
    assert len(registry) == 1


def test_settings_given_again_are_changed(registry: SessionRegistry) -> None:
    """`get_or_create` of an existing session changes the given settings and keeps the others."""
    registry.get_or_create("geo", model="m1", instructions="Be brief.")
    geo = registry.get_or_create("geo", model="m2")
    assert (geo.model, geo.instructions) == ("m2", "Be brief.")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": 3}, TypeError, "model must be a string, not int"),
        ({"params": [1]}, TypeError, "params must be a mapping"),
        ({"params": {"a": object()}}, TypeError, "params must hold JSON values"),
        ({"params": {"messages": []}}, ValueError, "params cannot hold 'messages'"),
        ({"provider": ScriptedProvider}, TypeError, "provider must be the name of an entry point"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    registry: SessionRegistry, settings: dict[str, object], error: type, message: str
) -> None:
    """Invalid settings are refused with the reason, and no session is created."""
    with pytest.raises(error, match=message):
        registry.get_or_create("geo", **settings)
    assert len(registry) == 0


def test_streaming_state_is_reported(registry: SessionRegistry) -> None:
    """The registry reports which sessions stream, and how much text they have."""
    provider = ScriptedProvider("abc", PAUSE)
    session = registry.create("geo", provider=provider)
    assert not registry.is_streaming("geo")
    assert registry.streaming_info("geo") is None
    run = session.send("?")
    provider.wait_paused()

    info = registry.streaming_info("geo")
    assert info is not None
    assert (info.session, info.run, info.state, info.characters) == (session.id, run.id, "streaming", 3)
    assert info.last_delta_at is not None
    assert registry.all_streaming() == [info]
    assert registry.is_streaming("geo")
    provider.go()
    registry.wait_all(10)
    assert registry.all_streaming() == []


def test_stale_means_silent_not_old(registry: SessionRegistry) -> None:
    """Cleanup interrupts silent runs, and leaves paused and queued ones."""
    registry.limits.live_runs = 2
    silent, paused = ScriptedProvider("kept", HANG), ScriptedProvider("x", PAUSE)
    first = registry.create(provider=silent).send("?")
    held = registry.create(provider=paused)
    second = held.send("?")
    waiting = registry.create(provider=paused).send("?")
    next(iter(first))
    paused.wait_paused()
    held.pause()

    assert registry.cleanup_stale(max_idle_s=3600) == []
    assert registry.cleanup_stale(max_idle_s=0) == [first]
    assert (first.state, first.text) == ("interrupted", "kept")
    assert isinstance(first.error, errors.IdleTimeout)
    assert second.state == "paused"
    held.resume()
    paused.wait_until(lambda p: len(p.requests) == 2)
    paused.wait_paused(2)
    paused.go()
    assert waiting.wait(10).state == second.wait(10).state == "completed"


def test_a_silent_run_without_text_is_also_interrupted(registry: SessionRegistry) -> None:
    """Cleanup ends a run as `interrupted` even before its first token, as documented."""
    provider = ScriptedProvider(HANG)
    run = registry.create(provider=provider).send("?")
    provider.wait_until(lambda p: p.requests)
    assert registry.cleanup_stale(0) == [run]
    assert run.state == "interrupted"


def test_eight_threads_and_fifty_sessions(registry: SessionRegistry) -> None:
    """Concurrent sends from many threads put each message into its session, in order."""
    sessions = [registry.create(f"s{i}", provider=ScriptedProvider(echo)) for i in range(50)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(thread: int) -> None:
        for turn in range(3):
            for number, session in enumerate(sessions):
                session.send(f"s{number}-t{thread}-{turn}")

    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    registry.wait_all(120)

    for number, session in enumerate(sessions):
        asked = [m.text for m in session.messages if m.role == "user"]
        assert len(asked) == 24
        assert all(text.startswith(f"s{number}-") for text in asked)
        for thread in range(8):
            own = [text for text in asked if f"-t{thread}-" in text]
            assert own == [f"s{number}-t{thread}-{turn}" for turn in range(3)]
        assert [m.role for m in session.messages] == ["user", "assistant"] * 24
        words = session.messages[-1].text.replace(" | ", " ").split()
        assert all(word.startswith(f"s{number}-") for word in words)


async def _ready(provider: ScriptedProvider) -> ScriptedProvider:
    return provider


def test_threads_of_callers_are_kept_apart(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each `thread_id` has its own context, under concurrent callers."""
    use(monkeypatch, registry)
    engine_of(registry).providers.provider = lambda _name: _ready(ScriptedProvider(echo))  # type: ignore[method-assign]
    answers: dict[str, list[str]] = {f"user-{i}": [] for i in range(10)}

    def talk(user: str) -> None:
        for turn in range(3):
            answers[user].append(nbchat.get_completion(f"{user}/{turn}", thread_id=user, timeout=30))

    threads = [threading.Thread(target=talk, args=(user,)) for user in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user, texts in answers.items():
        assert len(texts) == 3
        assert all(word.startswith(f"{user}/") for text in texts for word in text.split(" | "))
        assert texts[2] == f"{user}/0 | {user}/1 | {user}/2"
    assert registry["user-1"].closed


def test_all_at_once(registry: SessionRegistry) -> None:
    """`pause_all`, `resume_all`, `stop_all` and `wait_all` apply to every session."""
    provider = ScriptedProvider("a", PAUSE, "b")
    sessions = [registry.create(provider=provider) for _ in range(5)]
    runs = [session.send("?") for session in sessions]
    provider.wait_paused(5)
    assert len(registry.pause_all()) == 5
    provider.go()
    assert {str(run.state) for run in runs} == {"paused"}
    assert registry.resume_all() == 5
    registry.wait_all(10)
    assert {run.text for run in runs} == {"ab"}
    more = [session.send("again") for session in sessions for _ in range(2)]
    assert registry.stop_all() == 10
    registry.wait_all(10)
    assert {str(run.state) for run in more} == {"stopped"}
    hung = registry.create(provider=ScriptedProvider(HANG)).send("?")
    with pytest.raises(TimeoutError):
        registry.wait_all(0.05)
    hung.stop()


def test_runs_do_not_need_their_handles(registry: SessionRegistry) -> None:
    """A run whose handle was garbage-collected continues, and a new handle shows its whole text."""
    provider = ScriptedProvider("a", PAUSE, "b")
    session = registry.create(provider=provider)
    handle = weakref.ref(session.send("?"))
    provider.wait_paused()
    gc.collect()
    assert handle() is None
    provider.go()
    registry.wait_all(10)
    assert [run.text for run in session.runs] == ["ab"]


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_live_objects_are_not_pickled(registry: SessionRegistry, take: object) -> None:
    """Pickling or copying a registry, session or run raises with the alternative."""
    session = registry.create(provider=ScriptedProvider("x"))
    run = session.send("?").wait(10)
    for handle in (registry, session, run):
        with pytest.raises(errors.PicklingRefused, match="cannot be pickled"):
            take(handle)  # type: ignore[operator]


def test_names_are_all_there() -> None:
    """Every public name exists, and `dir` lists these names only."""
    for name in nbchat.__all__:
        assert getattr(nbchat, name) is not None
    assert [name for name in dir(nbchat) if not name.startswith("__")] == sorted(nbchat.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        nbchat.nonsense  # noqa: B018
    assert importlib.util.find_spec("nbchat") is not None
    assert Path(nbchat.__file__).with_name("py.typed").exists()


def test_a_new_tab_is_the_last_one_when_the_clock_was_set_back(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tabs are in the order of their creation, whatever the clock shows."""
    made = []
    for at in (5000.0, 1000.0, 1000.0, 9000.0):
        monkeypatch.setattr("nbchat.engine.engine.now", lambda at=at: at)
        made.append(registry.create().id)
    states = [live(registry[one]).state for one in made]
    assert [state.id for state in sorted(states, key=lambda state: (state.rank, state.id))] == made


def test_sessions_keep_their_order_over_kernels_when_the_clock_was_set_back(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two sessions with one title, the one created first is the oldest, even after a restore."""
    monkeypatch.setattr("nbchat.engine.engine.now", lambda: 5000.0)
    first = registry.create("geo").id
    second_kernel, third_kernel = SessionRegistry(), SessionRegistry()
    try:
        monkeypatch.setattr("nbchat.engine.engine.now", lambda: 1000.0)
        second_kernel.restore(registry.snapshot())
        second = second_kernel.create("geo").id
        third_kernel.restore(second_kernel.snapshot())
        assert [session.id for session in third_kernel.values()] == [first, second]
        assert third_kernel["geo"].id == first
    finally:
        engine_of(second_kernel).shutdown()
        engine_of(third_kernel).shutdown()


def test_the_engine_runs_on_a_loop_of_its_own() -> None:
    """The engine ignores an event loop policy set before its first use, such as uvloop's."""
    code = """
import asyncio, warnings
warnings.simplefilter("ignore")
class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        raise AssertionError("asked for a loop")
asyncio.set_event_loop_policy(Policy())
import nbchat
from tests.engines import engine_of, live
print(nbchat.registry.create(model="nbchat-echo").ask("Seine").text)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Seine", done.stderr
