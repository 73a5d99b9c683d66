"""The order of tabs."""

import random

from nbchat.core.events import Settings
from nbchat.core.transcript import SessionState
from nbchat.engine.tab_order import moved
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import engine_of, live


def tabs(registry: SessionRegistry) -> list[str]:
    """Return the titles as a page shows them."""
    states = [conversation.state for conversation in list(engine_of(registry).sessions)]
    states.sort(key=lambda state: (not state.settings.pinned, state.rank, state.id))
    return [state.title for state in states]


def test_a_tab_goes_where_it_is_put(registry: SessionRegistry) -> None:
    """A tab moves before another or to the end, by session, id or title; other sessions are unchanged."""
    provider = ScriptedProvider("x")
    a, b, c = (registry.create(title, provider=provider) for title in "abc")
    assert c.move(a).id == c.id
    assert tabs(registry) == ["c", "a", "b"]
    a.move(before=None)
    assert tabs(registry) == ["c", "b", "a"]
    c.move("a")
    assert tabs(registry) == ["b", "c", "a"]
    c.move(c.id)
    assert tabs(registry) == ["b", "c", "a"]
    assert live(b).state.settings.rank is None


def test_pinned_tabs_have_an_order_of_their_own(registry: SessionRegistry) -> None:
    """Pinned tabs precede all others; a tab moved across that border goes to the near end of its group."""
    a, b, c, d = (registry.create(title) for title in "abcd")
    c.pin()
    d.pin()
    assert tabs(registry) == ["c", "d", "a", "b"]
    b.move(c)
    assert tabs(registry) == ["c", "d", "b", "a"]
    c.move(a)
    assert tabs(registry) == ["d", "c", "b", "a"]


def test_a_fork_is_behind_all_others(registry: SessionRegistry) -> None:
    """A fork is the last tab, wherever its original was moved."""
    a, _ = (registry.create(title) for title in "ab")
    a.move("b")
    assert a.fork(title="fork").title == "fork"
    assert tabs(registry) == ["a", "b", "fork"]


def test_the_order_is_saved(registry: SessionRegistry) -> None:
    """A snapshot contains the order of tabs, and restoring it restores the order."""
    a, b, c = (registry.create(title) for title in "abc")
    for session in (a, b, c):
        session.move(a)
    c.move(b)
    expected = tabs(registry)
    snapshot = registry.snapshot()
    for session in (a, b, c):
        session.delete()
    registry.restore(snapshot)
    assert [title for title in tabs(registry) if title] == expected


def test_any_number_of_moves_keeps_an_order() -> None:
    """After any number of moves, each tab is where it was moved."""
    drawn = random.Random(7)
    ranks: dict[str, float | None] = {f"s{i:02}": None for i in range(12)}
    order = sorted(ranks)

    def state(key: str) -> SessionState:
        return SessionState(id=key, created_at=1.8e9, settings=Settings(rank=ranks[key]))

    for _ in range(2_000):
        one = drawn.choice(order)
        before = drawn.choice([key for key in order if key != one] + [None])  # type: ignore[list-item]
        ranks.update(moved(map(state, ranks), state(one), before and state(before)))
        order.remove(one)
        order.insert(order.index(before) if before else len(order), one)
        assert sorted(ranks, key=lambda key: (state(key).rank, key)) == order


def test_an_extreme_rank_is_ignored() -> None:
    """A file cannot set a rank so extreme that no tab can be moved before it."""
    for rank in (1e300, -1e300, float("inf"), float("nan")):
        assert SessionState(id="s", created_at=5.0, settings=Settings(rank=rank)).rank == 5.0
