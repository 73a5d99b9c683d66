"""The cost of a batch: an estimate before the first answer, then the cost of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import nbchat
from nbchat.core.messages import Usage
from nbchat.providers.scripted import ScriptedProvider
from tests.prices import COST, price_table, priced


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    with price_table():
        yield


def test_a_batch_costs_what_its_answers_cost() -> None:
    """Each result has a cost, `results.cost` is their sum, and the data frame has a column."""
    results = nbchat.map(["Paris", "", "Rome"], provider=priced(), model="m", progress=False)
    assert [result.cost for result in results] == [COST, None, COST]
    assert results.cost == 2 * COST
    assert list(results.to_frame("polars")["cost_usd"]) == [float(COST), None, float(COST)]


def test_a_batch_of_an_unknown_server_has_no_cost() -> None:
    """Without a price the costs are `None`, and the progress shows tokens only."""
    told: list[nbchat.BatchProgress] = []
    results = nbchat.map(["Paris"], provider=priced(server=None), model="m", progress=told.append)
    assert results.cost is None
    assert [(now.cost, now.estimated_cost) for now in told] == [(None, None)] * 2
    assert str(told[0]) == "0 of 1, 0.0/s, about 2 tokens to send"


def test_the_cost_is_estimated_before_the_first_answer() -> None:
    """At first it is the cost of the prompts at four characters a token, then that of the answers so far."""
    told: list[nbchat.BatchProgress] = []
    prompts = ["x" * 4000, "y" * 4000]
    results = nbchat.map(
        prompts, provider=priced(), model="m", instructions="z" * 400, concurrency=1, progress=told.append
    )
    first, second, last = told
    assert (first.prompt_tokens, first.cost, first.estimated_cost) == (2200, None, Decimal("0.0022"))
    assert str(first) == "0 of 2, 0.0/s, about 2,200 tokens to send for $0.0022"
    assert (second.cost, second.estimated_cost) == (COST, 2 * COST)
    assert ", $0.0020 of about $0.0040" in str(second)
    assert (last.cost, last.estimated_cost) == (2 * COST, 2 * COST)
    assert str(last).endswith(", $0.0040")
    assert results.cost == last.cost


def test_failed_prompts_do_not_change_the_estimate_of_the_others() -> None:
    """The rest of a batch is estimated by the answers with a cost, not by failed prompts."""
    told: list[nbchat.BatchProgress] = []
    nbchat.map(["", "Paris", "Rome"], provider=priced(), model="m", concurrency=1, progress=told.append)
    assert [now.estimated_cost for now in told if now.cost is not None] == [2 * COST, 2 * COST]


def test_schemas_and_attached_values_count() -> None:
    """The estimate includes what is sent with every prompt: the schema and the context."""
    told: list[nbchat.BatchProgress] = []
    provider = ScriptedProvider('{"river": "Seine"}')
    schema = {"type": "object", "properties": {"river": {"type": "string"}}}
    nbchat.map(["Paris"], provider=provider, progress=told.append)
    nbchat.map(["Paris"], provider=provider, schema=schema, progress=told.append)
    nbchat.map(["Paris"], provider=provider, context={"rivers": ["Seine"] * 50}, progress=told.append)
    plain, with_schema, with_context = [now.prompt_tokens for now in told if not now.done]
    assert plain == 2
    assert with_schema > plain
    assert with_context > plain


def test_answers_of_a_journal_have_their_costs(tmp_path: Path) -> None:
    """An answer that is restored from a journal has the cost of the day on which it was asked."""
    asked = {"model": "m", "journal": tmp_path / "answers.jsonl", "progress": False}
    first = nbchat.map(["Paris"], provider=priced(), **asked)
    again = nbchat.map(["Paris"], provider=priced(usage=Usage(input_tokens=1, output_tokens=1)), **asked)
    assert again[0].restored
    assert (first.cost, again.cost) == (COST, COST)
    assert again[0].started_at == first[0].started_at


def test_a_progress_function_can_end_a_batch_that_would_cost_too_much() -> None:
    """An exception in `progress` ends the batch, so an estimate can be a limit."""

    def limit(now: nbchat.BatchProgress) -> None:
        if (now.estimated_cost or 0) > Decimal("0.001"):
            raise RuntimeError(f"it would cost {now.estimated_cost} USD")

    with pytest.raises(RuntimeError, match="it would cost"):
        nbchat.map(["x" * 8000, "hang"], provider=priced(), model="m", progress=limit)
