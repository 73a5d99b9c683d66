"""The contract that every store meets."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbchat.stores.base import Base, Gone, Kept, Store, Stretch
from nbchat.stores.redis import RedisStore
from nbchat.stores.sqlite import SqliteStore
from tests.stores.memory import MemoryStore


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> Iterator[Store]:
    """Return an empty store of each kind."""
    makers: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SqliteStore(tmp_path / "n-1.sqlite"),
        "redis": lambda: RedisStore(request.getfixturevalue("redis_server").url, namespace),
    }
    made = makers[request.param]()
    yield made
    made.close()


def stretch(first: int, count: int = 1, session: str = "s-1", epoch: str = "k-1") -> Stretch:
    """Return events `first` to `first + count - 1`."""
    return Stretch(session_id=session, first_seq=first, count=count, epoch=epoch, body=b"[]")


def test_written_events_are_read_in_order(store: Store) -> None:
    """A store returns each session's base and the events after it, in order."""
    base = Base(session_id="s-1", seq=2, body=b"{}")
    store.write([stretch(1), stretch(1, session="s-2")])
    store.write([stretch(2), base, stretch(3, 2)])
    store.write([stretch(5)])

    contents = store.read()

    assert contents.damage == ()
    assert contents.sessions["s-1"] == Kept(base=base, stretches=(stretch(3, 2), stretch(5)))
    assert contents.sessions["s-2"] == Kept(stretches=(stretch(1, session="s-2"),))
    assert store.read_session("s-1") == contents.sessions["s-1"]
    assert store.read_session("s-9") == Kept()


def test_a_base_replaces_earlier_events(store: Store) -> None:
    """A newer base replaces the older one and the events that it includes, and nothing else."""
    store.write([stretch(1, 4), stretch(5, 4)])
    store.write([Base(session_id="s-1", seq=4, body=b"old")])
    store.write([Base(session_id="s-1", seq=4, body=b"new")])

    assert store.read_session("s-1") == Kept(
        base=Base(session_id="s-1", seq=4, body=b"new"), stretches=(stretch(5, 4),)
    )


def test_deleted_sessions_are_remembered_and_come_back_with_a_base(store: Store) -> None:
    """Of a deleted session only the deletion is kept, until an undo writes a base."""
    store.write([stretch(1), Gone(session_id="s-1", body=b"{}")])
    assert store.read_session("s-1") == Kept(gone=Gone(session_id="s-1", body=b"{}"))

    store.write([Base(session_id="s-1", seq=1, body=b"{}")])
    assert store.read_session("s-1") == Kept(base=Base(session_id="s-1", seq=1, body=b"{}"))


def test_events_after_a_gap_are_damage(store: Store) -> None:
    """Events after a gap are not used, and are reported as damage."""
    store.write([stretch(1), stretch(3)])

    contents = store.read()

    assert contents.sessions["s-1"].stretches == (stretch(1),)
    assert contents.damage == ("session s-1: events 2 to 2 are missing",)


def test_the_same_stretch_again_changes_nothing(store: Store) -> None:
    """A batch can be written again if its confirmation was lost."""
    store.write([stretch(1, 2)])
    store.write([stretch(1, 2), stretch(3)])

    assert store.read_session("s-1").stretches == (stretch(1, 2), stretch(3))


def test_facts_about_the_store_itself(store: Store) -> None:
    """A store remembers facts about itself, such as its notebook's path."""
    assert store.recall("path") == ""
    store.remember("path", "a")
    store.remember("path", "b")
    assert store.recall("path") == "b"
