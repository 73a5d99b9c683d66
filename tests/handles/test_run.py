"""The lifecycle of a run, as its user sees it."""

import asyncio
import time
from typing import Any

import pytest

from nbchat.core import errors
from nbchat.core.messages import ReasoningPart, TextPart, ToolCallPart, Usage
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import Finish, ReasoningDelta, TextDelta, ToolCallDelta, UsageDelta
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engines import drain_callbacks, engine_of, live
from tests.waiting import wait_for


def test_an_answer_arrives(registry: SessionRegistry) -> None:
    """`send` returns at once, `wait` returns the run, and `result` the message."""
    provider = ScriptedProvider("Paris", PAUSE, " is.", UsageDelta(Usage(input_tokens=5, output_tokens=2)))
    geo = registry.create("geo", provider=provider)

    run = geo.send("Capital of France?")
    provider.wait_paused()

    assert run.state == "streaming"
    assert [message.role for message in geo.messages] == ["user", "assistant"]
    provider.go()
    assert run.wait(10) is run
    assert run.result().text == run.text == "Paris is."
    assert repr(run) == f"<Run {run.id} completed, 9 characters>"
    assert run.usage == geo.usage == Usage(input_tokens=5, output_tokens=2)
    assert run.error is None
    assert geo.messages[1].finish_reason == "stop"
    assert geo.messages[1].model == run.model == "scripted"
    assert geo.status == "completed"
    assert geo.run is None


def test_waiting_with_a_limit_leaves_the_run_alone(registry: SessionRegistry) -> None:
    """`wait` raises `TimeoutError` with the next step while the run continues."""
    run = registry.create(provider=ScriptedProvider(HANG)).send("?")

    with pytest.raises(TimeoutError, match="It continues; wait"):
        run.wait(0.05)
    assert run.state in ("queued", "connecting")


@pytest.mark.parametrize(
    ("timeout", "error"), [("5", TypeError), (True, TypeError), (float("nan"), ValueError)]
)
def test_an_invalid_timeout_is_refused_before_anything_is_sent(
    registry: SessionRegistry, timeout: Any, error: type[Exception]
) -> None:
    """An invalid timeout raises, and the question is not sent."""
    session = registry.create(provider=ScriptedProvider("a"))
    with pytest.raises(error, match="timeout must be a number of seconds"):
        session.ask("?", timeout=timeout)
    assert session.messages == session.runs == ()
    run = session.send("?").wait(10)
    for wait in (run.wait, run.result, registry.wait_all):
        with pytest.raises(error, match="timeout must be a number of seconds"):
            wait(timeout)


def test_iterating_late_and_twice_gives_the_whole_text(registry: SessionRegistry) -> None:
    """Each iteration starts with the first character, however late."""
    provider = ScriptedProvider("a", "b", PAUSE, "c")
    run = registry.create(provider=provider).send("?")
    provider.wait_paused()
    early = iter(run)
    assert next(early) in ("a", "ab")
    provider.go()
    run.wait(10)

    assert "".join(run) == "".join(run) == "abc"


async def test_async_forms_work_in_any_loop(registry: SessionRegistry) -> None:
    """A run is awaitable and async-iterable in a loop that is not the engine's."""
    session = registry.create(provider=ScriptedProvider("x", "y", "z"))

    assert "".join([delta async for delta in session.send("?")]) == "xyz"
    assert (await session.send("again")).text == "xyz"


def test_a_second_send_waits_its_turn(registry: SessionRegistry) -> None:
    """A second run is queued while one is live, and its prompt enters the transcript when it starts."""
    provider = ScriptedProvider("one", PAUSE)
    session = registry.create(provider=provider)
    first, second = session.send("1"), session.send("2")
    provider.wait_paused()

    assert second.state == "queued"
    assert second.progress.started_at is None
    assert [m.text for m in session.messages] == ["1", "one"]
    provider.go()
    first.wait(10)
    provider.wait_until(lambda p: len(p.requests) == 2)
    provider.wait_paused()
    assert [m.role for m in session.messages] == ["user", "assistant"] * 2
    assert [m.text for m in provider.requests[1].messages] == ["1", "one", "2"]
    provider.go()
    second.wait(10)


def test_stop_keeps_the_text_that_arrived(registry: SessionRegistry) -> None:
    """Stopping a run keeps the text that has arrived and frees the session."""
    provider = ScriptedProvider("Paris", " is", PAUSE, " never said")
    session = registry.create(provider=provider)
    run = session.send("Capital of France?")
    provider.wait_paused()
    run.stop()
    run.wait(10)

    assert repr(run) == f"<Run {run.id} stopped, 8 characters>"
    assert run.result().text == "Paris is"
    assert run.error is None
    provider.wait_until(lambda p: p.closed == 1)
    run.stop()  # without effect after the end
    assert run.state == "stopped"
    again = session.send("And now?")
    provider.wait_paused()
    assert [m.text for m in provider.requests[1].messages][:2] == ["Capital of France?", "Paris is"]
    again.stop()


def test_stop_before_the_first_token(registry: SessionRegistry) -> None:
    """A run stopped before its first token has an empty answer."""
    provider = ScriptedProvider(HANG)
    run = registry.create(provider=provider).send("?")
    provider.wait_until(lambda p: p.requests)
    run.stop()

    assert run.wait(10).state == "stopped"
    assert run.result().text == ""


def test_stopping_a_queued_run_leaves_the_live_one(registry: SessionRegistry) -> None:
    """`Run.stop` ends that run only, and the prompt of a queued one does not enter the transcript."""
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    first, second = session.send("1"), session.send("2")
    provider.wait_paused()
    second.stop()

    assert second.wait(10).state == "stopped"
    assert first.state == "streaming"
    provider.go()
    assert first.wait(10).state == "completed"
    assert [m.text for m in session.messages] == ["1", "a"]


def test_a_provider_that_will_not_close_does_not_hold_the_session(registry: SessionRegistry) -> None:
    """Stop completes in time even if the provider ignores its cancellation."""
    stubborn = asyncio.Event

    class Stubborn(ScriptedProvider):
        async def stream(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self.requests.append(request)
            yield TextDelta("kept")
            gate = stubborn()
            self.release = gate
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue
            yield TextDelta(" too late")

    provider = Stubborn()
    session = registry.create(provider=provider)
    run = session.send("?")
    next(iter(run))
    run.stop()

    assert run.wait(10).state == "stopped"
    assert run.text == "kept"
    engine_of(registry).loop.post(provider.release.set)
    assert session.messages[-1].text == "kept"


def test_text_reasoning_and_calls_are_parts(registry: SessionRegistry) -> None:
    """Deltas become parts in order of arrival; interleaved tool calls are assembled by their index."""
    provider = ScriptedProvider(
        ReasoningDelta("Hm"),
        ReasoningDelta("m."),
        "Let me ",
        "look.",
        ToolCallDelta(0, id="c0", name="look"),
        ToolCallDelta(1, name="fi"),
        ToolCallDelta(0, arguments='{"a":'),
        ToolCallDelta(1, id="c1", name="nd", arguments="{}"),
        ToolCallDelta(0, arguments=" 1}"),
        finish="tool_calls",
    )
    run = registry.create(provider=provider).send("?")
    parts = run.result(10).parts

    assert isinstance(parts[0], ReasoningPart)
    assert parts[0].text == run.reasoning == "Hmm."
    assert parts[0].seconds is not None
    assert parts[1] == TextPart(text="Let me look.")
    assert parts[2] == ToolCallPart(call_id="c0", name="look", text='{"a": 1}')
    assert parts[3] == ToolCallPart(call_id="c1", name="find", text="{}")
    assert run.state == "completed"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_model_that_stopped_early(registry: SessionRegistry, reason: str) -> None:
    """`length` and `content_filter` make a run incomplete, with its text and without an error."""
    run = registry.create(provider=ScriptedProvider("half", finish=reason)).send("?").wait(10)

    assert run.state == "incomplete"
    assert run.result().finish_reason == reason
    assert run.error is None


@pytest.mark.parametrize(
    ("provider", "state", "error"),
    [
        (ScriptedProvider("half", finish=None), "interrupted", errors.StreamTruncated),
        (ScriptedProvider(finish=None), "failed", errors.EmptyResponse),
        (ScriptedProvider(), "failed", errors.EmptyResponse),
        (ScriptedProvider("half", errors.StreamBroken("gone.")), "interrupted", errors.StreamBroken),
        (ScriptedProvider(errors.AuthenticationFailed("no.")), "failed", errors.AuthenticationFailed),
        (ScriptedProvider("half", ZeroDivisionError("oops")), "interrupted", errors.RunCrashed),
        (ScriptedProvider(SystemExit(3)), "failed", errors.RunCrashed),
        (ScriptedProvider(KeyboardInterrupt()), "failed", errors.RunCrashed),
        (ScriptedProvider("all", Finish("stop"), errors.StreamBroken("late.")), "completed", None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_end_has_its_own_state(
    registry: SessionRegistry, provider: ScriptedProvider, state: str, error: type | None
) -> None:
    """A run without a finish reason is interrupted if it has text and failed otherwise, with the cause."""
    session = registry.create(provider=provider)
    run = session.send("question").wait(10)

    assert run.state == session.status == state
    assert session.messages[0].text == "question"
    if error is None:
        assert run.result().text == "all"
        assert run.error is None
        return
    assert type(run.error) is error
    assert run.text == ("half" if state == "interrupted" else "")
    assert run.error.partial_chars == len(run.text)
    with pytest.raises(error):
        run.result()
    with pytest.raises(error):
        list(run)
    # The session accepts the next prompt.
    assert session.send("again").wait(10).is_over


def test_the_foreign_exception_is_the_cause(registry: SessionRegistry) -> None:
    """In the kernel, the provider's exception is the `__cause__` of the run's error."""
    broken = errors.StreamBroken("gone.")
    broken.__cause__ = OSError("reset")
    run = registry.create(provider=ScriptedProvider("x", broken)).send("?").wait(10)

    assert run.error is not None
    assert isinstance(run.error.__cause__, OSError)


def test_retries_come_before_the_first_token_only(registry: SessionRegistry) -> None:
    """A temporary failure is retried, visibly, but not after the first token."""
    answers = [[errors.ProviderUnavailable("busy.", retryable=0.01)], ["fine"]]
    provider = ScriptedProvider(lambda _request: answers.pop(0))
    seen: list[str | None] = []
    session = registry.create(provider=provider)
    session.on("transition", lambda event: seen.append(event.state))
    run = session.send("?").wait(10)

    assert run.state == "completed"
    assert run.progress.attempt == 1
    assert drain_callbacks(registry)
    assert seen == ["connecting", "retrying", "connecting"] or seen[:3] == [
        "connecting",
        "retrying",
        "connecting",
    ]

    broken = ScriptedProvider("x", errors.ProviderUnavailable("busy.", retryable=0.01))
    session = registry.create(provider=broken)
    assert session.send("?").wait(10).state == "interrupted"
    assert len(broken.requests) == 1


def test_a_retry_wait_can_be_ended(registry: SessionRegistry) -> None:
    """`retry_now` makes the next attempt at once, and returns False if no retry is pending."""
    answers: list[list[Any]] = [[errors.RateLimited("slow down.", retryable=60.0)], ["fine"]]
    run = registry.create(provider=ScriptedProvider(lambda _request: answers.pop(0))).send("?")
    wait_for(lambda: run.state == "retrying", "a retry")
    assert run.retry_now()
    assert run.result(10).text == "fine"
    assert not run.retry_now()


def test_a_retry_wait_can_be_stopped(registry: SessionRegistry) -> None:
    """Stop during the wait for a retry ends the run without a further attempt."""
    provider = ScriptedProvider(errors.RateLimited("slow down.", retryable=60.0))
    run = registry.create(provider=provider).send("?")
    states = engine_of(registry).loop
    while run.state != "retrying":
        assert states.is_running
        provider.wait_until(lambda p: p.closed)
    assert run.progress.retry_at is not None
    assert (run.progress.attempt, run.progress.attempts) == (1, 2)
    run.stop()

    assert run.wait(10).state == "stopped"
    assert len(provider.requests) == 1


def test_a_wait_beyond_the_cap_fails_at_once(registry: SessionRegistry) -> None:
    """A server that requests a wait of an hour fails the run, with the number in its error."""
    provider = ScriptedProvider(errors.RateLimited("wait.", retryable=3600.0))
    run = registry.create(provider=provider).send("?").wait(10)

    assert run.state == "failed"
    assert run.error is not None
    assert run.error.retryable == 3600.0
    assert len(provider.requests) == 1


def test_pause_holds_the_stream_and_resume_continues(registry: SessionRegistry) -> None:
    """A paused run adds no text, and loses none when it is resumed."""
    provider = ScriptedProvider("a", PAUSE, "b", "c")
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    info = registry.pause(session.id)
    provider.go()

    assert info.state == run.state == session.status == "paused"
    assert info.text == run.text == "a"
    assert registry.is_streaming(session.id)
    assert session.pause() is not None  # pausing again has no effect
    assert session.resume().id == run.id
    assert run.wait(10).text == "abc"
    assert run.state == "completed"


def test_a_queued_run_can_be_paused(registry: SessionRegistry) -> None:
    """A queued run that is paused does not start until it is resumed."""
    registry.limits.live_runs = 1
    provider = ScriptedProvider("x", PAUSE)
    busy, other = registry.create(provider=provider), registry.create(provider=provider)
    first = busy.send("1")
    provider.wait_paused()
    second = other.send("2")
    assert second.progress.position == 1
    other.pause()
    assert second.state == "paused"
    provider.go()
    first.wait(10)
    assert second.state == "paused"
    other.resume()
    provider.wait_until(lambda p: len(p.requests) == 2)
    provider.wait_paused()
    provider.go()
    assert second.wait(10).state == "completed"


def test_a_long_answer_is_cut_at_the_cap(registry: SessionRegistry) -> None:
    """At the cap the run is interrupted, with every character up to it."""
    registry.limits.answer_chars = 10
    run = registry.create(provider=ScriptedProvider("abcdef", "ghijkl", HANG)).send("?").wait(10)

    assert run.text == "abcdefghij"
    assert run.state == "interrupted"
    assert isinstance(run.error, errors.LimitExceeded)


def test_a_giant_delta_arrives_whole(registry: SessionRegistry) -> None:
    """A single delta of a megabyte, with emoji, is kept to the last character."""
    text = "😀ab" * 350_000
    run = registry.create(provider=ScriptedProvider(text)).send("?").wait(30)

    assert run.text == text


def test_half_a_character_waits_for_its_other_half(registry: SessionRegistry) -> None:
    """A surrogate pair split over two deltas is joined, and a lone surrogate is replaced."""
    run = registry.create(provider=ScriptedProvider("a\ud83d", "\ude00b\ud83d")).send("?").wait(10)
    assert run.text == "a😀b\ufffd"


def test_blocking_on_the_engines_own_thread_is_refused(registry: SessionRegistry) -> None:
    """A provider that makes a blocking call to nbchat gets an error instead of a deadlock."""

    def nested(_request: object) -> list[str]:
        return [registry.create(provider=ScriptedProvider("inner")).ask("?").text]

    run = registry.create(provider=ScriptedProvider(nested)).send("?").wait(10)
    assert run.state == "failed"
    assert "WouldDeadlock" in str(run.error)


def test_an_ended_run_stays_as_it_is_when_the_clock_is_set_back(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the clock is set back before a continuation, each run keeps its text, and times still increase."""
    session = registry.create(provider=ScriptedProvider("One.", "stop"))
    first = session.send("?").wait(10)
    text = first.text
    ended = live(session).state.runs[-1].ended_at
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    second = session.continue_().wait(10)
    assert first.text == text
    assert second.text
    assert session.messages[-1].text == first.text + second.text
    assert second.started_at is not None
    assert ended is not None
    assert second.started_at > ended
    assert second.progress.elapsed_s >= 0


def test_the_log_orders_runs_and_not_their_times(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs keep their text if the times in a log decrease, as after a restart."""
    session = registry.create(provider=ScriptedProvider("One."))
    first = session.send("?").wait(10)
    text = first.text
    monkeypatch.setattr("nbchat.engine.run_queue.now", lambda: 1000.0)
    second = session.continue_().wait(10)
    assert live(session).state.runs[-1].queued_at == 1000.0
    assert first.text == text
    assert session.messages[-1].text == first.text + second.text


def test_awaiting_outside_of_asyncio_names_the_alternative(registry: SessionRegistry) -> None:
    """In another event loop, such as `%autoawait trio`, the error names the alternative to `await`."""
    run = registry.create(provider=ScriptedProvider("a")).send("?").wait(10)
    for waiting in (run.__await__(), anext(aiter(run)).__await__()):
        with pytest.raises(errors.CommandError, match=r"asyncio event loop only.*run\.result\(\)"):
            waiting.send(None)
