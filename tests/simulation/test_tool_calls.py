"""Tool calls in random stories: a call is executed at most once, and never without its matching decision.

Hypothesis chooses the steps: questions whose answers call tools, decisions with the right arguments, with
other arguments and with the epoch of another kernel, ends of calls, stops, retries and crashes. The machine
keeps its own record of what the user approved.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nbchat.core.calls import calls_of
from nbchat.core.errors import NbchatError
from nbchat.core.ids import new_id
from nbchat.core.text import checksum
from nbchat.engine import tool_calls, tool_threads
from nbchat.engine.engine import Engine
from nbchat.engine.live_session import LiveSession
from nbchat.engine.tools import ToolOutput
from nbchat.protocol import RunCommand
from nbchat.providers.base import Finish, Request, ToolCallDelta, ToolSpec
from nbchat.providers.scripted import Script, ScriptedProvider
from nbchat.wire.commands import PageCommands
from tests.simulation.world import World

CALLS: list[int] = []
"""Numbers of the calls that were executed, in order."""


KEPT: list[bool] = []
"""Used by the defect in which `run_all` outlives its run."""


class Pay:
    """A tool whose calls have unique numbers."""

    spec = ToolSpec(name="pay", parameters={"type": "object"})
    asks = True
    timeout_s = None
    on_main_thread = False

    def prepare(self, arguments: str) -> Payment:
        """Return the call with its number."""
        return Payment(int(json.loads(arguments)["n"]))


class Payment:
    """One call."""

    def __init__(self, number: int) -> None:
        self.number = number

    def run(self) -> ToolOutput:
        """Record the execution."""
        CALLS.append(self.number)
        return ToolOutput(text="paid")

    def cancel(self) -> None:
        """Do nothing."""


class Payments(RuleBasedStateMachine):
    """A session with one tool, in virtual time and without threads."""

    def __init__(self) -> None:
        super().__init__()
        CALLS.clear()
        KEPT.clear()
        self.number = 0
        self.approved: set[int] = set()
        """Numbers of the calls that the user approved."""
        self.approved_runs: set[str] = set()
        """Runs all of whose calls the user approved."""
        self.threads: list[Callable[[], object]] = []
        self.runs: dict[int, str] = {}
        """The run of each call."""
        self.saved: str = ""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(tool_calls, "on_worker", self._on_worker)
        self.patch.setattr(tool_threads, "start_thread", lambda target, _name: self.threads.append(target))
        self.start()

    def start(self) -> None:
        """Start a kernel, which restores what was saved."""
        self.world = World(1, pages=1)
        self.page = self.world.pages[0]
        self.go(1.0)
        engine = self.world.engine
        if self.saved:
            self.world.registry.restore(self.saved)
        else:
            self.world.registry.create("payments")
        self.session: LiveSession = next(iter(engine.sessions))
        self.session.provider = ScriptedProvider(self.script, finish=None)
        self.session.tools = (Pay(),)

    async def _on_worker(self, function: Callable[..., Any], *args: object) -> Any:
        return function(*args)

    def script(self, request: Request) -> Script:
        """Call the tool once or twice in each of two rounds."""
        results = sum(part.type == "tool_result" for part in request.messages[-1].parts)
        if results >= 3:
            return ["Done.", Finish("stop")]
        deltas = []
        for at in range(1 if results else 2):
            self.number += 1
            self.runs[self.number] = request.run_id
            deltas.append(ToolCallDelta(at, f"c{self.number}", "pay", json.dumps({"n": self.number})))
        return [*deltas, Finish("tool_calls")]

    def go(self, seconds: float = 0.2) -> None:
        """Let virtual time pass."""

        async def turn() -> None:
            import asyncio  # noqa: PLC0415 - of the loop that runs it

            await asyncio.sleep(seconds)

        self.world.loop.run_until_complete(turn())

    def asking(self) -> list[Any]:
        """Return the calls that wait, as a page shows them."""
        live = self.session.state.live
        if live is None:
            return []
        answer = self.session.state.messages.get(live.message_id)
        return [] if answer is None else [c for c in calls_of(answer, live) if c.state == "asking"]

    @rule()
    def ask(self) -> None:
        """Ask a question whose answer calls the tool."""
        if self.session.state.live is None:
            self.session.send("Pay.")
            self.go()

    @rule(
        which=st.integers(0, 3),
        decision=st.sampled_from(["run", "run_all", "refuse"]),
        how=st.sampled_from(["right"] * 4 + ["other arguments", "other epoch"]),
    )
    def decide(self, which: int, decision: str, how: str) -> None:
        """Decide on a call in the page, perhaps on one that a page of another kernel showed."""
        calls = self.asking()
        live = self.session.state.live
        if not calls or live is None:
            return
        call = calls[which % len(calls)]
        number = int(json.loads(call.text)["n"])
        if how == "right" and decision == "run":
            self.approved.add(number)
        elif how == "right" and decision == "run_all":
            self.approved_runs.add(live.id)
        self.world.wire.receive(
            {
                "type": "run_command",
                "page": self.page.id,
                "epoch": "k-of-another-kernel" if how == "other epoch" else self.world.engine.epoch,
                "command": {
                    "type": "decide",
                    "id": new_id("c-"),
                    "session_id": self.session.id,
                    "run_id": live.id,
                    "call_id": call.id,
                    "decision": decision,
                    "shown": checksum('{"n": 0}' if how == "other arguments" else call.text),
                },
            }
        )
        self.go()

    @rule(all_of_them=st.booleans())
    def execute(self, all_of_them: bool) -> None:
        """Let threads that were started run, also after their run was stopped."""
        while self.threads:
            self.threads.pop()()
            self.go()
            if not all_of_them:
                break

    @rule(what=st.sampled_from(["stop", "crash", "retry", "regenerate", "continue_", "resume"]))
    def disturb(self, what: str) -> None:
        """Stop the run, kill the kernel with its threads, or ask again for the last answer."""
        if what == "crash":
            self.saved = json.dumps(self.world.registry.snapshot())
            self.threads.clear()
            self.end()
            self.start()
        else:
            with suppress(NbchatError):
                getattr(self.session, what)()
            self.go(1.0)

    def end(self) -> None:
        """End the loop of a killed kernel."""

        async def nothing() -> None:
            """Do nothing."""

        self.world.run(nothing())

    @invariant()
    def each_call_is_executed_once_with_its_decision(self) -> None:
        """No call is executed twice, and none without a decision on it or on all calls of its run."""
        assert len(CALLS) == len(set(CALLS)), f"executed twice: {CALLS}"
        wrong = [n for n in CALLS if n not in self.approved and self.runs[n] not in self.approved_runs]
        assert not wrong, f"executed without a decision: {wrong}"

    @invariant()
    def a_call_that_was_not_run_was_not_executed(self) -> None:
        """No executed call is `asking` or `not_run`."""
        state = self.session.state
        for run in state.runs:
            answer = state.messages.get(run.message_id)
            for call in () if answer is None else calls_of(answer, run):
                number = int(json.loads(call.text)["n"])
                assert call.state != "not_run" or number not in CALLS
                assert call.state != "asking" or number not in CALLS

    def teardown(self) -> None:
        """End the loop."""
        self.end()
        self.patch.undo()


QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def test_a_call_is_executed_once_with_its_decision(*, soak: bool) -> None:
    """In every story, each call is executed at most once, and only with its matching decision."""
    run_state_machine_as_test(
        Payments,
        settings=settings(
            max_examples=1000 if soak else 60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=QUIET,
            derandomize=not soak,
        ),
    )


def _ignore_the_arguments(patch: pytest.MonkeyPatch) -> None:
    decide = tool_calls.ToolCalls.decide

    def wrong(self: tool_calls.ToolCalls, call_id: str, decision: Any, shown: int, reason: str = "") -> None:
        ready = self._asking.get(call_id)
        decide(self, call_id, decision, shown if ready is None else checksum(ready.call.text), reason)

    patch.setattr(tool_calls.ToolCalls, "decide", wrong)


def _ignore_the_epoch(patch: pytest.MonkeyPatch) -> None:
    receive = PageCommands.receive

    def wrong(self: PageCommands, message: RunCommand) -> None:
        receive(self, RunCommand(page=message.page, epoch=self._kernel.epoch, command=message.command))

    patch.setattr(PageCommands, "receive", wrong)


def _replay_at_a_restore(patch: pytest.MonkeyPatch) -> None:
    add = Engine.add_restored

    def wrong(self: Engine, saved: Any) -> LiveSession:
        session = add(self, saved)
        for message in session.state.messages.values():
            for call in calls_of(message, None):
                if call.started_at is not None and call.result is None:
                    Pay().prepare(call.text).run()
        return session

    patch.setattr(Engine, "add_restored", wrong)


def _keep_run_all(patch: pytest.MonkeyPatch) -> None:
    made = tool_calls.ToolCalls.__init__
    decide = tool_calls.ToolCalls.decide

    def init(self: tool_calls.ToolCalls, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self._all_approved = bool(KEPT)

    def wrong(self: tool_calls.ToolCalls, call_id: str, decision: Any, shown: int, reason: str = "") -> None:
        decide(self, call_id, decision, shown, reason)
        KEPT.extend([True] * (decision == "run_all"))

    patch.setattr(tool_calls.ToolCalls, "__init__", init)
    patch.setattr(tool_calls.ToolCalls, "decide", wrong)


@pytest.mark.parametrize(
    "defect", [_ignore_the_arguments, _ignore_the_epoch, _replay_at_a_restore, _keep_run_all]
)
def test_the_machine_finds_defects(
    defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each deliberate defect breaks an invariant in some story."""
    defect(monkeypatch)
    with pytest.raises(AssertionError, match="executed"):
        run_state_machine_as_test(
            Payments,
            settings=settings(
                max_examples=1000,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=QUIET,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                derandomize=True,
                database=None,
            ),
        )
