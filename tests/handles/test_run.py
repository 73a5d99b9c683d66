"""The lifecycle of a run, as its user sees it."""

import asyncio
import time
from typing import Any

import pytest

from nbchat.core import errors
from nbchat.core.messages import FilePart, ImagePart, ReasoningPart, TextPart, ToolCallPart, Usage
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


def test_session_stop_lets_queued_runs_follow_and_stop_all_does_not(registry: SessionRegistry) -> None:
    """`stop` ends the oldest live run, and the next in the queue starts; `stop_all` ends all."""
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    runs = [session.send(str(i)) for i in range(4)]
    provider.wait_paused()
    session.stop()
    runs[0].wait(10)
    provider.wait_until(lambda p: len(p.requests) == 2)
    provider.wait_paused()
    assert runs[1].state == "streaming"

    assert session.stop_all() == 3
    for run in runs:
        assert run.wait(10).state == "stopped"


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


def test_a_pause_that_is_too_long_interrupts(registry: SessionRegistry) -> None:
    """After the pause limit the connection is closed and the text is kept."""
    registry.limits.pause_limit_s = 0.05
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    session.pause()
    run.wait(10)

    assert run.state == "interrupted"
    assert isinstance(run.error, errors.PauseExpired)
    assert run.text == "a"
    provider.wait_until(lambda p: p.closed == 1)


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


@pytest.mark.parametrize(
    ("limit", "steps", "state", "error"),
    [
        ("first_token_s", [HANG], "failed", errors.FirstTokenTimeout),
        ("idle_s", ["x", HANG], "interrupted", errors.IdleTimeout),
        ("total_s", ["x", HANG], "interrupted", errors.TotalTimeout),
    ],
)
def test_clocks_end_silent_runs(
    registry: SessionRegistry, limit: str, steps: list[object], state: str, error: type
) -> None:
    """Each time limit ends a run with its own error."""
    setattr(registry.limits, limit, 0.05)
    run = registry.create(provider=ScriptedProvider(*steps)).send("?").wait(10)  # type: ignore[arg-type]

    assert run.state == state
    assert type(run.error) is error


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


def test_retry_replaces_regenerate_adds_continue_appends(registry: SessionRegistry) -> None:
    """Retry replaces a failed answer, regenerate adds a version, and continue appends, each as a new run."""
    scripts = [["bad", errors.StreamBroken("gone.")], ["good"], ["other"], [" and more"]]
    provider = ScriptedProvider(lambda _request: scripts.pop(0))
    session = registry.create(provider=provider)
    failed = session.send("q").wait(10)
    retried = session.retry().wait(10)
    assert [m.text for m in session.messages] == ["q", "good"]
    assert failed.state == "interrupted"

    session.regenerate().wait(10)
    assert [m.text for m in session.messages] == ["q", "other"]
    state = live(session).state
    assert [m.text for m in state.versions(session.messages[1].id)] == ["good", "other"]
    session.select(retried.message.id)
    assert session.messages[1].text == "good"

    more = session.continue_().wait(10)
    assert session.messages[1].text == "good and more"
    assert more.text == " and more"
    assert retried.text == "good"
    assert provider.requests[-1].prefill
    assert provider.requests[-1].messages[-1].text == "good"


def test_a_retry_takes_nothing_away_before_it_has_something_to_give(registry: SessionRegistry) -> None:
    """A retry replaces the old text when new text arrives; without new text the old remains a version."""
    broken = errors.StreamBroken("gone.")
    scripts = [["kept", broken], [errors.AuthenticationFailed("no.")], [PAUSE, "new"], ["other"]]
    provider = ScriptedProvider(lambda _request: scripts.pop(0))
    session = registry.create(provider=provider)
    session.send("q").wait(10)
    old = session.messages[1].id

    failed = session.retry().wait(10)
    assert failed.state == "failed"
    assert [m.text for m in live(session).state.versions(old)] == ["kept", ""]

    again = session.retry()
    provider.wait_paused()
    assert [m.text for m in live(session).state.versions(old)] == ["kept", ""]
    assert session.messages[1].text == ""
    provider.go()
    again.wait(10)
    assert [m.text for m in live(session).state.messages.values()] == ["q", "new"]
    assert [m.text for m in session.messages] == ["q", "new"]


def test_editing_a_waiting_prompt_keeps_its_place_and_its_run(registry: SessionRegistry) -> None:
    """Editing a queued or paused prompt keeps its position and its run."""
    provider = ScriptedProvider(lambda r: [PAUSE, f"re: {r.messages[-1].text}"])
    session = registry.create(provider=provider)
    runs = [session.send(text) for text in ("one", "two", "three", "four")]
    provider.wait_paused()
    runs[2].pause()
    waiting = [run.prompt for run in live(session).state.runs if run.prompt is not None]
    asked = registry.stats()["runs"]
    assert session.edit(waiting[0].id, "TWO") is None
    assert session.edit(waiting[1].id, "THREE") is None
    assert registry.stats()["runs"] == asked
    assert runs[2].state == "paused"
    runs[2].resume()
    for run in runs:
        provider.wait_paused()
        provider.go()
        run.wait(10)
    assert [m.text for m in session.messages if m.role == "user"] == ["one", "TWO", "THREE", "four"]
    assert [run.text for run in runs] == ["re: one", "re: TWO", "re: THREE", "re: four"]


def test_edit_makes_a_version_of_the_question(registry: SessionRegistry) -> None:
    """An edited question is a version of the old one, with its own answer."""
    session = registry.create(provider=ScriptedProvider(lambda r: ["re: " + r.messages[-1].text]))
    session.send("one").wait(10)
    session.send("two").wait(10)
    run = session.edit(session.messages[0].id, "uno")
    assert run is not None
    run.wait(10)

    assert [m.text for m in session.messages] == ["uno", "re: uno"]
    assert len(live(session).state.versions(session.messages[0].id)) == 2


def test_attachments_stay_with_their_question(registry: SessionRegistry) -> None:
    """An edited question keeps its attachments, queued or answered, and their text is cleaned for storage."""
    file = FilePart(name="a\ud800.csv", text="x\0y\n")
    image = ImagePart(name="dot.gif", text="data:image/gif;base64,R0lGODlhAQABAAAAACw=")
    provider = ScriptedProvider(lambda r: [PAUSE, f"{len(r.messages[-1].parts)} parts"])
    session = registry.create(provider=provider)
    first = session.send("one", attachments=[file, image])
    waiting = session.send("two", attachments=(part for part in [file]))
    provider.wait_paused()
    prompt = next(run.prompt for run in live(session).state.runs if run.prompt is not None)
    session.edit(prompt.id, "TWO")
    for run, parts in ((first, 3), (waiting, 2)):
        provider.wait_paused()
        provider.go()
        assert run.result(10).text == f"{parts} parts"
    assert [part.text for part in session.messages[2].parts] == ["TWO", "x\ufffdy\n"]
    assert session.messages[0].parts[1] == FilePart(name="a\ufffd.csv", text="x\ufffdy\n")

    again = session.edit(session.messages[0].id, "uno")
    provider.wait_paused()
    provider.go()
    assert again is not None
    assert again.result(10).text == "3 parts"
    assert session.messages[0].parts[2] == image


@pytest.mark.parametrize("wrong", [[3], [b"bytes without a name"], [TextPart(text="x")], [FilePart(text=3)]])  # type: ignore[arg-type]
def test_unsupported_attachments_are_refused(registry: SessionRegistry, wrong: list[Any]) -> None:
    """A wrong attachment raises and nothing is sent; files count towards the session's limit."""
    session = registry.create(provider=ScriptedProvider("a"))
    with pytest.raises(TypeError, match="attachment"):
        session.send("?", attachments=wrong)
    registry.limits.session_chars = 1000
    with pytest.raises(errors.SessionFull):
        session.send("?", attachments=[FilePart(text="x" * 1000)])
    assert session.runs == ()


def test_a_message_is_given_by_itself_or_by_its_id(registry: SessionRegistry) -> None:
    """A message can be passed as a `Message` or an id; other types raise with that advice."""
    session = registry.create(provider=ScriptedProvider(lambda r: [f"re: {r.messages[-1].text}"]))
    session.ask("one")
    session.regenerate(session.messages[-1]).wait(10)
    session.regenerate(session.messages[-1].id).wait(10)
    run = session.edit(session.messages[0], "uno")
    assert run is not None
    assert run.result(10).text == "re: uno"
    assert [message.text for message in session.fork(session.messages[0]).messages] == ["uno"]
    assert [message.text for message in session.fork().messages] == ["uno", "re: uno"]
    for wrong in ([], 5, b"m-1"):
        for call in (session.retry, session.regenerate, session.continue_, session.fork, session.discard):
            with pytest.raises(TypeError, match="expected a Message or a message id"):
                call(wrong)  # type: ignore[operator]


def test_versions_need_a_session_that_is_not_busy(registry: SessionRegistry) -> None:
    """While a run is live, retry, regenerate and continue are refused with the next step."""
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    session.send("?")
    provider.wait_paused()

    for ask in (session.retry, session.regenerate, session.continue_):
        with pytest.raises(errors.RunInProgress, match=r"Stop it with session\.stop\(\)"):
            ask()
    provider.go()


def test_a_failed_turns_question_stays_in_the_context(registry: SessionRegistry) -> None:
    """The question of a failed run stays in the context, and its empty answer is not sent."""
    scripts = [[errors.AuthenticationFailed("no.")], ["ok"]]
    provider = ScriptedProvider(lambda _request: scripts.pop(0))
    session = registry.create(provider=provider)
    session.send("first").wait(10)
    session.send("second").wait(10)

    assert [m.text for m in provider.requests[1].messages] == ["first", "second"]


def test_later_changes_by_the_caller_have_no_effect(registry: SessionRegistry) -> None:
    """A run keeps the settings with which it started."""
    provider = ScriptedProvider(PAUSE, "x")
    params = {"stop": ["a"]}
    session = registry.create(provider=provider, params=params, instructions="Be brief.", model="m1")
    run = session.send("?")
    provider.wait_paused()
    params["stop"].append("b")
    session.model = "m2"
    session.instructions = None
    provider.go()
    run.wait(10)

    request = provider.requests[0]
    assert (request.model, request.instructions, request.params) == ("m1", "Be brief.", {"stop": ["a"]})
    assert session.model == "m2"


@pytest.mark.parametrize(
    ("prompt", "error"), [(None, TypeError), (3, TypeError), ("", ValueError), ("  \n", ValueError)]
)
def test_wrong_prompts_are_refused(registry: SessionRegistry, prompt: object, error: type) -> None:
    """`send` raises for an invalid prompt, and sends nothing."""
    session = registry.create(provider=ScriptedProvider("x"))
    with pytest.raises(error, match="prompt"):
        session.send(prompt)  # type: ignore[arg-type]
    assert session.runs == ()


def test_a_full_session_raises_a_clear_error(registry: SessionRegistry) -> None:
    """A prompt beyond the cap on stored text raises `SessionFull`, and no message is lost."""
    registry.limits.session_chars = 20
    session = registry.create(provider=ScriptedProvider("1234567890"))
    session.send("12345").wait(10)
    with pytest.raises(errors.SessionFull, match="its limit is 20"):
        session.send("123456")
    assert len(session.messages) == 2


def test_a_question_that_takes_too_long_is_stopped(registry: SessionRegistry) -> None:
    """`ask(timeout=…)` stops the run, for which the caller has no handle, and the error reports it."""
    session = registry.create(provider=ScriptedProvider("so far", HANG))
    with pytest.raises(TimeoutError, match=r"after 0\.2 s; the run was stopped, and its text is kept"):
        session.ask("?", timeout=0.2)
    assert session.runs[-1].wait(10).state == "stopped"


def test_callbacks_are_notified_of_a_run_and_may_fail(registry: SessionRegistry) -> None:
    """A callback gets each event once, and one that raises does not affect runs or other callbacks."""
    heard: list[tuple[str, str | None]] = []
    session = registry.create(provider=ScriptedProvider("x"))

    def fail(_event: object) -> None:
        raise RuntimeError("a user's mistake")

    registry.on("end", fail)
    off = session.on("end", lambda event: heard.append((event.event, event.state)))
    session.send("?").wait(10)
    assert drain_callbacks(registry)
    assert heard == [("end", "completed")]
    assert registry.stats()["callback_errors"] == 1
    off()
    session.send("?").wait(10)
    assert drain_callbacks(registry)
    assert len(heard) == 1
    with pytest.raises(ValueError, match="there is no event 'finish'"):
        session.on("finish", fail)


def test_a_callback_may_send(registry: SessionRegistry) -> None:
    """Calling nbchat from a callback does not deadlock."""
    session = registry.create(provider=ScriptedProvider("x"))
    answers: list[str] = []

    def once(_event: object) -> None:
        if not answers:
            answers.append(session.ask("from a callback", timeout=10).text)

    session.on("end", once)
    session.send("?").wait(10)
    registry.wait_all(10)
    assert drain_callbacks(registry)
    assert answers == ["x"]


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
