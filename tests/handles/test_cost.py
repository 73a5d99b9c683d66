"""The cost of runs and sessions: `run.cost`, `session.cost` and `to_frame()`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbchat.handles.registry import SessionRegistry
from tests.prices import COST, SERVER, price_table, priced
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    with price_table():
        yield


def test_a_session_costs_what_all_its_runs_cost(registry: SessionRegistry) -> None:
    """`session.cost` includes replaced and regenerated answers, and `to_frame()` has the cost of each run."""
    session = registry.create("geo", model="m", provider=priced())
    assert session.cost is None
    run = session.send("Capital of France?").wait(30)
    assert run.cost == COST
    session.regenerate().wait(30)
    assert session.cost == 2 * COST
    session.discard(session.messages[-1].id)
    assert session.cost == 2 * COST
    assert list(session.to_frame("pandas")["cost_usd"]) == [float(COST)] * 2


def test_a_free_answer_costs_zero(registry: SessionRegistry) -> None:
    """A model that is known to be free costs 0, and not `None`."""
    session = registry.create("geo", model="free", provider=priced())
    assert session.send("Capital of France?").wait(30).cost == 0
    assert session.cost == 0


def test_a_fork_starts_without_costs(registry: SessionRegistry) -> None:
    """A fork has the conversation but not the costs, which remain those of the first session."""
    session = registry.create("geo", model="m", provider=priced())
    session.send("Capital of France?").wait(30)
    fork = session.fork()
    assert fork.messages
    assert fork.cost is None
    fork.send("And of Spain?").wait(30)
    assert (session.cost, fork.cost) == (COST, COST)


def test_a_run_without_tokens_has_no_cost(registry: SessionRegistry) -> None:
    """A live or stopped run without token counts has no cost; the session's cost is that of the others."""
    session = registry.create("geo", model="m", provider=priced())
    session.send("Capital of France?").wait(30)
    stopped = session.send("hang")
    wait_for(lambda: stopped.text == "Par", "the text")
    assert stopped.cost is None
    stopped.stop()
    assert stopped.wait(30).cost is None
    assert session.cost == COST


def test_a_server_on_this_machine_has_no_price(registry: SessionRegistry) -> None:
    """A model of a server whose host is unknown has no cost, whatever its name."""
    session = registry.create("geo", model="m", provider=priced(server=None))
    assert session.send("Capital of France?").wait(30).cost is None
    assert session.cost is None


def test_the_cost_survives_a_snapshot(registry: SessionRegistry) -> None:
    """Costs are computed from saved tokens, so a restored session has the same."""
    session = registry.create("geo", model="m", provider=priced())
    session.send("Capital of France?").wait(30)
    snapshot = registry.snapshot()
    assert SERVER in str(snapshot)
    assert "cost" not in str(snapshot)
    other = SessionRegistry()
    try:
        other.restore(snapshot)
        assert other["geo"].cost == COST
    finally:
        other.shutdown()
