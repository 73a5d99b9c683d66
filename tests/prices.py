"""A table of prices for tests of costs, in place of the library's own, which changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
)

from nbchat.core.messages import Usage
from nbchat.providers.base import Finish, Request, UsageDelta
from nbchat.providers.scripted import HANG, ScriptedProvider, Step

SERVER = "api.example.com"
"""The only server in the table."""

BEFORE, AFTER = (datetime(year, 6, 1, tzinfo=UTC).timestamp() for year in (2025, 2125))
"""Times before and after the price of the model `m` doubled."""


@contextmanager
def price_table() -> Iterator[None]:
    """Use a table in which a million tokens of the model `m` cost 1 USD to send and 10 USD to receive.

    Cached tokens cost a tenth. In 2100 the prices double. A request of `long` with more than 1,000 tokens
    costs twice as much for each token. `nbchat-echo` costs as much as `m`, and `free` nothing.
    """
    once = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(10), cache_read_mtok=Decimal("0.1"))
    twice = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(20), cache_read_mtok=Decimal("0.2"))
    tiers = TieredPrices(base=Decimal(1), tiers=[Tier(start=1000, price=Decimal(2))])
    prices: dict[str, ModelPrice | list[ConditionalPrice]] = {
        "m": [
            ConditionalPrice(prices=once),
            ConditionalPrice(StartDateConstraint(date(2100, 1, 1)), prices=twice),
        ],
        "long": ModelPrice(input_mtok=tiers, output_mtok=Decimal(0)),
        "nbchat-echo": once,
        "free": ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0)),
    }
    models = [ModelInfo(id=name, match=ClauseEquals(name), prices=price) for name, price in prices.items()]
    provider = Provider("example", "Example", r"https://api\.example\.com", models=models)
    set_custom_snapshot(DataSnapshot([provider], from_auto_update=False))
    try:
        yield
    finally:
        set_custom_snapshot(None)


def priced(*steps: Step, server: str | None = SERVER, usage: Usage | None = None) -> ScriptedProvider:
    """Return a provider of a server in the table, which reports these tokens at the end.

    The answer to "hang" stops after its first text.
    """
    reported = usage or Usage(input_tokens=1000, output_tokens=100)

    def script(request: Request) -> Sequence[Step]:
        if request.messages[-1].text == "hang":
            return ["Par", HANG]
        return [*(steps or ("Paris",)), UsageDelta(reported), Finish("stop")]

    provider = ScriptedProvider(script, finish=None, models=("m",))
    provider.server = server  # type: ignore[attr-defined]
    return provider


COST = Decimal("0.002")
"""The cost of the tokens that `priced` reports by default."""
