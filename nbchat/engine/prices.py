"""`run_cost` and `cost_of` calculate costs in USD from token counts and published prices.

The prices are in the optional library genai-prices. It is imported at the first use, and nothing is fetched.
The price of a model depends on the server: a model of the same name on an unknown server has none.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Final

from nbchat.core.messages import ToolResultPart
from nbchat.core.run import RunState
from nbchat.engine import lookup

if TYPE_CHECKING:
    from nbchat.core.messages import Usage
    from nbchat.core.run import RunRecord
    from nbchat.core.transcript import SessionState

logger = logging.getLogger("nbchat")

_LIBRARY: Final = "genai_prices"
_ANSWERED: Final = (RunState.COMPLETED, RunState.INCOMPLETE)
"""States of a run whose last request was answered to its end."""

_hinted: list[str] = []
_faulty: list[str] = []
"""The library, if it is installed and cannot be imported. It is not tried again."""


def is_loaded() -> bool:
    """Return whether the library has been imported, so that `cost_of` does not import anything."""
    # The module is in `sys.modules` before it is complete.
    return hasattr(sys.modules.get(f"{_LIBRARY}.data"), "providers")


def load() -> bool:
    """Import the library; return False if that is not possible. Takes a third of a second the first time."""
    return all(_imported(name) is not None for name in (_LIBRARY, f"{_LIBRARY}.data")) and is_loaded()


def _imported(name: str) -> ModuleType | None:
    """Import a module of the library; return `None` if it is not installed, or its import fails."""
    if _faulty:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
    except Exception:
        _faulty.append(_LIBRARY)
        logger.warning("the prices cannot be imported, so costs are unknown", exc_info=True)
        return None


def run_cost(state: SessionState, run: RunRecord, *, hint: bool = False) -> Decimal | None:
    """Return the cost of a run in USD; `None` if it is unknown, or the run is not over.

    The tokens of a run are those that its server reported. A request that was not answered to its end rarely
    reports them, so a run that ended during a later request than its first has no cost. If a server reports
    the tokens of some finished requests of a run and not of others, the cost is that of the reported ones.

    Parameters
    ----------
    hint
        Log once that the library is missing, if the run could have a price.
    """
    if run.from_cache and run.usage is None:
        return Decimal(0) if run.state.is_over else None
    if run.state not in _ANSWERED and run.round_part:  # it ended after its second request was sent
        return None
    return cost_of(
        run.usage, run.model, run.server, run.started_at, requests=_requests(state, run), hint=hint
    )


def session_cost(state: SessionState, *, hint: bool = False) -> Decimal | None:
    """Return the sum of the known costs of a session's runs; `None` if the cost of no run is known."""
    return total(run_cost(state, run, hint=hint) for run in state.runs)


def cost_of(
    usage: Usage | None,
    model: str | None,
    server: str | None,
    at: float | None,
    *,
    requests: int = 1,
    hint: bool = False,
) -> Decimal | None:
    """Return the cost of token counts in USD; `None` if it is unknown.

    Parameters
    ----------
    server
        The server's host, as in `RunRecord`.
    at
        Time of the request, in seconds since 1970-01-01 UTC; prices change. `None`: now.
    requests
        Number of requests that the tokens belong to. Some prices depend on the length of a request; all
        requests are taken to be equally long.
    hint
        Log once that the library is missing.
    """
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    if not model or not server:
        return None
    library = _imported(_LIBRARY)
    if library is None:
        if hint and not (_hinted or _faulty):
            _hinted.append(_LIBRARY)
            logger.warning("no prices are installed. For costs: pip install 'jupyter-nbchat[prices]'")
        return None
    # Each kind of token is counted in the one that contains it, as in the OpenAI API.
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": cached,
    }
    each = {name: n if requests == 1 else Decimal(n) / requests for name, n in counts.items()}
    try:
        price = library.calc_price(
            library.Usage(**each),
            model,
            provider_api_url=f"https://{server}",
            genai_request_timestamp=datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC),
        )
        cost = Decimal(price.total_price)
    except LookupError:  # of the server or the model
        return None
    except Exception:  # costs are an extra: no fault of the library, or of its data, may end anything
        logger.debug("the cost of %r cannot be computed", model, exc_info=True)
        return None
    return cost if requests == 1 else round(cost * requests, 12).normalize() + 0  # not 1E+2


def total(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of those that are known; `None` if none is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if known else None


def shown(cost: Decimal | None) -> str:
    """Return a cost for display, such as `$0.012`; empty if it is unknown or zero."""
    if not cost:
        return ""
    places = 2 if cost >= 1 else 1 - cost.adjusted()  # two significant digits
    return f"${cost:,.{places}f}"


def _requests(state: SessionState, run: RunRecord) -> int:
    """Return the number of a run's requests: one, and one for each time that results of tools were sent."""
    message = state.messages.get(run.message_id)
    if message is None or not any(isinstance(part, ToolResultPart) for part in message.parts):
        return 1
    results = [isinstance(part, ToolResultPart) for part in lookup.own_part_of_answer(state, run).parts]
    return 1 + sum(is_result and not more for is_result, more in pairwise([*results, False]))
