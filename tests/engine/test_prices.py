"""The cost of token counts: by server, model and date, and without the library of prices."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest

import nbchat
from nbchat.core.errors import ProviderUnavailable
from nbchat.core.events import Settings
from nbchat.core.messages import ToolResultPart, Usage
from nbchat.engine import prices
from nbchat.engine.provider_resolver import ProviderResolver
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import Finish, Request, ToolCallDelta, UsageDelta
from nbchat.providers.endpoint import public_host
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import PAUSE, ScriptedProvider, Step
from nbchat.server import DemoServer
from tests.engines import engine_of
from tests.prices import AFTER, BEFORE, COST, SERVER, price_table
from tests.waiting import wait_for

USAGE = Usage(input_tokens=1000, output_tokens=100)


@pytest.fixture
def _table() -> Iterator[None]:
    with price_table():
        yield


@pytest.mark.usefixtures("_table")
def test_the_cost_is_that_of_the_date_of_the_run() -> None:
    """A run costs what its model cost when it started, however its price changes later."""
    assert prices.cost_of(USAGE, "m", SERVER, BEFORE) == COST
    assert prices.cost_of(USAGE, "m", SERVER, AFTER) == 2 * COST


@pytest.mark.usefixtures("_table")
def test_cached_tokens_are_part_of_the_input_and_reasoning_of_the_output() -> None:
    """Cached tokens are priced as such and not a second time; reasoning costs as much as other output."""
    cached = Usage(input_tokens=1000, output_tokens=100, cached_tokens=600, reasoning_tokens=80)
    assert prices.cost_of(cached, "m", SERVER, BEFORE) == Decimal("0.00146")
    inconsistent = Usage(input_tokens=1000, output_tokens=100, cached_tokens=6000)
    assert prices.cost_of(inconsistent, "m", SERVER, BEFORE) == Decimal("0.0011")


@pytest.mark.usefixtures("_table")
def test_several_requests_are_not_priced_as_one_long_request() -> None:
    """A model that costs more for long requests costs as much as each request, and not as their sum."""
    usage = Usage(input_tokens=2100, output_tokens=0)
    assert prices.cost_of(usage, "long", SERVER, BEFORE) == Decimal("0.0042")
    assert prices.cost_of(usage, "long", SERVER, BEFORE, requests=3) == Decimal("0.0021")


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize(
    ("usage", "model", "server"),
    [
        (None, "m", SERVER),
        (Usage(input_tokens=5), "m", SERVER),
        (Usage(output_tokens=5), "m", SERVER),
        (USAGE, None, SERVER),
        (USAGE, "m", None),
        (USAGE, "other", SERVER),
        (USAGE, "m", "other.example.com"),
    ],
)
def test_an_unknown_cost_is_none(usage: Usage | None, model: str | None, server: str | None) -> None:
    """Without both token counts, for unknown models and on unknown servers, the cost is `None`."""
    assert prices.cost_of(usage, model, server, BEFORE) is None


def test_the_library_knows_openai() -> None:
    """With the library's own table, the cost is the one that the library calculates for the server."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    expected = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=0),
        "gpt-4o",
        provider_id="openai",
        genai_request_timestamp=at,
    ).total_price
    assert expected > 0
    assert prices.cost_of(USAGE, "gpt-4o", "api.openai.com", at.timestamp()) == expected
    assert prices.cost_of(USAGE, "nbchat-echo", "api.openai.com", at.timestamp()) is None


def test_without_the_library_costs_are_none_with_one_hint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the extra, costs are `None`, and the first one that is read logs a hint once."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.setattr(prices, "_hinted", [])
    with caplog.at_level(logging.WARNING, logger="nbchat"):
        assert prices.cost_of(USAGE, "m", SERVER, None) is None
        assert caplog.messages == []
        for _ in range(2):
            assert prices.cost_of(USAGE, "m", SERVER, None, hint=True) is None
    assert caplog.messages == ["no prices are installed. For costs: pip install 'jupyter-nbchat[prices]'"]
    assert not prices.load()


def test_a_fault_of_the_library_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the library makes the cost unknown."""

    def broken(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(genai_prices, "calc_price", broken)
    assert prices.cost_of(USAGE, "m", SERVER, None) is None


@pytest.mark.parametrize("module", ["genai_prices", "genai_prices.data"])
def test_a_library_that_cannot_be_imported_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: str
) -> None:
    """If the import of the library fails, whatever it raises, costs are `None`, with one warning."""
    tried: list[str] = []

    def broken(name: str) -> None:
        tried.append(name)
        raise ZeroDivisionError

    monkeypatch.setattr(prices, "_faulty", [])
    monkeypatch.setattr(prices, "_hinted", [])
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, logger="nbchat"):
        for name in [name for name in sys.modules if name.partition(".")[0] == "genai_prices"]:
            patched.delitem(sys.modules, name)
        patched.setattr(sys, "meta_path", [FailingFinder(module, broken), *sys.meta_path])
        assert not prices.load()
        assert prices.cost_of(USAGE, "m", SERVER, None, hint=True) is None
        assert not prices.load()
        for name in [name for name in sys.modules if name.partition(".")[0] == "genai_prices"]:
            del sys.modules[name]
    assert tried == [module]
    assert caplog.messages == ["the prices cannot be imported, so costs are unknown"]


class FailingFinder:
    """A finder of modules that raises for one of them."""

    def __init__(self, module: str, fail: Callable[[str], None]) -> None:
        self._module = module
        self._fail = fail

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """Raise for the module, and find no other."""
        if name == self._module:
            self._fail(name)


def test_the_prices_are_loaded_at_the_first_cost() -> None:
    """Neither `import nbchat`, nor a session, nor the cost of a demo answer imports the library."""
    code = (
        "import sys, nbchat; run = nbchat.session('geo', model='nbchat-echo').send('Seine'); run.wait(60)\n"
        "print(run.cost, nbchat.session('geo').cost, 'genai_prices' in sys.modules)\n"
        "from nbchat.engine import prices\n"
        "from nbchat.core.messages import Usage\n"
        "one = Usage(input_tokens=1, output_tokens=1)\n"
        "print(prices.is_loaded(), prices.cost_of(one, 'gpt-4o', 'api.openai.com', None) is None,\n"
        "      prices.is_loaded())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["None None False", "False False True"]


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ("0.0123456", "$0.012"),
        ("0.000075", "$0.000075"),
        ("0.9999", "$1.00"),
        ("1.3", "$1.30"),
        ("1234.567", "$1,234.57"),
        ("0", ""),
        (None, ""),
    ],
)
def test_costs_are_shown_with_two_digits(cost: str | None, text: str) -> None:
    """A cost is shown in dollars with two significant digits, or cents; nothing if it is unknown."""
    assert prices.shown(None if cost is None else Decimal(cost)) == text


def test_the_total_is_of_known_costs() -> None:
    """A sum leaves out unknown costs, and is `None` if it has no other."""
    assert prices.total([Decimal(1), None, Decimal(2)]) == 3
    assert prices.total([Decimal(0)]) == 0
    assert prices.total([None]) is None
    assert prices.total([]) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", "api.openai.com"),
        ("https://user:pass@API.Example.com:8443/v1?key=secret", "api.example.com"),
        ("http://localhost:11434/v1", None),
        ("http://127.0.0.1:8000/v1", None),
        ("http://10.0.0.7/v1", None),
        ("http://[::1]:8000/v1", None),
        ("http://[fd00::1]:8000/v1", None),
        ("http://gpu-box:8000/v1", None),
        ("http://gpu.local:8000/v1", None),
        ("https://llm.corp.internal/v1", None),
        ("https://[/v1", None),
    ],
)
def test_only_the_name_of_a_public_server_is_kept(url: str, host: str | None) -> None:
    """Runs keep the host of a public server, without user, port and path, and that of no other one."""
    assert public_host(url) == host
    if host is not None:
        assert OpenAIProvider(url, "key", name="mine").server == host


def test_the_server_of_the_next_run_is_known_without_a_request() -> None:
    """The model and the server that a batch will use follow from the settings alone."""
    at_openai = ProviderResolver({"OPENAI_API_KEY": "key", "NBCHAT_MODEL": "gpt-4o"})
    assert at_openai.expected(None, Settings()) == ("gpt-4o", "api.openai.com")
    assert at_openai.expected(None, Settings(model="o3")) == ("o3", "api.openai.com")
    at_openai.define("mine", OpenAIProvider(f"https://{SERVER}/v1", "key", name="mine"))
    assert at_openai.expected(None, Settings(provider="mine", model="m")) == ("m", SERVER)
    assert at_openai.expected(None, Settings(provider="demo", model="m")) == ("m", None)
    elsewhere = ProviderResolver({"OPENAI_BASE_URL": "http://localhost:11434/v1"})
    assert elsewhere.expected(None, Settings(model="gpt-4o")) == ("gpt-4o", None)
    assert ProviderResolver({}).expected(None, Settings()) == (None, None)


@pytest.mark.usefixtures("_table")
def test_an_answer_of_a_server_has_a_cost(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that the client reads from a public server has the cost of the tokens that it reports."""
    monkeypatch.setattr("nbchat.providers.openai.public_host", lambda _url: SERVER)
    engine, server = engine_of(registry), DemoServer()
    provider = OpenAIProvider(str(engine.loop.run(server.start())), "any")
    session = registry.create("geo", model="nbchat-echo", provider=provider)
    try:
        run = session.send("Which rivers cross Paris?").wait(30)
        usage = run.usage
        assert usage is not None
        assert usage.total_tokens > 0
        sent, received = usage.input_tokens or 0, usage.output_tokens or 0
        assert run.cost == (sent + 10 * received) * Decimal("0.000001")
    finally:
        engine.loop.run(provider.aclose())
        engine.loop.run(server.close())


@pytest.mark.usefixtures("_table")
def test_a_run_with_tools_costs_all_its_requests(registry: SessionRegistry) -> None:
    """The requests of a run with tools are priced each by its own length, and added."""

    @nbchat.tool(ask=False)
    def capital(country: str) -> str:
        """Return a capital."""
        return f"of {country}"

    def script(request: Request) -> list[Step]:
        results = [part for part in request.messages[-1].parts if isinstance(part, ToolResultPart)]
        usage = UsageDelta(Usage(input_tokens=900, output_tokens=0))
        if len(results) < 2:
            call = ToolCallDelta(0, f"c{len(results)}", "capital", '{"country": "France"}')
            return [call, usage, Finish("tool_calls")]
        return ["Paris", usage, Finish("stop")]

    provider = ScriptedProvider(script, finish=None)
    provider.server = SERVER  # type: ignore[attr-defined]
    session = registry.create("geo", model="long", provider=provider, tools=[capital])
    run = session.send("Capital of France?").wait(30)
    assert run.text == "Paris"
    assert run.usage == Usage(input_tokens=2700, output_tokens=0)
    assert run.cost == Decimal("0.0027")


def reporting(*answers: list[Step]) -> ScriptedProvider:
    """Return a provider of a server with prices, which gives one answer after the other."""
    steps = list(answers)
    provider = ScriptedProvider(lambda _request: steps.pop(0), finish=None)
    provider.server = SERVER  # type: ignore[attr-defined]
    return provider


CALLS: list[Step] = [ToolCallDelta(0, "c", "capital", "{}"), UsageDelta(USAGE), Finish("tool_calls")]
"""A finished answer with a call, whose tokens are reported."""


def capital_with(*, ask: bool) -> nbchat.FunctionTool:
    """Return the tool that `CALLS` calls."""

    def capital() -> str:
        """Return a capital."""
        return "Paris"

    return nbchat.tool(ask=ask)(capital)


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_run_that_ends_during_a_later_request_has_no_cost(
    registry: SessionRegistry, *, is_stopped: bool
) -> None:
    """The tokens of the first request are not shown as the cost of a run that was ended in its second."""
    provider = reporting(CALLS, ["Pa", PAUSE, ProviderUnavailable("gone", retryable=False)])
    session = registry.create("geo", model="m", provider=provider, tools=[capital_with(ask=False)])
    run = session.send("Capital of France?")
    provider.wait_paused()
    if is_stopped:
        run.stop()
    else:
        provider.go()
    assert run.wait(30).state == ("stopped" if is_stopped else "interrupted")
    assert run.usage == USAGE
    assert (run.cost, session.cost) == (None, None)
    session.discard(run.message.id)
    assert session.cost is None


@pytest.mark.usefixtures("_table")
def test_a_run_that_ends_between_its_requests_has_a_cost(registry: SessionRegistry) -> None:
    """A run that is stopped while its first calls ask has the cost of its only request."""
    session = registry.create("geo", model="m", provider=reporting(CALLS), tools=[capital_with(ask=True)])
    session.on("approval_needed", lambda _event: None)
    run = session.send("Capital of France?")
    wait_for(lambda: run.state == "awaiting_approval", "the call asks")
    run.stop()
    assert run.wait(30).state == "stopped"
    assert run.cost == COST
