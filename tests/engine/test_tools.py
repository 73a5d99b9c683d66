"""Tool calls: rounds of one run, approval, limits, results, and how a run with tools is stopped."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import nbchat
from nbchat.core.commands import Decide, SwitchTool
from nbchat.core.errors import (
    CommandError,
    NothingToDo,
    ProviderUnavailable,
    RunNotLive,
    StoreFull,
    WouldDeadlock,
)
from nbchat.core.ids import new_id
from nbchat.core.messages import ToolResultPart, Usage
from nbchat.core.text import checksum
from nbchat.engine.carry_out import carry_out
from nbchat.engine.daemon_executor import MAX_THREADS
from nbchat.engine.main_thread import CodeOutput, Job, main_thread
from nbchat.engine.tools import MAX_RESULT
from nbchat.handles.tools import decide as decide_on_all
from nbchat.protocol import HeadTool
from nbchat.providers.base import Finish, Request, ToolCallDelta, UsageDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import HANG, PAUSE, Script, ScriptedProvider
from nbchat.server import DemoServer
from nbchat.wire.session_messages import head_of
from tests.backends import over_all_backends
from tests.engine.test_journal_writer import FailingStore
from tests.engines import engine_of, kernel_engine_of, live
from tests.waiting import wait_for

if TYPE_CHECKING:
    from nbchat.core.calls import ToolCall
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.run import Run
    from nbchat.handles.session import Session


ONLY_IN_THE_KERNEL = {
    "test_a_run_that_asks_gives_its_slot_back": "reads the requests of a provider object",
    "test_heads_name_the_tools_of_a_session": "switches a tool without a command",
}
"""Tests that need an engine in the same process, with the reason."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a chosen fifth of the tests over both backends."""
    over_all_backends(metafunc, fits=lambda function: function.__name__ not in ONLY_IN_THE_KERNEL)


class Counter:
    """Counts executions of a tool."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.go = threading.Event()
        self.started = threading.Event()


@pytest.fixture
def counter() -> Iterator[Counter]:
    """Return a counter, whose waiting tools end with the test."""
    made = Counter()
    yield made
    made.go.set()


def pay_with(counter: Counter, *, ask: bool = True) -> Any:
    """Return a tool that counts its calls."""

    @nbchat.tool(ask=ask)
    def pay(amount: int) -> str:
        """Pay an amount."""
        counter.calls.append(amount)
        return f"paid {amount}"

    return pay


def results_in(request: Request) -> list[ToolResultPart]:
    """Return the results in a request, of the current answer."""
    return [part for part in request.messages[-1].parts if isinstance(part, ToolResultPart)]


def calling(*calls: tuple[str, str], rounds: int = 1, reason: str = "tool_calls") -> ScriptedProvider:
    """Return a provider that calls tools in some rounds, and then answers with the results."""

    def script(request: Request) -> Script:
        results = results_in(request)
        if len(results) >= rounds * len(calls):
            return [" | ".join(["Done:", *[part.text for part in results]]), Finish("stop")]
        deltas = [ToolCallDelta(at, f"c{at}", name, text) for at, (name, text) in enumerate(calls)]
        return ["Let me see. ", *deltas, UsageDelta(Usage(output_tokens=1)), Finish(reason)]

    return ScriptedProvider(script, finish=None)


def watched(registry: SessionRegistry, provider: ScriptedProvider, *tools: Any) -> Session:
    """Return a session whose calls can be approved, as if a page were open."""
    session = registry.create(provider=provider, tools=tools)
    session.on("approval_needed", lambda _event: None)
    return session


def until_asking(run: Run, calls: int = 1) -> tuple[ToolCall, ...]:
    """Wait until some calls of a run wait for approval."""

    def asking() -> tuple[ToolCall, ...]:
        found = tuple(call for call in run.calls if call.state == "asking")
        return found if len(found) >= calls else ()

    found: tuple[ToolCall, ...] = wait_for(asking, "the call asks")
    return found


def decide(session: Session, run: Run, call: ToolCall, decision: Any, shown: int | None = None) -> None:
    """Send a decision as a page does."""
    command = Decide(
        id=new_id("c-"),
        session_id=session.id,
        run_id=run.id,
        call_id=call.id,
        decision=decision,
        shown=checksum(call.text) if shown is None else shown,
    )
    engine = engine_of_session(session)
    engine.loop.call(carry_out, engine, command)


def engine_of_session(session: Session) -> Any:
    """Return the engine of a session."""
    return live(session).context


# Approval


def test_a_call_waits_for_approval_and_its_result_is_sent(
    registry: SessionRegistry, counter: Counter
) -> None:
    """A call is executed after it was approved, and the next round of the same run gets its result."""
    provider = calling(("pay", '{"amount": 3}'))
    session = watched(registry, provider, pay_with(counter))
    run = session.send("Pay.")
    (call,) = until_asking(run)
    assert (run.state, call.name, call.arguments, counter.calls) == (
        "awaiting_approval",
        "pay",
        {"amount": 3},
        [],
    )
    run.approve()
    assert run.wait(30).state == "completed"
    assert (counter.calls, run.text) == ([3], "Let me see. Done: | paid 3")
    assert [call.state for call in run.calls] == ["ran"]
    assert run.usage == Usage(output_tokens=1)
    assert [m.role for m in session.messages] == ["user", "assistant"]


def test_a_refused_call_is_not_run(registry: SessionRegistry, counter: Counter) -> None:
    """A refused call is never executed, and the model gets the user's reason."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    run.refuse("use the test account")
    assert "The user refused this call. use the test account" in run.result(30).text
    assert (counter.calls, [call.state for call in run.calls]) == ([], ["not_run"])


def test_a_decision_holds_for_the_arguments_that_were_shown(
    registry: SessionRegistry, counter: Counter
) -> None:
    """A decision on other arguments is rejected, and the call still waits."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    (call,) = until_asking(run)
    for decision in ("run", "run_all"):
        with pytest.raises(CommandError, match="were shown are not those"):
            decide(session, run, call, decision, shown=checksum('{"amount": 1}'))
    assert (run.state, counter.calls) == ("awaiting_approval", [])


def test_a_call_is_approved_once(registry: SessionRegistry, counter: Counter) -> None:
    """A second decision on a call, from another page or after the end, is refused."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    (call,) = until_asking(run)
    decide(session, run, call, "run")
    with pytest.raises(NothingToDo):
        decide(session, run, call, "run")
    run.wait(30)
    with pytest.raises(NothingToDo):
        decide(session, run, call, "run")
    assert counter.calls == [3]


def test_a_call_that_several_pages_approve_runs_once(registry: SessionRegistry, counter: Counter) -> None:
    """Of decisions that arrive at the same time, one is carried out and the others are refused."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    (call,) = until_asking(run)
    together = threading.Barrier(4, timeout=30)

    def click(decision: str) -> str:
        together.wait()
        try:
            decide(session, run, call, decision)
        except NothingToDo:
            return "refused"
        return "done"

    with ThreadPoolExecutor(4) as pages:
        outcomes = sorted(pages.map(click, ["run", "run_all", "run", "run_all"]))
    assert run.wait(30).state == "completed"
    assert (outcomes, counter.calls) == (["done", "refused", "refused", "refused"], [3])


def test_run_all_ends_with_its_run(registry: SessionRegistry, counter: Counter) -> None:
    """`run_all` approves the other calls and later rounds of this run, and nothing of the next run."""
    session = watched(
        registry, calling(("pay", '{"amount": 3}'), ("pay", '{"amount": 4}'), rounds=2), pay_with(counter)
    )
    run = session.send("Pay.")
    call, _ = until_asking(run, 2)
    decide(session, run, call, "run_all")
    assert run.wait(30).state == "completed"
    assert sorted(counter.calls) == [3, 3, 4, 4]
    again = session.send("Pay.")
    until_asking(again, 2)
    assert len(counter.calls) == 4
    again.stop()


def test_calls_are_approved_one_by_one(registry: SessionRegistry, counter: Counter) -> None:
    """An approved call runs at once, while the others of the round still wait."""
    session = watched(
        registry, calling(("pay", '{"amount": 3}'), ("pay", '{"amount": 4}')), pay_with(counter)
    )
    run = session.send("Pay.")
    _, second = until_asking(run, 2)
    run.approve(second.id)
    wait_for(lambda: [call.state for call in run.calls] == ["asking", "ran"], "the second ran")
    wait_for(lambda: run.state == "awaiting_approval", "the run asks again")
    run.approve()
    run.wait(30)
    assert counter.calls == [4, 3]


def test_all_calls_are_approved_while_a_page_decides(registry: SessionRegistry, counter: Counter) -> None:
    """A call that a page decides on at the same moment does not keep the others from being approved."""
    session = watched(
        registry, calling(("pay", '{"amount": 3}'), ("pay", '{"amount": 4}')), pay_with(counter)
    )
    run = session.send("Pay.")
    seen = until_asking(run, 2)
    decide(session, run, seen[0], "refuse")
    engine = {"session_id": session.id, "run_id": run.id, "calls": seen, "decision": "run", "call_id": None}
    decide_on_all(registry._backend, **engine)
    run.wait(30)
    assert counter.calls == [4]
    with pytest.raises(NothingToDo):
        decide_on_all(registry._backend, **engine)


@pytest.mark.parametrize("policy", [None, lambda _call: None, lambda _call: 1 / 0])
def test_without_anyone_to_ask_a_call_is_refused(
    registry: SessionRegistry, counter: Counter, policy: Any
) -> None:
    """Without a page, a callback and a decision of the policy, a call that asks is refused at once."""
    session = registry.create(provider=calling(("pay", '{"amount": 3}')), tools=[pay_with(counter)])
    session.approve = policy
    answer = session.ask("Pay.", timeout=30)
    assert "no page is open" in answer.text
    assert counter.calls == []


def test_a_policy_decides_before_the_user(registry: SessionRegistry, counter: Counter) -> None:
    """`True` runs a call, `False` refuses even a harmless one, and anything else asks."""
    provider = calling(("pay", '{"amount": 3}'))
    session = watched(registry, provider, pay_with(counter))
    seen: list[str] = []
    session.approve = lambda call: not seen.append(call.text)
    assert session.ask("Pay.", timeout=30).text.endswith("paid 3")
    assert seen == ['{"amount": 3}']
    session.tools = [pay_with(counter, ask=False)]
    session.approve = lambda _call: False
    assert "refused" in session.ask("Pay.", timeout=30).text
    assert counter.calls == [3]
    for unclear in (lambda _call: None, lambda _call: 1, lambda _call: 1 / 0):
        session.approve = unclear  # type: ignore[assignment]
        session.tools = [pay_with(counter)]
        run = session.send("Pay.")
        until_asking(run)
        run.stop()
        run.wait(30)
    assert counter.calls == [3]


def test_a_policy_is_read_at_each_call(registry: SessionRegistry, counter: Counter) -> None:
    """A policy that is set or removed while a run is live decides on its next calls."""
    session = watched(registry, calling(("pay", '{"amount": 3}'), rounds=3), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    seen: list[str] = []

    def once(call: ToolCall) -> bool:
        seen.append(call.id)
        session.approve = None
        return True

    session.approve = once
    run.approve()
    wait_for(lambda: len(counter.calls) == 2, "the policy approved the second call")
    until_asking(run)
    assert len(seen) == 1
    run.stop()
    assert run.wait(30).state == "stopped"
    assert counter.calls == [3, 3]


def test_a_harmless_tool_does_not_ask(registry: SessionRegistry, counter: Counter) -> None:
    """A tool that its author marked is called without asking, also without a page."""
    session = registry.create(
        provider=calling(("pay", '{"amount": 3}')), tools=[pay_with(counter, ask=False)]
    )
    assert session.ask("Pay.", timeout=30).text.endswith("paid 3")


def test_callbacks_get_the_calls_that_ask(registry: SessionRegistry, counter: Counter) -> None:
    """The event `approval_needed` has the calls that wait, with their arguments."""
    session = registry.create(provider=calling(("pay", '{"amount": 3}')), tools=[pay_with(counter)])
    seen: list[Any] = []

    def approve(event: nbchat.Notification) -> None:
        seen.extend(event.data)
        assert session.run is not None
        session.run.approve()

    session.on("approval_needed", approve)
    assert session.ask("Pay.", timeout=30).text.endswith("paid 3")
    assert [(call.name, call.state, call.arguments) for call in seen] == [("pay", "asking", {"amount": 3})]


# Rounds


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "function_call", "odd"])
def test_calls_are_run_whatever_the_finish_reason(
    registry: SessionRegistry, counter: Counter, reason: str
) -> None:
    """The finish reason of a round with complete calls does not matter: servers differ."""
    provider = calling(("pay", '{"amount": 3}'), reason=reason)
    session = registry.create(provider=provider, tools=[pay_with(counter, ask=False)])
    assert session.ask("Pay.", timeout=30).text.endswith("paid 3")


def test_calls_of_a_truncated_answer_are_not_run(registry: SessionRegistry, counter: Counter) -> None:
    """An answer that reached the length limit may end in the middle of a call, so none is run."""
    provider = calling(("pay", '{"amount": 3}'), reason="length")
    session = registry.create(provider=provider, tools=[pay_with(counter, ask=False)])
    run = session.send("Pay.").wait(30)
    assert (run.state, counter.calls, [call.state for call in run.calls]) == ("incomplete", [], ["not_run"])


def test_the_number_of_rounds_is_limited(registry: SessionRegistry, counter: Counter) -> None:
    """After `limits.tool_rounds` rounds the run completes, and its last calls are not run."""
    registry.limits.tool_rounds = 2
    provider = calling(("pay", '{"amount": 3}'), rounds=9)
    session = registry.create(provider=provider, tools=[pay_with(counter, ask=False)])
    run = session.send("Pay.").wait(30)
    assert (run.state, len(counter.calls), len(provider.requests)) == ("completed", 2, 3)
    assert [call.state for call in run.calls] == ["ran", "ran", "not_run"]
    assert "2 rounds" in run.message.notices[0]


def test_the_number_of_calls_of_a_round_is_limited(registry: SessionRegistry, counter: Counter) -> None:
    """Of more than 16 calls in one round, the first 16 are run."""
    provider = calling(*[("pay", f'{{"amount": {n}}}') for n in range(18)])
    session = registry.create(provider=provider, tools=[pay_with(counter, ask=False)])
    run = session.send("Pay.").wait(30)
    assert [call.state for call in run.calls] == ["ran"] * 16 + ["not_run"] * 2
    assert sorted(counter.calls) == list(range(16))


def test_a_failing_round_is_repeated_without_its_calls(registry: SessionRegistry, counter: Counter) -> None:
    """A later round is retried before its first content. No call is executed again."""
    failures = iter([ProviderUnavailable("busy", retryable=0.001)])

    def script(request: Request) -> Script:
        if not results_in(request):
            return [ToolCallDelta(0, "c", "pay", '{"amount": 3}'), Finish("tool_calls")]
        failure = next(failures, None)
        return [failure] if failure is not None else ["Paid.", Finish("stop")]

    session = registry.create(
        provider=ScriptedProvider(script, finish=None), tools=[pay_with(counter, ask=False)]
    )
    run = session.send("Pay.").wait(30)
    assert (run.state, run.text, counter.calls) == ("completed", "Paid.", [3])
    assert [part.type for part in run.message.parts] == ["tool_call", "tool_result", "text"]


def test_a_failed_later_round_interrupts(registry: SessionRegistry, counter: Counter) -> None:
    """A run that fails after a call was run is interrupted and keeps the call and its result."""

    def script(request: Request) -> Script:
        if results_in(request):
            return [ProviderUnavailable("gone", retryable=False)]
        return [ToolCallDelta(0, "c", "pay", '{"amount": 3}'), Finish("tool_calls")]

    session = registry.create(
        provider=ScriptedProvider(script, finish=None), tools=[pay_with(counter, ask=False)]
    )
    run = session.send("Pay.").wait(30)
    assert (run.state, [call.state for call in run.calls], counter.calls) == ("interrupted", ["ran"], [3])


def test_a_later_round_is_not_repeated_after_content(registry: SessionRegistry, counter: Counter) -> None:
    """A later round that fails after content is not sent again: the run is interrupted and keeps its text."""

    def script(request: Request) -> Script:
        if results_in(request):
            return ["Pa", ProviderUnavailable("gone", retryable=0.001)]
        return [ToolCallDelta(0, "c", "pay", '{"amount": 3}'), Finish("tool_calls")]

    provider = ScriptedProvider(script, finish=None)
    session = registry.create(provider=provider, tools=[pay_with(counter, ask=False)])
    run = session.send("Pay.").wait(30)
    assert (run.state, run.text, counter.calls, len(provider.requests)) == ("interrupted", "Pa", [3], 2)


@pytest.mark.parametrize("kind", ["retry", "continue_", "regenerate"])
def test_nothing_is_executed_again(registry: SessionRegistry, counter: Counter, kind: str) -> None:
    """Retry, continue and regenerate execute no earlier call; new calls ask again."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    run.stop()
    run.wait(30)
    again: Run = getattr(session, kind)()
    wait_for(lambda: again.is_over or again.state == "awaiting_approval", "it asks or ends")
    assert counter.calls == []
    again.stop()
    again.wait(30)
    assert counter.calls == []


# Arguments and results


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ('{"amount": "many"}', "amount: Input should be a valid integer"),
        ("{}", "amount: Field required"),
        ('{"amount": 1, "to": "me"}', "to: Extra inputs are not permitted"),
        ('{"amount": 1, "amount": 2}', "the key 'amount' twice"),
        ('{"amount": 1', "not valid JSON"),
        ("[1]", "must be a JSON object"),
        (json.dumps({"amount": "9" * 100_001}), "bytes; 100,000 are allowed"),
    ],
)
def test_invalid_arguments_are_a_result_for_the_model(
    registry: SessionRegistry, counter: Counter, arguments: str, problem: str
) -> None:
    """A call with invalid arguments is not run and does not ask; the model gets the reason."""
    provider = calling(("pay", arguments))
    session = watched(registry, provider, pay_with(counter))
    run = session.send("Pay.").wait(30)
    assert run.state == "completed"
    assert problem in run.text
    assert (counter.calls, [call.state for call in run.calls]) == ([], ["not_run"])


def test_an_unknown_tool_is_a_result_for_the_model(registry: SessionRegistry, counter: Counter) -> None:
    """A call of a tool that is not switched on is not run; the model gets the names of those that are."""
    session = registry.create(provider=calling(("steal", "{}")), tools=[pay_with(counter)])
    assert "no tool 'steal'. The tools are: pay" in session.ask("?", timeout=30).text


def test_calls_without_or_with_equal_ids_are_told_apart(registry: SessionRegistry, counter: Counter) -> None:
    """Missing and repeated ids get new ones, so that each call has its own decision and result."""
    deltas = [ToolCallDelta(at, "", "pay", f'{{"amount": {at}}}') for at in range(2)]
    deltas += [ToolCallDelta(at, "same", "pay", f'{{"amount": {at}}}') for at in range(2, 4)]

    def script(request: Request) -> Script:
        return ["Done.", Finish("stop")] if results_in(request) else [*deltas, Finish("stop")]

    session = watched(registry, ScriptedProvider(script, finish=None), pay_with(counter))
    run = session.send("Pay.")
    calls = until_asking(run, 4)
    assert len({call.id for call in calls}) == 4
    run.approve(calls[2].id)
    wait_for(lambda: counter.calls == [2], "one call ran")
    run.refuse()
    run.wait(30)
    assert counter.calls == [2]


def raises() -> None:
    """Raise an error with a secret."""
    raise ValueError("bad key sk-abcdefghijklmnop1234")


def exits() -> None:
    """End the process."""
    sys.exit(3)


def recurses() -> None:
    """Call itself."""
    recurses()


def huge() -> str:
    """Return 200 MB."""
    return "x" * 200_000_000


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (raises, "ValueError: bad key [redacted]"),
        (exits, "SystemExit: 3"),
        (recurses, "RecursionError"),
        (huge, "characters are omitted]"),
    ],
)
def test_a_tool_that_fails_has_an_error_as_its_result(
    registry: SessionRegistry, function: Callable[[], Any], expected: str
) -> None:
    """Whatever a tool does, its call has a result of limited size without secrets, and the run continues."""
    tool = nbchat.tool(ask=False)(function)
    session = registry.create(provider=calling((function.__name__, "{}")), tools=[tool])
    run = session.send("?").wait(60)
    assert run.state == "completed"
    (call,) = run.calls
    assert call.result is not None
    assert expected in call.result.text
    assert len(call.result.text) < MAX_RESULT + 200


class Dot:
    """A value with a picture."""

    def _repr_png_(self) -> bytes:
        return b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
        )


def test_results_do_not_count_as_the_answer(registry: SessionRegistry) -> None:
    """Text and pictures of results do not use up the characters that an answer may have."""
    registry.limits.answer_chars = 60

    @nbchat.tool(ask=False)
    def draw() -> Dot:
        """Draw a dot."""
        return Dot()

    @nbchat.tool(ask=False)
    def read() -> str:
        """Read a text."""
        return "x" * 1000

    def script(request: Request) -> Script:
        if results_in(request):
            return ["y" * 30, Finish("stop")]
        return ["z" * 20, ToolCallDelta(0, "a", "draw"), ToolCallDelta(1, "b", "read"), Finish("tool_calls")]

    session = registry.create(provider=ScriptedProvider(script, finish=None), tools=[draw, read])
    run = session.send("?").wait(30)
    assert (run.state, run.text) == ("completed", "z" * 20 + "y" * 30)
    assert [len(call.result.images) for call in run.calls if call.result is not None] == [1, 0]
    registry.limits.answer_chars = 49  # the text of all rounds counts
    longer = session.send("?").wait(30)
    assert (longer.state, longer.text) == ("interrupted", "z" * 20 + "y" * 29)
    assert longer.error is not None
    assert longer.error.partial_chars == 49


def test_a_call_whose_approval_is_not_stored_is_not_run(registry: SessionRegistry, counter: Counter) -> None:
    """If the journal refuses an approval, the call is not executed, and is shown as not run."""
    store = FailingStore()
    engine_of(registry).loop.call(engine_of(registry).open_journal, store)
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    store.broken = StoreFull("full")
    run.approve()
    assert "could not be recorded" in run.result(60).text
    assert (counter.calls, [call.state for call in run.calls]) == ([], ["not_run"])
    store.broken = None


def test_a_tool_that_does_not_return_is_abandoned(registry: SessionRegistry, counter: Counter) -> None:
    """After its time limit a call is an error, and the run and other sessions continue."""

    @nbchat.tool(ask=False, timeout_s=0.05)
    def wait() -> None:
        counter.go.wait()

    session = registry.create(provider=calling(("wait", "{}")), tools=[wait])
    run = session.send("?")
    assert registry.create(provider=ScriptedProvider("Hello.")).ask("?", timeout=30).text == "Hello."
    assert "did not end within 0.05 s" in run.result(30).text


def test_a_coroutine_tool_has_its_own_loop(registry: SessionRegistry) -> None:
    """An async function is awaited on its own thread and loop."""

    @nbchat.tool(ask=False)
    async def name() -> str:
        return threading.current_thread().name

    session = registry.create(provider=calling(("name", "{}")), tools=[name])
    assert session.ask("?", timeout=30).text.endswith("nbchat-tool-name")


def test_calls_of_harmless_tools_run_side_by_side(registry: SessionRegistry) -> None:
    """Calls of one round are executed at the same time, if they do not need the main thread."""
    meeting = threading.Barrier(4, timeout=30)

    @nbchat.tool(ask=False)
    def meet() -> int:
        return meeting.wait()

    session = registry.create(provider=calling(*[("meet", "{}")] * 4), tools=[meet])
    run = session.send("?").wait(60)
    found = sorted(call.result.text for call in run.calls if call.result is not None)
    assert found == ["0", "1", "2", "3"]


# Stopping, pausing, slots


def test_stop_while_asking_executes_nothing(registry: SessionRegistry, counter: Counter) -> None:
    """A run that is stopped while it asks is stopped, and an approval afterwards is refused."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    (call,) = until_asking(run)
    assert run.stop()
    with pytest.raises(NothingToDo):
        decide(session, run, call, "run")
    assert run.wait(30).state == "stopped"
    assert (counter.calls, [call.state for call in run.calls]) == ([], ["not_run"])


def test_stop_while_acting_leaves_the_call_unknown(registry: SessionRegistry, counter: Counter) -> None:
    """A run is stopped although its tool does not return; no further call and no further request follow."""

    @nbchat.tool(ask=False)
    def block() -> None:
        counter.started.set()
        counter.go.wait()

    provider = calling(("block", "{}"))
    session = registry.create(provider=provider, tools=[block])
    run = session.send("?")
    assert counter.started.wait(30)
    run.stop()
    assert run.wait(30).state == "stopped"
    assert [call.state for call in run.calls] == ["unknown"]
    counter.go.set()
    assert session.send("And?").wait(30).is_over
    assert [call.state for call in run.calls] == ["unknown"]
    sent = provider.requests[1].messages[1]
    assert [part.type for part in sent.parts] == ["text", "tool_call"]


def test_a_run_that_waits_for_calls_is_not_paused(registry: SessionRegistry, counter: Counter) -> None:
    """Pause is refused while nothing is read; `pause_all` leaves such runs alone."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    with pytest.raises(RunNotLive):
        run.pause()
    assert registry.pause_all() == []
    run.approve()
    assert run.wait(30).state == "completed"


def without_a_slot(registry: SessionRegistry, counter: Counter) -> tuple[Session, Run, ScriptedProvider, Run]:
    """Return a session whose run has a result and waits for the slot of another run, and that run."""
    registry.limits.live_runs = 1
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    provider = ScriptedProvider("a", PAUSE, "b")
    other = registry.create(provider=provider).send("?")
    provider.wait_paused()
    run.approve()
    wait_for(lambda: [call.state for call in run.calls] == ["ran"], "it has its result")
    return session, run, provider, other


def test_a_run_that_asks_gives_its_slot_back(registry: SessionRegistry, counter: Counter) -> None:
    """While a run waits for approval another one can run; afterwards it waits for a slot."""
    session, run, provider, other = without_a_slot(registry, counter)
    assert counter.calls == [3]
    assert len(live(session).provider.requests) == 1  # type: ignore[union-attr]
    provider.go()
    assert other.wait(30).state == "completed"
    assert run.wait(30).state == "completed"


def test_a_run_is_stopped_while_it_waits_for_a_slot(registry: SessionRegistry, counter: Counter) -> None:
    """A run that is stopped before its next round leaves the queue, and takes no slot with it."""
    session, run, provider, other = without_a_slot(registry, counter)
    run.stop()
    assert run.wait(30).state == "stopped"
    provider.go()
    other.wait(30)
    assert session.send("Pay.").stop()
    session.wait(30)
    assert engine_of(registry).loop.call(lambda: engine_of(registry).scheduler.live) == 0


@pytest.mark.parametrize("is_policy", [False, True], ids=["tool", "policy"])
def test_a_run_that_decides_and_acts_gives_its_slot_back(
    registry: SessionRegistry, counter: Counter, *, is_policy: bool
) -> None:
    """A policy or a tool that asks another session gets its answer also where only one run may be live."""
    registry.limits.live_runs = 1
    judge = registry.create(provider=ScriptedProvider("yes"))

    @nbchat.tool(ask=is_policy)
    def pay(amount: int) -> str:
        counter.calls.append(amount)
        return "paid" if is_policy else judge.ask("May it?").text

    session = registry.create(provider=calling(("pay", '{"amount": 3}')), tools=[pay])
    if is_policy:
        session.approve = lambda _call: judge.ask("May it?").text == "yes"
    run = session.send("Pay.").wait(30)
    assert run.text.endswith("paid" if is_policy else "yes")
    assert (len(judge.messages), counter.calls) == (2, [3])
    assert engine_of(registry).loop.call(lambda: engine_of(registry).scheduler.live) == 0


def test_a_policy_that_does_not_return_has_not_decided(
    registry: SessionRegistry, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy has `limits.tool_s` for a call; then the call asks, whatever the policy returns later."""
    registry.limits.tool_s = 0.05
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    returned = threading.Event()

    def wait(_call: ToolCall) -> bool:
        counter.started.set()
        counter.go.wait()
        returned.set()
        return True

    session.approve = wait
    with caplog.at_level("WARNING", logger="nbchat"):
        run = session.send("Pay.")
        until_asking(run)
    assert [text for text in caplog.messages if "did not return within limits.tool_s" in text]
    registry.limits.tool_s = 60
    assert counter.started.wait(30)
    counter.go.set()
    assert returned.wait(30)
    engine_of(registry).loop.call(lambda: None)
    assert (run.state, counter.calls) == ("awaiting_approval", [])
    run.approve()
    assert run.wait(30).state == "completed"
    assert counter.calls == [3]


def test_a_run_is_stopped_during_its_policy(registry: SessionRegistry, counter: Counter) -> None:
    """Stop ends a run whose policy has not returned, and nothing is executed when it approves later."""
    registry.limits.live_runs = 1
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    returned = threading.Event()

    def wait(_call: ToolCall) -> bool:
        counter.started.set()
        counter.go.wait()
        returned.set()
        return True

    session.approve = wait
    run = session.send("Pay.")
    assert counter.started.wait(30)
    run.stop()
    assert run.wait(30).state == "stopped"
    assert engine_of(registry).loop.call(lambda: engine_of(registry).scheduler.live) == 0
    counter.go.set()
    assert returned.wait(30)
    engine_of(registry).loop.call(lambda: None)
    assert ([call.state for call in run.calls], counter.calls) == (["not_run"], [])


def test_policies_that_wait_leave_threads_to_the_runs(registry: SessionRegistry, counter: Counter) -> None:
    """Policies that wait for something occupy no thread that runs need, however many they are."""
    registry.limits.live_runs = 2 * MAX_THREADS
    all_wait = threading.Semaphore(0)

    def wait(_call: ToolCall) -> bool:
        all_wait.release()
        counter.go.wait()
        return True

    runs = []
    for _ in range(MAX_THREADS):
        session = registry.create(provider=calling(("pay", '{"amount": 3}')), tools=[pay_with(counter)])
        session.approve = wait
        runs.append(session.send("Pay."))
    for _ in runs:
        assert all_wait.acquire(timeout=30)
    other = registry.create(provider=calling(("pay", '{"amount": 4}')), tools=[pay_with(counter, ask=False)])
    assert other.send("Pay.").wait(30).state == "completed"
    assert counter.calls == [4]
    counter.go.set()
    assert {run.wait(30).state for run in runs} == {"completed"}


def test_no_clock_runs_while_a_run_asks(registry: SessionRegistry, counter: Counter) -> None:
    """A run that waits for approval is neither silent nor too slow."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    run = session.send("Pay.")
    until_asking(run)
    assert registry.cleanup_stale(max_idle_s=0) == []

    def deadlines() -> object:
        held = live(session).live
        assert held is not None
        return held.clock._deadlines(), held.clock.waiting

    assert engine_of(registry).loop.call(deadlines) == ([], None)
    run.approve()
    assert run.wait(30).state == "completed"


def test_a_server_that_does_not_close_does_not_prevent_calls(
    registry: SessionRegistry, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that stays open after the finish reason is closed, and the calls are run."""
    monkeypatch.setattr("nbchat.engine.deadlines.AFTER_FINISH_S", 0.05)

    def script(request: Request) -> Script:
        if results_in(request):
            return ["Paid.", Finish("stop")]
        return [ToolCallDelta(0, "c", "pay", '{"amount": 3}'), Finish("tool_calls"), HANG]

    session = registry.create(
        provider=ScriptedProvider(script, finish=None), tools=[pay_with(counter, ask=False)]
    )
    run = session.send("Pay.").wait(30)
    assert (run.state, run.text, counter.calls) == ("completed", "Paid.", [3])


# Tools that use nbchat


def test_a_tool_asks_another_session(registry: SessionRegistry) -> None:
    """A tool may ask another session and wait for its answer."""
    other = registry.create(provider=ScriptedProvider("From the other one."))

    @nbchat.tool(ask=False)
    def consult() -> str:
        return other.ask("?").text

    session = registry.create(provider=calling(("consult", "{}")), tools=[consult])
    assert session.ask("?", timeout=30).text.endswith("From the other one.")


def test_a_tool_that_would_wait_for_itself_is_refused(registry: SessionRegistry) -> None:
    """A tool that asks its own session gets `WouldDeadlock`, and the run continues."""
    raised: list[type] = []

    @nbchat.tool(ask=False)
    def recurse() -> str:
        try:
            return session.ask("?").text
        except WouldDeadlock as error:
            raised.append(type(error))
            raise

    session = registry.create(provider=calling(("recurse", "{}")), tools=[recurse])
    assert session.send("?").wait(30).state == "completed"
    assert raised == [WouldDeadlock]


def test_a_policy_that_would_wait_for_its_own_run_is_refused(
    registry: SessionRegistry, counter: Counter
) -> None:
    """A policy that asks its own session gets `WouldDeadlock`, and has not decided."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    raised: list[type] = []

    def consult(_call: ToolCall) -> bool:
        try:
            return session.ask("May it?").text == "yes"
        except WouldDeadlock as error:
            raised.append(type(error))
            raise

    session.approve = consult
    run = session.send("Pay.")
    until_asking(run)
    assert (raised, counter.calls) == ([WouldDeadlock], [])
    run.refuse()
    assert run.wait(30).state == "completed"


def test_a_wait_executes_calls_for_the_main_thread(registry: SessionRegistry) -> None:
    """While the main thread waits for an answer, that wait executes tools that need the main thread."""

    @nbchat.tool(ask=False, thread="main")
    def where() -> str:
        return str(threading.current_thread() is threading.main_thread())

    session = registry.create(provider=calling(("where", "{}"), ("where", "{}")), tools=[where])
    assert session.ask("?", timeout=30).text.endswith("True | True")
    assert "".join(session.send("?")).endswith("True | True")


def test_a_main_thread_call_that_was_stopped_does_not_start(registry: SessionRegistry) -> None:
    """A call that waits for the main thread is not started after its run was stopped."""
    started: list[int] = []

    @nbchat.tool(ask=False, thread="main")
    def late() -> None:
        started.append(1)

    session = registry.create(provider=calling(("late", "{}")), tools=[late])
    run = session.send("?")
    wait_for(lambda: run.state == "acting", "the run acts")
    run.stop()
    assert run.wait(30).state == "stopped"
    assert registry.create(provider=ScriptedProvider("Hello.")).ask("?", timeout=30).text == "Hello."
    assert started == []


def test_a_main_thread_call_does_not_wait_forever(registry: SessionRegistry) -> None:
    """A call for a main thread that executes no calls ends with an error after its time limit."""
    started: list[int] = []

    @nbchat.tool(ask=False, thread="main", timeout_s=0.05)
    def late() -> None:
        started.append(1)

    session = registry.create(provider=calling(("late", "{}")), tools=[late])
    run = session.send("?")
    wait_for(lambda: run.is_over, "the run has ended")  # this does not wait in nbchat
    assert (run.state, [call.state for call in run.calls]) == ("completed", ["not_run"])
    assert "it needs the main thread" in run.text
    assert registry.create(provider=ScriptedProvider("Hello.")).ask("?", timeout=30).text == "Hello."
    assert started == []


class AbortingShell:
    """A kernel whose queue was cleared by an error in a cell."""

    def __init__(self) -> None:
        self.requests = 0

    def request(self, job: Job) -> bool:
        """Fail, as `KernelShell` does after the reply `aborted`."""
        self.requests += 1
        threading.Thread(target=job.fail, args=("The call was not run: the queue was cleared.",)).start()
        return True

    def run_code(self, code: str) -> CodeOutput:
        """Return nothing."""
        return CodeOutput(text=code)

    def namespace(self) -> dict[str, object]:
        """Return no variables."""
        return {}


def test_an_aborted_request_is_not_sent_again(registry: SessionRegistry) -> None:
    """A call whose request the kernel aborted is shown as not run, and no other request follows."""
    started: list[int] = []

    @nbchat.tool(ask=False, thread="main")
    def late() -> None:
        started.append(1)

    shell = AbortingShell()
    main_thread.attach(shell)
    try:
        session = registry.create(provider=calling(("late", "{}")), tools=[late])
        run = session.send("?")
        wait_for(lambda: run.is_over, "the run has ended")
        assert (run.state, [call.state for call in run.calls]) == ("completed", ["not_run"])
        assert "the queue was cleared" in run.text
        assert registry.create(provider=ScriptedProvider("Hello.")).ask("?", timeout=30).text == "Hello."
        assert (shell.requests, started) == (1, [])
    finally:
        main_thread.attach(None)


class CountingShell(AbortingShell):
    """A kernel that accepts requests."""

    def request(self, job: Job) -> bool:
        """Count the request."""
        self.requests += 1
        return job.state == "waiting"


def test_a_suspended_iterator_does_not_count_as_a_wait(registry: SessionRegistry) -> None:
    """While an iterator of a run is suspended, the kernel gets a request for a call on the main thread."""

    def submitted() -> Job:
        job = Job(lambda: False, lambda: None, lambda _reason: None)
        main_thread.submit(job)
        return job

    async def requests_beside(run: Run) -> int:
        deltas = run.__aiter__()
        assert await anext(deltas) == "Hel"
        jobs.append(submitted())
        return shell.requests

    def paused() -> Run:
        return registry.create(provider=ScriptedProvider("Hel", PAUSE, "lo.")).send("?")

    jobs: list[Job] = []
    shell = CountingShell()
    main_thread.attach(shell)
    try:
        deltas = iter(paused())
        assert next(deltas) == "Hel"
        jobs.append(submitted())
        assert shell.requests == 1
        assert asyncio.run(requests_beside(paused())) == 2
        assert [job.is_queued for job in jobs] == [True, True]
    finally:
        main_thread.attach(None)
        main_thread.run_pending()


def test_the_timeout_of_ask_ends_a_call_on_the_main_thread(
    registry: SessionRegistry, counter: Counter
) -> None:
    """`ask(timeout=…)` stops its run in time, also while it executes a call of that run."""
    ended: list[int] = []

    @nbchat.tool(ask=False, thread="main")
    def long() -> None:
        counter.go.wait(60)
        ended.append(1)

    session = registry.create(provider=calling(("long", "{}")), tools=[long])
    with pytest.raises(TimeoutError, match="the run was stopped"):
        session.ask("?", timeout=1)
    assert session.wait(30).runs[-1].state == "stopped"
    assert ended == []


def test_python_runs_in_the_main_module_of_a_script(registry: SessionRegistry) -> None:
    """In a script, approved code runs in the main module while the main thread waits."""
    code = "value_of_tool = 40 + 2\nprint('printed')\nvalue_of_tool"
    session = registry.create(
        provider=calling(("python", json.dumps({"code": code}))), tools=[nbchat.tools.python]
    )
    session.approve = lambda _call: True
    main = sys.modules["__main__"]
    try:
        answer = session.ask("?", timeout=30).text
        assert answer.endswith("printed\n42\n\n[bound: value_of_tool]")
    finally:
        vars(main).pop("value_of_tool", None)


# Switching tools on


def test_tools_are_off_by_default(registry: SessionRegistry) -> None:
    """Without tools, a request names none, and calls of the model are only shown."""
    provider = calling(("pay", '{"amount": 3}'))
    session = registry.create(provider=provider)
    run = session.send("Pay.").wait(30)
    assert (session.tools, provider.requests[0].tools) == ((), ())
    assert (run.state, len(provider.requests), [call.state for call in run.calls]) == (
        "completed",
        1,
        ["not_run"],
    )


def test_tools_are_never_saved(registry: SessionRegistry, counter: Counter) -> None:
    """A snapshot has no tools and no policy, and a restored session has none."""
    session = watched(registry, calling(("pay", '{"amount": 3}')), pay_with(counter))
    session.approve = lambda _call: True
    session.ask("Pay.", timeout=30)
    saved = json.dumps(registry.snapshot())
    session.delete()
    other = nbchat.SessionRegistry()
    try:
        (restored,) = other.restore(saved)
        assert (restored.tools, restored.approve) == ((), None)
        assert [call.state for call in restored.runs[0].calls] == ["ran"]
    finally:
        other.shutdown()


@pytest.mark.parametrize("wrong", [raises, [raises], [{"type": "function"}], "pay", 3])
def test_only_tools_can_be_switched_on(registry: SessionRegistry, wrong: Any) -> None:
    """Anything but a list of decorated functions is refused with a hint."""
    with pytest.raises(TypeError, match="tools must"):
        registry.create(tools=wrong)


def test_two_tools_of_one_name_are_refused(registry: SessionRegistry, counter: Counter) -> None:
    """Two tools with one name are refused, since names of tools must be unique."""
    with pytest.raises(ValueError, match="two tools have the name 'pay'"):
        registry.create(tools=[pay_with(counter), pay_with(counter)])


# A real server


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_server_calls_tools_in_rounds(registry: SessionRegistry, api: str) -> None:
    """Over both APIs, the demo server calls a tool and quotes its result in the same run."""

    @nbchat.tool(ask=False)
    def rate(currency: str) -> float:
        """Return the Euro exchange rate."""
        return {"USD": 1.08, "GBP": 0.86}[currency]

    server = DemoServer(pace=0)
    loop = kernel_engine_of(registry).loop
    provider = OpenAIProvider(loop.run(server.start(), 10), "any", api=api)  # type: ignore[arg-type]
    try:
        session = registry.create(provider=provider, model="nbchat-tools", tools=[rate])
        run = session.send('Please:\ncall rate {"currency": "USD"}\ncall rate {"currency": "GBP"}')
        assert run.wait(60).state == "completed", run.error
        assert run.text.endswith("The tools returned:\n\nrate: 1.08\nrate: 0.86\n")
        assert [(call.name, call.state) for call in run.calls] == [("rate", "ran")] * 2
        again = session.send('call rate {"currency": "EUR"}').wait(60)
        assert "KeyError: 'EUR'" in again.text
    finally:
        loop.run(provider.aclose(), 10)
        loop.run(server.close(), 10)


# Switching tools in the page


def test_a_tool_that_is_switched_off_is_not_offered(registry: SessionRegistry, counter: Counter) -> None:
    """A page can switch off a tool that code has set, and on again; it cannot add one."""
    provider = calling(("pay", '{"amount":1}'))
    session = watched(registry, provider, pay_with(counter, ask=False))

    def switch(name: str, *, on: bool) -> None:
        session._backend.execute(SwitchTool(id=new_id("c-"), session_id=session.id, name=name, on=on))

    switch("pay", on=False)
    assert session.tools == ()
    session.send("Pay.").wait(30)
    assert provider.requests[-1].tools == ()
    assert counter.calls == []
    switch("pay", on=True)
    session.send("Pay.").wait(30)
    assert counter.calls == [1]
    with pytest.raises(NothingToDo, match="no tool 'steal'"):
        switch("steal", on=True)


def test_heads_name_the_tools_of_a_session(registry: SessionRegistry, counter: Counter) -> None:
    """Pages get the names of a session's tools, with those that are switched off."""
    session = registry.create(tools=[pay_with(counter)])
    engine = engine_of_session(session)
    assert engine.loop.call(head_of, live(session)).tools == (HeadTool(name="pay", on=True),)
    engine.loop.call(live(session).switch_tool, "pay", on=False)
    assert engine.loop.call(head_of, live(session)).tools == (HeadTool(name="pay", on=False),)
    session.tools = ()
    assert engine.loop.call(head_of, live(session)).tools == ()
