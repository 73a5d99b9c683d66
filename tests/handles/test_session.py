"""A session: its questions, versions, forks, tab and deletion, as its user sees them."""

from typing import Any

import pytest

from nbchat.core import errors
from nbchat.core.messages import FilePart, ImagePart, TextPart
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engines import echo, live


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


def test_deleting_while_it_streams(registry: SessionRegistry) -> None:
    """Deletion stops the run, a late delta does not restore the session, and `undelete` does."""
    provider = ScriptedProvider("a", PAUSE, "late")
    session = registry.create("geo", provider=provider)
    run = session.send("?")
    waiting = session.send("then")
    provider.wait_paused()
    session.delete()

    assert run.state == "stopped" or run.wait(10).state == "stopped"
    assert waiting.wait(10).state == "stopped"
    assert "geo" not in registry
    provider.go()
    provider.wait_until(lambda p: p.closed == 1)
    assert session.id not in registry
    with pytest.raises(errors.SessionGone):
        session.fork()
    with pytest.raises(errors.SessionGone, match="was deleted"):
        session.send("?")
    back = registry.undelete(session.id)
    assert back is session
    assert [m.text for m in back.messages] == ["?", "a"]
    with pytest.raises(errors.SessionGone):
        registry.undelete("s-unknown")
    assert registry.undelete(session.id) is back


def test_closing_hides_the_tab_and_leaves_the_run(registry: SessionRegistry) -> None:
    """A run continues after its session was closed."""
    provider = ScriptedProvider("a", PAUSE, "b")
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    registry.close(session.id)
    assert session.closed
    provider.go()
    assert run.wait(10).text == "ab"


def test_a_fork_is_a_session_of_its_own(registry: SessionRegistry) -> None:
    """A fork contains the conversation up to a message, and is independent afterwards."""
    session = registry.create("geo", provider=ScriptedProvider(echo))
    session.send("one").wait(10)
    session.send("two").wait(10)
    fork = session.fork(session.messages[1].id)
    assert [m.text for m in fork.messages] == ["one", "one"]
    fork.send("three").wait(10)
    assert fork.messages[-1].text == "one | three"
    assert len(session.messages) == 4
    assert not {m.id for m in fork.messages} & {m.id for m in session.messages}


def test_a_fork_is_named_as_one(registry: SessionRegistry) -> None:
    """A fork's title ends in "(fork)", further forks are numbered, and a title from the caller is kept."""
    session = registry.create("Rivers", provider=ScriptedProvider(echo))
    session.ask("one")
    first = session.fork()
    titles = [first.title, session.fork().title, first.fork().title, session.fork(title="Lakes").title]
    assert titles == ["Rivers (fork)", "Rivers (fork 2)", "Rivers (fork 3)", "Lakes"]
    untitled = registry.create(provider=ScriptedProvider(echo))
    untitled.ask("Which rivers?")
    assert untitled.fork().title == "Which rivers? (fork)"
    assert registry.create().fork().title == ""


def test_titles_are_cut_between_graphemes(registry: SessionRegistry) -> None:
    """A title cut from the first question ends with a whole emoji."""
    family = "👨‍👩‍👧‍👦"
    session = registry.create(provider=ScriptedProvider("a"))
    session.send(family * 20).wait(10)
    assert session.title == family * 6
