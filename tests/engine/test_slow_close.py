"""Servers that close the connection late, or not at all, after the finish reason."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import nbchat
from nbchat.core.errors import StreamBroken
from nbchat.engine import deadlines
from nbchat.providers.base import Finish, Request, TextDelta, ToolCallDelta
from nbchat.providers.scripted import HANG, PAUSE, Script, ScriptedProvider
from tests.engines import engine_of, live
from tests.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nbchat.handles.registry import SessionRegistry
    from nbchat.providers.base import Delta

CALL = ToolCallDelta(0, "c", "pay", '{"amount": 3}')


class Payments:
    """A tool that changes something, and counts its calls."""

    def __init__(self) -> None:
        self.made: list[int] = []

        @nbchat.tool(ask=False)
        def pay(amount: int) -> str:
            """Pay an amount."""
            self.made.append(amount)
            return f"paid {amount}"

        self.tool: Any = pay


@pytest.fixture
def payments() -> Payments:
    """Return a tool that counts its calls."""
    return Payments()


def with_call(*after: Any) -> Any:
    """Return a script that calls the tool, with steps after its finish reason, and then answers."""

    def script(request: Request) -> Script:
        if any(part.type == "tool_result" for part in request.messages[-1].parts):
            return ["Paid.", Finish("stop")]
        return [CALL, Finish("tool_calls"), *after]

    return script


class LateClose(ScriptedProvider):
    """A provider whose first stream ignores being cancelled after its finish reason."""

    def __init__(self, *steps: Any, then: str = "") -> None:
        super().__init__(*steps, finish=None)
        self.task: asyncio.Task[Any] | None = None
        """The task that reads the first stream."""
        self._then = then
        self._may_close = threading.Event()

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Yield the steps of the script; the first stream closes late."""
        is_first = not self.requests
        self.task = self.task or asyncio.current_task()
        async for delta in super().stream(request):
            yield delta
        while is_first and not self._may_close.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        if is_first and self._then:
            yield TextDelta(self._then)

    def close(self) -> None:
        """Let the stream close."""
        self._may_close.set()


@pytest.mark.parametrize("kind", ["plain", "tools", "schema"])
def test_a_run_that_has_ended_does_not_continue_when_its_server_closes(
    registry: SessionRegistry, payments: Payments, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A run whose server does not close is completed without it; nothing follows when it closes later."""
    monkeypatch.setattr(deadlines, "AFTER_FINISH_S", 0.01)
    registry.limits.stop_s = 0.01
    provider = LateClose(with_call() if kind == "tools" else lambda _request: ["No number.", Finish("stop")])
    session = registry.create(provider=provider, tools=[payments.tool] if kind == "tools" else ())
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}} if kind == "schema" else None
    run = session.send("?", schema=schema)
    assert run.wait(30).state == "completed"
    message, calls = run.message, run.calls
    assert [call.state for call in calls] == (["not_run"] if kind == "tools" else [])
    if kind == "tools":
        assert message.notices == ("The calls were not run: the server did not close the connection.",)
    provider.close()
    assert provider.task is not None
    wait_for(provider.task.done, "the connection is closed")
    assert (payments.made, len(provider.requests)) == ([], 1)
    assert (run.state, run.message, run.calls, session.run) == ("completed", message, calls, None)
    scheduler = engine_of(registry).scheduler
    assert engine_of(registry).loop.call(lambda: scheduler.live) == 0


@pytest.mark.parametrize("kind", ["plain", "tools"])
def test_text_after_the_answer_is_complete_is_dropped(
    registry: SessionRegistry, payments: Payments, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """After the time to close, further text of the server is not part of the answer."""
    monkeypatch.setattr(deadlines, "AFTER_FINISH_S", 0.01)
    registry.limits.stop_s = 600
    script = with_call() if kind == "tools" else lambda _request: ["Paid.", Finish("stop")]
    provider = LateClose(script, then=" And more.")
    session = registry.create(provider=provider, tools=[payments.tool])
    run = session.send("?")
    held = wait_for(lambda: live(session).live, "the run is live")
    wait_for(lambda: held._attempts.is_complete, "the stream was cancelled")
    provider.close()
    assert run.wait(30).state == "completed"
    assert (run.text, payments.made) == ("Paid.", [3] if kind == "tools" else [])


def test_an_error_after_the_finish_reason_does_not_prevent_calls(
    registry: SessionRegistry, payments: Payments
) -> None:
    """A connection that breaks after the finish reason ends the round, and its calls are run."""
    provider = ScriptedProvider(with_call(StreamBroken("reset")), finish=None)
    session = registry.create(provider=provider, tools=[payments.tool])
    run = session.send("?").wait(30)
    assert (run.state, run.text, payments.made) == ("completed", "Paid.", [3])


def test_stop_before_the_server_closes_runs_no_call(registry: SessionRegistry, payments: Payments) -> None:
    """A run that is stopped between the finish reason and the calls is stopped, not completed."""
    provider = ScriptedProvider(with_call(PAUSE, HANG), finish=None)
    session = registry.create(provider=provider, tools=[payments.tool])
    run = session.send("?")
    provider.wait_paused()  # the finish reason was read
    run.stop()
    assert run.wait(30).state == "stopped"
    assert (payments.made, [call.state for call in run.calls]) == ([], ["not_run"])


def test_stop_while_paused_after_the_finish_reason_runs_no_call(
    registry: SessionRegistry, payments: Payments
) -> None:
    """A run that is paused before its calls runs them when it is resumed, and none if it is stopped."""
    for resumes in (False, True):
        provider = ScriptedProvider(with_call(PAUSE), finish=None)
        session = registry.create(provider=provider, tools=[payments.tool])
        run = session.send("?")
        provider.wait_paused()
        run.pause()
        provider.go()
        provider.wait_until(lambda self: self.closed == 1)
        engine_of(registry).loop.call(lambda: None)
        assert (run.state, payments.made) == ("paused", [])
        if resumes:
            run.resume()
        else:
            run.stop()
        assert run.wait(30).state == ("completed" if resumes else "stopped")
        assert [call.state for call in run.calls] == ["ran" if resumes else "not_run"]
    assert payments.made == [3]
