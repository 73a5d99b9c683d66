"""OpenTelemetry spans of runs: one for each run that sent a request, without its contents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import nbchat
from nbchat.core.errors import ConnectFailed, ProviderError
from nbchat.core.messages import Usage
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import ToolCallDelta, UsageDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import PAUSE, ScriptedProvider, Step
from tests.backends import over_a_link
from tests.batch.limited_server import LimitedServer
from tests.engine.conftest import ended_in_good_order
from tests.engines import kernel_engine_of
from tests.waiting import wait_for

Ended = Callable[[int], Sequence[ReadableSpan]]


class Cacheable(ScriptedProvider):
    """A scripted provider whose answers may be cached."""

    cache_scope = "scripted"


@pytest.fixture
def tracers(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """Return what makes the spans of this test."""
    made = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer", made.get_tracer)
    yield made
    made.shutdown()


@pytest.fixture
def ended(tracers: TracerProvider) -> Ended:
    """Return a function that waits for a number of ended spans, and returns all of them."""
    exporter = InMemorySpanExporter()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))

    def spans(number: int) -> Sequence[ReadableSpan]:
        wait_for(lambda: len(exporter.get_finished_spans()) >= number, "the spans", 120)
        return exporter.get_finished_spans()

    return spans


@pytest.fixture(params=["kernel", "runner", "service"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[SessionRegistry]:
    """Return a registry whose engine is in the kernel, in a runner, or in a service."""
    backend = request.param
    with ended_in_good_order(SessionRegistry()) if backend == "kernel" else over_a_link(backend) as made:
        yield made


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def test_a_run_has_one_span(anywhere: SessionRegistry, ended: Ended) -> None:
    """A completed run has a span from its request to its end, with model, tokens and finish reason."""
    usage = UsageDelta(Usage(input_tokens=3, output_tokens=2))
    session = anywhere.create("geo", model="m", provider=ScriptedProvider("The ", "Seine.", usage))
    run = session.send("?").wait(120)
    assert run.state == "completed"
    (span,) = ended(1)
    found = attributes(span)
    assert found.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "m",
        "gen_ai.conversation.id": session.id,
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
        "nbchat.run.state": "completed",
    }
    assert (span.name, span.kind, span.parent) == ("chat m", SpanKind.CLIENT, None)
    assert span.status.status_code is StatusCode.UNSET
    session.ask("again", timeout=120)
    assert len(ended(2)) == 2


@pytest.mark.parametrize(
    ("steps", "finish", "expected"),
    [
        ((ProviderError("the text"),), "stop", ("failed", "provider_error", StatusCode.ERROR)),
        (("a",), None, ("interrupted", "stream_truncated", StatusCode.ERROR)),
        (("a",), "length", ("incomplete", None, StatusCode.UNSET)),
    ],
    ids=["failed", "interrupted", "incomplete"],
)
def test_every_end_ends_the_span(
    registry: SessionRegistry,
    ended: Ended,
    steps: Sequence[Step],
    finish: str | None,
    expected: tuple[str, str | None, StatusCode],
) -> None:
    """The span has the state of the run and, after an error, its class without the message."""
    provider = ScriptedProvider(*steps, finish=finish)
    run = registry.create("geo", model="m", provider=provider).send("?").wait(120)
    (span,) = ended(1)
    found = attributes(span)
    assert (run.state, found.get("error.type"), span.status.status_code) == expected
    assert found["nbchat.run.state"] == run.state
    assert span.status.description is None


def test_a_stopped_run_is_no_error(registry: SessionRegistry, ended: Ended) -> None:
    """A run that the user stops has a span without an error."""
    run = registry.create("geo", model="m", provider=ScriptedProvider("a", PAUSE)).send("?")
    wait_for(lambda: run.text == "a", "the text", 120)
    run.stop()
    assert run.wait(120).state == "stopped"
    (span,) = ended(1)
    assert attributes(span)["nbchat.run.state"] == "stopped"
    assert span.status.status_code is StatusCode.UNSET


def test_the_attempts_and_rounds_of_a_run_share_a_span(registry: SessionRegistry, ended: Ended) -> None:
    """A run that was retried after an error, and then called a tool, has one span without an error."""

    @nbchat.tool(ask=False)
    def level() -> int:
        """Return the water level."""
        return 3

    call = ToolCallDelta(0, "c-1", "level", "{}")
    answers: Iterator[list[Step]] = iter([[ConnectFailed("no.")], [call], ["3 metres."]])
    provider = ScriptedProvider(lambda _request: next(answers))
    session = registry.create("geo", model="m", provider=provider, tools=[level])
    run = session.send("?").wait(120)
    assert (run.state, run.text, len(provider.requests)) == ("completed", "3 metres.", 3)
    (span,) = ended(1)
    assert "error.type" not in attributes(span)
    assert span.status.status_code is StatusCode.UNSET


def test_what_is_not_sent_has_no_span(
    registry: SessionRegistry, ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers from the cache, prompts stopped in the queue and unknown providers have no spans."""
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path / "journals"))
    monkeypatch.setattr("nbchat.engine.run_cache.STORE_S", 120)  # the next question finds the answer
    provider = Cacheable("The Seine.")
    for name, is_cached in (("one", False), ("two", True)):
        run = registry.create(name, model="m", provider=provider).send("?", cache=True).wait(120)
        assert run.from_cache is is_cached
    settings = {"model": "m", "provider": provider, "progress": False, "cache": True}
    assert nbchat.map(["?"], **settings)[0].from_cache  # type: ignore[arg-type]
    assert registry.create("three", model="m", provider="unknown").send("?").wait(120).state == "failed"
    held = registry.create("four", model="m", provider=ScriptedProvider("a", PAUSE))
    first, second = held.send("?"), held.send("??")
    wait_for(lambda: first.text == "a", "the text", 120)
    second.stop()
    first.stop()
    assert [run.wait(120).state for run in (second, first)] == ["stopped", "stopped"]
    states = sorted(attributes(span)["nbchat.run.state"] for span in ended(2))
    assert states == ["completed", "stopped"]


def test_prompts_of_a_batch_have_spans(ended: Ended) -> None:
    """Each prompt of a batch that was sent has a span."""
    nbchat.map(["a", "b", "c"], model="m", provider=ScriptedProvider("The Seine."), progress=False)
    assert {span.name for span in ended(3)} == {"chat m"}
    assert len(ended(3)) == 3


def test_spans_have_no_text_titles_and_keys(anywhere: SessionRegistry, ended: Ended) -> None:
    """Questions, answers, errors, instructions, titles, parameters and keys are in no span."""
    hidden = [f"canary-{name}" for name in ("title", "question", "instructions", "key", "header", "error")]
    title, question, instructions, key, header, error = hidden
    with LimitedServer() as server:
        provider = OpenAIProvider(server.base_url, key)
        session = anywhere.create(title, model="m", provider=provider, instructions=instructions)
        run = session.send(question, params={"extra_headers": {"X-Team": header}, "user": "canary-user"})
        assert run.wait(120).text == question.upper()
        other = anywhere.create("other", model="m", provider=ScriptedProvider(ProviderError(error)))
        assert error in str(other.send("?").wait(120).error)
        kernel_engine_of(anywhere).loop.run(provider.aclose())
    spans = ended(2)
    assert {attributes(span)["gen_ai.provider.name"] for span in spans} == {"openai", "scripted"}
    for span in spans:
        assert "canary" not in span.to_json().lower()


def test_a_span_has_no_parent(registry: SessionRegistry, ended: Ended, tracers: TracerProvider) -> None:
    """A span does not belong to a span of the code that asked, which a queued run could take from another."""
    with tracers.get_tracer("cell").start_as_current_span("cell"):
        registry.create("geo", model="m", provider=ScriptedProvider("a")).ask("?", timeout=120)
    assert {span.name: span.parent for span in ended(2)} == {"chat m": None, "cell": None}


class Broken(SpanProcessor):
    """Raises whenever a span starts or ends."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_start(self, *_: object, **_more: object) -> None:
        """Raise."""
        self.calls.append("start")
        raise OSError("on_start")

    def on_end(self, *_: object) -> None:
        """Raise."""
        self.calls.append("end")
        raise OSError("on_end")


class BrokenAtTheEnd(Broken):
    """Raises whenever a span ends."""

    def on_start(self, *_: object, **_more: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize("kind", [Broken, BrokenAtTheEnd])
def test_a_broken_exporter_does_not_harm_a_run(
    registry: SessionRegistry, tracers: TracerProvider, kind: type[Broken]
) -> None:
    """A run completes although the part that takes its span raises."""
    broken = kind()
    tracers.add_span_processor(broken)
    answer = registry.create("geo", model="m", provider=ScriptedProvider("a")).ask("?", timeout=120)
    assert answer.text == "a"
    wait_for(lambda: broken.calls, "the call that raises", 120)


def test_without_opentelemetry_nothing_is_imported() -> None:
    """A process that has not imported OpenTelemetry, or does not have it, answers without it."""
    ask = "import nbchat; assert nbchat.ask('b', model='nbchat-echo').text == 'b'; "
    found = "print([name for name in sys.modules if name.startswith('opentelemetry') and sys.modules[name]])"
    for missing in ("", "sys.modules['opentelemetry'] = sys.modules['opentelemetry.trace'] = None; "):
        code = f"import sys; {missing}{ask}{found}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"
