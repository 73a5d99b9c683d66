"""Copies of a notebook that changed independently are merged without a loss."""

from collections.abc import Iterator

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core.merging import merge, window, without_authors
from nbchat.core.messages import Message, TextPart
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import dump, parse
from nbchat.core.transcript import SessionState
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.session import Session
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engine.conftest import registry
from tests.engines import engine_of, live
from tests.waiting import wait_for

__all__ = ["registry"]


@pytest.fixture
def other() -> Iterator[SessionRegistry]:
    """Return the registry of a second kernel."""
    made = SessionRegistry()
    yield made
    engine_of(made).shutdown()


def copied(registry: SessionRegistry, other: SessionRegistry, *answer: str) -> Session:
    """Return the first session of one kernel as a second kernel restores it, with a scripted answer."""
    (session,) = other.restore(registry.snapshot(), adopt=True)
    live(session).provider = ScriptedProvider(*answer, finish="length")
    return session


def texts(registry: SessionRegistry) -> dict[str, str]:
    """Return the texts of all runs, by id."""
    return {run.id: run.text for session in registry.values() for run in session.runs}


@pytest.mark.parametrize(
    ("mine", "theirs"), [(" mine", " theirs, which is longer"), (" my longer one", " b")]
)
def test_an_answer_continued_in_both_copies_keeps_both_continuations(
    registry: SessionRegistry, other: SessionRegistry, mine: str, theirs: str
) -> None:
    """The continuations become versions of the answer, with their later questions, and no run changes."""
    session = registry.create(provider=ScriptedProvider("Begin", finish="length"))
    session.send("question").wait(10)
    copy = copied(registry, other, theirs)
    copy.continue_().wait(10)
    copy.send("asked there").wait(10)
    live(session).provider = ScriptedProvider(mine)
    session.continue_().wait(10)
    before = {**texts(registry), **texts(other)}
    snapshots = registry.snapshot(), other.snapshot()

    registry.restore(snapshots[1])
    other.restore(snapshots[0])

    assert texts(registry) == texts(other) == before
    assert session.messages == copy.messages
    registry.restore(other.snapshot())
    assert texts(registry) == before
    questions, answers = [], []
    for message in live(session).state.messages.values():
        (answers if message.role == "assistant" else questions).append(message.text)
    assert sorted(answers) == sorted([f"Begin{mine}", f"Begin{theirs}", theirs])
    assert questions == ["question", "asked there"]
    there = next(run for run in copy.runs if run.text == theirs and run.message.text == theirs)
    path = [message.text for message in live(session).state.context(there.message.id)]
    assert path == ["question", f"Begin{theirs}", "asked there", theirs]


def test_a_run_that_ended_is_not_changed_by_a_copy_made_during_it(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """After a merge both kernels have the run's end, although the copy had it as interrupted."""
    provider = ScriptedProvider("begin", PAUSE, " and end")
    run = registry.create(provider=provider).send("question")
    provider.wait_paused()
    copy = copied(registry, other, "answer")
    provider.go()
    run.wait(10)
    copy.send("asked there").wait(10)

    registry.restore(other.snapshot())
    other.restore(registry.snapshot())

    assert (run.state, run.text, run.error, run.finish_reason) == ("completed", "begin and end", None, "stop")
    assert (copy.runs[0].state, copy.runs[0].text) == ("completed", "begin and end")
    assert [message.text for message in copy.messages][1::2] == ["begin and end", "answer"]


def test_an_answer_continued_from_its_beginning_does_not_replace_the_whole(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """If a copy made during an answer continues it, the whole answer and the continuation remain."""
    provider = ScriptedProvider("begin", PAUSE, " and end")
    run = registry.create(provider=provider).send("question")
    provider.wait_paused()
    copy = copied(registry, other, " otherwise")
    provider.go()
    run.wait(10)
    continued = copy.continue_().wait(10)

    registry.restore(other.snapshot())

    assert (run.state, run.text) == ("completed", "begin and end")
    assert texts(registry)[continued.id] == " otherwise"
    answers = [m.text for m in live(registry[copy.id]).state.messages.values() if m.role == "assistant"]
    assert sorted(answers) == ["begin and end", "begin otherwise"]


def test_a_session_that_was_deleted_in_a_copy_stays_in_the_next_kernel(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """Restoring the copy's snapshot neither removes the session nor records a deletion."""
    session = registry.create(provider=ScriptedProvider("answer"))
    session.send("question").wait(10)
    copied(registry, other, "").delete()

    registry.restore(other.snapshot())

    assert session.id in registry
    third = SessionRegistry()
    try:
        third.restore(registry.snapshot())
        assert [message.text for message in third[session.id].messages] == ["question", "answer"]
    finally:
        engine_of(third).shutdown()


def test_omitted_messages_are_added_by_a_whole_version(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """A shortened snapshot counts as incomplete until a version with all messages is restored."""
    session = registry.create(provider=ScriptedProvider("answer"))
    session.send("first").wait(10)
    copy = copied(registry, other, "")
    for text in ("second", "third", "fourth"):
        session.send(text).wait(10)
    snapshots = engine_of(registry).snapshots
    taken = engine_of(registry).loop.call(snapshots.take)
    size = len(snapshots.encode(taken))
    shortened = next(
        parsed
        for limit in range(size, 0, -100)
        if (parsed := parse(snapshots.encode(taken, limit))).sessions[0].omitted >= 4
    )

    other.restore(dump(shortened))
    assert [message.text for message in copy.messages] != [message.text for message in session.messages]
    seen = live(copy).state.seq
    other.restore(registry.snapshot())

    assert copy.messages == session.messages
    assert live(copy).omitted == 0
    assert live(copy).state.seq > seen


def test_a_continuation_that_was_stopped_at_once_takes_no_text(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """If one copy continued an answer without adding text, the answer stays one and no run changes."""
    session = registry.create(provider=ScriptedProvider("Begin", finish="length"))
    session.send("question").wait(10)
    copy = copied(registry, other, "")
    live(session).provider = ScriptedProvider(" and end")
    session.continue_().wait(10)
    live(copy).provider = ScriptedProvider(HANG)
    stopped = copy.continue_()
    wait_for(lambda: stopped.state == "connecting", "the request")
    stopped.stop()
    stopped.wait(10)
    before = {**texts(registry), **texts(other)}
    snapshots = registry.snapshot(), other.snapshot()

    registry.restore(snapshots[1])
    other.restore(snapshots[0])

    assert texts(registry) == texts(other) == before
    assert [message.text for message in session.messages] == ["question", "Begin and end"]


def test_a_diverged_version_without_its_messages_is_completed_later(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """A shortened snapshot of a copy that changed independently does not hide the messages that it omits."""
    session = registry.create(provider=ScriptedProvider("answer"))
    session.send("first").wait(10)
    copy = copied(registry, other, "another")
    session.send("second").wait(10)
    copy.send("asked there").wait(10)
    taken = engine_of(registry).loop.call(engine_of(registry).snapshots.take)
    empty = tuple(window(saved, 0) for saved in taken.sessions)

    other.restore(dump(replace(taken, sessions=empty)))
    copy.send("asked after").wait(10)
    other.restore(registry.snapshot())

    questions = [m.text for m in live(copy).state.messages.values() if m.role == "user"]
    assert sorted(questions) == ["asked after", "asked there", "first", "second"]


def test_an_earlier_form_of_an_answer_replaces_no_text(
    registry: SessionRegistry, other: SessionRegistry
) -> None:
    """Merging a copy that has only the beginning of an answer does not shorten the answer."""
    session = registry.create(provider=ScriptedProvider("Begin", finish="length"))
    session.send("question").wait(10)
    copy = copied(registry, other, "answer")
    live(session).provider = ScriptedProvider(" and end")
    continued = session.continue_().wait(10)
    taken = engine_of(registry).loop.call(engine_of(registry).snapshots.take)
    other.restore(dump(replace(taken, sessions=tuple(window(saved, 0) for saved in taken.sessions))))
    copy.send("asked there").wait(10)

    registry.restore(other.snapshot())

    assert [message.text for message in session.messages][1] == "Begin and end"
    assert continued.text == " and end"


def test_a_copy_without_names_removes_none() -> None:
    """A copy from which names were removed changes no author, in whichever order it is merged."""
    question = Message(id="m-1", role="user", written_by="ada")
    mine = SavedSession(state=SessionState(id="s-1", messages={"m-1": question}), clock={"k-1": 1})
    (copy,) = without_authors(Snapshot(sessions=(mine,))).sessions
    copy = replace(copy, clock={"k-2": 1})
    assert copy.state.messages["m-1"].author is None
    for merged in (merge(mine, copy), merge(copy, mine)):
        assert merged.state.messages["m-1"].author == "ada"


def test_other_content_gets_no_author() -> None:
    """A longer text under the id of a question does not get the question's author."""
    question = Message(id="m-1", role="user", parts=(TextPart(text="yes"),), written_by="ada")
    mine = SavedSession(state=SessionState(id="s-1", messages={"m-1": question}), clock={"k-1": 1})
    forged = replace(question, parts=(TextPart(text="yes, all of it"),), written_by=UNSET)
    other = replace(mine, state=replace(mine.state, messages={"m-1": forged}), clock={"k-2": 1})
    for merged in (merge(mine, other), merge(other, mine)):
        assert merged.state.messages["m-1"] == forged
