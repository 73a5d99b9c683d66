# ruff: noqa: D401 - the docstring of a story states what the log shows
"""Write `tests/logs/*.json`: logs that Python and the page must fold to the same states.

::

    python -m tests.logs.record            write the files
    python -m tests.logs.record --check    write nothing; fail if a file is stale

Each file is `{"about", "session_id", "events", "state"}`. The first logs are written by hand, one for each
case in a session. The last logs are seeded random events that are inconsistent on purpose, since both folds
must also agree on events that do not fit.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core.errors import ErrorInfo
from nbchat.core.events import (
    Event,
    MessageAdded,
    MessageRemoved,
    MessageSelected,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAcknowledged,
    RunActing,
    RunAnswering,
    RunAwaitingApproval,
    RunCompleted,
    RunConnecting,
    RunFailed,
    RunIncomplete,
    RunInterrupted,
    RunKind,
    RunPaused,
    RunQueued,
    RunRequeued,
    RunResumed,
    RunRetrying,
    RunSaved,
    RunStarted,
    RunStopped,
    SessionCreated,
    SessionDeleted,
    Settings,
    SettingsChanged,
    StopRequested,
    UnreadChanged,
)
from nbchat.core.messages import (
    Author,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Source,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from nbchat.core.text import checksum, utf16_length
from nbchat.core.transcript import SessionState, apply_event
from nbchat.core.values import encode_json
from tools.generated import write_or_check

FOLDER: Final = Path(__file__).parent
SESSION: Final = "ses_1"
USAGE: Final = Usage(input_tokens=12, output_tokens=34, reasoning_tokens=5)
BROKEN: Final = ErrorInfo(
    code="stream_broken", message="The connection broke.", retryable=True, partial_chars=11, hint="Continue."
)
BUSY: Final = ErrorInfo(
    code="provider_unavailable", message="Busy.", stage="connect", retryable=2.5, http_status=503
)


class Story:
    """Builds a log. Each method appends the events that a kernel would append, and updates the state."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.state = SessionState(id=SESSION)
        self._now = 1_800_000_000.0

    def now(self) -> float:
        """Return a time a little later than the last one."""
        self._now += 0.25
        return self._now

    def say(self, *events: Event) -> None:
        """Append events unchanged."""
        for event in events:
            self.events.append(event)
            self.state = apply_event(self.state, event)

    def create(self, *, temporary: bool = False, thread_id: str | None = None, **settings: Any) -> None:
        """Create the session."""
        self.say(
            SessionCreated(
                at=self.now(), settings=Settings(**settings), temporary=temporary, thread_id=thread_id
            )
        )

    def queue(
        self,
        number: int,
        text: str | None = None,
        *,
        kind: RunKind = "send",
        answer: str | None = None,
        parent_id: str | None = None,
        rooted: bool = False,
        replaces: str | None = None,
        author: Author = UNSET,
    ) -> None:
        """Queue a run: the run is `run_<number>`, the question `q_<number>`, the answer `a_<number>`."""
        at = self.now()
        prompt = None
        if text is not None:
            prompt = Message(
                id=f"q_{number}",
                role="user",
                parts=(TextPart(text=text),),
                created_at=at,
                parent_id=parent_id if rooted else None,
                written_by=author,
            )
        self.say(
            RunQueued(
                run_id=f"run_{number}",
                at=at,
                kind=kind,
                message_id=answer or f"a_{number}",
                prompt=prompt,
                rooted=rooted,
                parent_id=parent_id,
                replaces=replaces,
            )
        )

    def start(self, number: int) -> None:
        """Start a queued run, with its messages at the end of the transcript or at their position."""
        run = self.state.run(f"run_{number}")
        assert run is not None
        at = self.now()
        prompt, parent = run.prompt, run.parent_id
        if prompt is not None:
            prompt = prompt if run.rooted else replace(prompt, parent_id=self.state.leaf)
            parent = prompt.id
        answer = None
        if run.kind not in ("continue", "resume"):
            answer = Message(
                id=run.message_id, role="assistant", created_at=at, parent_id=parent, run_id=run.id
            )
        self.say(RunStarted(run_id=run.id, at=at, prompt=prompt, answer=answer, model="demo/tour"))

    def ask(self, number: int, text: str) -> None:
        """Queue a run and start it."""
        self.queue(number, text)
        self.start(number)

    def part(self, number: int, index: int, part: Part) -> None:
        """Start a part of the answer."""
        self.say(PartStarted(run_id=f"run_{number}", at=self.now(), part_index=index, part=part))

    def text(self, number: int, index: int, *pieces: str, end: bool = True, **ended: Any) -> None:
        """Append text to a part in pieces, and end the part."""
        run_id = f"run_{number}"
        for piece in pieces:
            before = utf16_length(self._text(number, index))
            self.say(
                PartDelta(run_id=run_id, at=self.now(), part_index=index, offset=before, text=piece),
            )
        if end:
            whole = self._text(number, index)
            self.say(
                PartEnded(
                    run_id=run_id,
                    part_index=index,
                    length=utf16_length(whole),
                    crc32=checksum(whole),
                    seconds=0.5 * len(pieces),
                    **ended,
                )
            )

    def _text(self, number: int, index: int) -> str:
        run = self.state.run(f"run_{number}")
        message = None if run is None else self.state.messages.get(run.message_id)
        return "" if message is None or index >= len(message.parts) else message.parts[index].text

    def complete(self, number: int, usage: Usage | None = USAGE) -> None:
        """Complete the run."""
        self.say(
            RunCompleted(run_id=f"run_{number}", at=self.now(), finish_reason="stop", usage=usage),
        )

    def turn(self, number: int, question: str, answer: str) -> None:
        """Queue a run and complete it with an answer."""
        self.ask(number, question)
        self.part(number, 0, TextPart())
        self.text(number, 0, answer)
        self.complete(number)


Stories = dict[str, tuple[str, Callable[[Story], None]]]
STORIES: Final[Stories] = {}


def story(tell: Callable[[Story], None]) -> Callable[[Story], None]:
    """Add a story under its function's name."""
    STORIES[tell.__name__] = (str(tell.__doc__).strip(), tell)
    return tell


@story
def answer_completed(s: Story) -> None:
    """An answer has the server's model, reasoning, text and usage."""
    s.create(title="geo", model="demo/tour", params={"temperature": 0.5})
    s.ask(1, "Which rivers cross Paris?")
    s.say(
        RunAnswering(
            run_id="run_1",
            model="demo/tour-2",
            response_id="resp_1",
            sequence=1,
            server="api.example.com",
        )
    )
    s.part(1, 0, ReasoningPart())
    s.text(1, 0, "They ask ", "about rivers.")
    s.part(1, 1, TextPart())
    s.text(1, 1, "The ", "**Seine**", ", and the Bièvre below ground.")
    s.complete(1)


@story
def two_turns(s: Story) -> None:
    """Each turn follows the previous one."""
    s.create()
    s.turn(1, "Paris?", "The Seine.")
    s.turn(2, "And Lyon?", "The Rhône and the Saône.")


@story
def queued_runs(s: Story) -> None:
    """A queued question is not part of the transcript until the run before it has ended."""
    s.create()
    s.ask(1, "First?")
    s.queue(2, "Second?")
    s.queue(3, "Third?")
    s.queue(2, "Second, and better?")
    s.part(1, 0, TextPart())
    s.text(1, 0, "One.")
    s.say(StopRequested(run_id="run_3", at=s.now()), RunStopped(run_id="run_3", at=s.now()))
    s.complete(1)
    s.start(2)
    s.part(2, 0, TextPart())
    s.text(2, 0, "Two.", end=False)


@story
def several_people(s: Story) -> None:
    """In a session of several people, questions and settings have names; an edited one has the editor's."""
    s.create(title="geo", changed_by="ada")
    s.queue(1, "Paris?", author="ada")
    s.start(1)
    s.queue(2, "Lyon?", author="bob")
    s.queue(3, "Nantes?", author="bob")
    s.queue(2, "And Lyon?", author="ada")
    s.part(1, 0, TextPart())
    s.text(1, 0, "The Seine.")
    s.complete(1)
    s.say(SettingsChanged(settings=Settings(title="geo", model="demo/tour", changed_by="bob")))
    s.start(2)
    s.part(2, 0, TextPart())
    s.text(2, 0, "The Rhône.")
    s.complete(2)


@story
def stop_in_flight(s: Story) -> None:
    """A delta that arrives after the request to stop is kept."""
    s.create()
    s.ask(1, "Count.")
    s.part(1, 0, TextPart())
    s.text(1, 0, "one two", end=False)
    s.say(StopRequested(run_id="run_1", at=s.now()))
    s.text(1, 0, " three")
    s.say(RunStopped(run_id="run_1", at=s.now(), usage=Usage(output_tokens=3)))


@story
def stop_before_first_token(s: Story) -> None:
    """A run that is stopped while it connects leaves an empty answer."""
    s.create()
    s.ask(1, "Count.")
    s.say(StopRequested(run_id="run_1", at=s.now()), StopRequested(run_id="run_1", at=s.now()))
    s.say(RunStopped(run_id="run_1", at=s.now()))


@story
def retried_by_itself(s: Story) -> None:
    """An attempt that fails before the first token is repeated, and its error is cleared."""
    s.create()
    s.ask(1, "Hello?")
    for attempt in (1, 2):
        s.say(
            RunRetrying(
                run_id="run_1", attempt=attempt, of=2, retry_at=s.now() + 1, error=replace(BUSY, hint="Wait.")
            )
        )
        s.say(RunConnecting(run_id="run_1"))
    s.part(1, 0, TextPart())
    s.text(1, 0, "Hello.")
    s.complete(1, None)


@story
def answer_corrected(s: Story) -> None:
    """An answer that does not match its schema stays until the corrected one begins, which replaces it."""
    s.create()
    s.ask(1, "The Seine as JSON.")
    s.part(1, 0, ReasoningPart())
    s.text(1, 0, "A river.")
    s.part(1, 1, TextPart())
    s.text(1, 1, "The Seine ", "is 775 km long.")
    s.say(
        RunRetrying(
            run_id="run_1",
            attempt=1,
            of=1,
            retry_at=s.now(),
            error=ErrorInfo(code="answer_invalid", message="The answer does not match the schema."),
        ),
        RunConnecting(run_id="run_1"),
        RunAnswering(run_id="run_1", model="demo/tour"),
    )
    s.part(1, 0, TextPart())
    s.text(1, 0, '{"river": "Seine", ', '"km": 775}')
    s.complete(1)


@story
def failed_then_retry(s: Story) -> None:
    """A retry replaces the failed answer and keeps the question."""
    s.create()
    s.ask(1, "Hello?")
    s.say(RunFailed(run_id="run_1", at=s.now(), error=BUSY))
    s.queue(2, kind="retry", rooted=True, parent_id="q_1", replaces="a_1")
    s.start(2)
    s.part(2, 0, TextPart())
    s.text(2, 0, "Hello.")
    s.complete(2)


@story
def retry_that_fails(s: Story) -> None:
    """The old answer stays until a retry produces text; a second retry replaces both."""
    s.create()
    s.ask(1, "Tell a story.")
    s.part(1, 0, TextPart())
    s.text(1, 0, "Once upon a")
    s.say(RunInterrupted(run_id="run_1", at=s.now(), error=BROKEN))
    s.queue(2, kind="retry", rooted=True, parent_id="q_1", replaces="a_1")
    s.start(2)
    s.say(RunFailed(run_id="run_2", at=s.now(), error=BUSY))
    s.say(MessageRemoved(message_id="a_2"))
    s.queue(3, kind="retry", rooted=True, parent_id="q_1", replaces="a_1")
    s.start(3)
    s.part(3, 0, TextPart())
    s.text(3, 0, "Once upon a time.")
    s.complete(3)


@story
def refused(s: Story) -> None:
    """Questions q_1, q_4, q_5 and q_6 were refused for their content; others failed or were answered."""

    def refuse(number: int, status: int | None, code: str = "request_rejected") -> None:
        error = ErrorInfo(code=code, message="No.", stage="first_byte", http_status=status)
        s.say(RunFailed(run_id=f"run_{number}", at=s.now(), error=error))

    s.create()
    s.ask(1, "Too large?")
    refuse(1, 413)
    s.ask(2, "With a wrong key?")
    refuse(2, 400, "authentication_failed")
    s.ask(3, "Too often?")
    refuse(3, 429, "rate_limited")
    s.ask(4, "Too long?")
    refuse(4, None, "context_too_long")
    s.say(MessageRemoved(message_id="a_4"))
    s.ask(5, "Filtered?")
    s.say(RunIncomplete(run_id="run_5", at=s.now(), finish_reason="content_filter"))
    s.turn(6, "Answered, and then refused?", "Yes.")
    s.queue(7, kind="regenerate", rooted=True, parent_id="q_6")
    s.start(7)
    refuse(7, 422)
    s.ask(8, "Refused, and then answered?")
    refuse(8, 400)
    s.queue(9, kind="retry", rooted=True, parent_id="q_8", replaces="a_8")
    s.start(9)
    s.part(9, 0, TextPart())
    s.text(9, 0, "Yes.")
    s.complete(9)


@story
def answer_with_sources(s: Story) -> None:
    """Sources and notices are part of the end of a run; a continuation adds to them."""
    s.create()
    s.ask(1, "Where is the Seine?")
    s.part(1, 0, TextPart())
    s.text(1, 0, "In France [1]")
    first = Source(title="Seine", url="https://example.org/seine")
    error = replace(BROKEN, partial_chars=13)
    s.say(RunInterrupted(run_id="run_1", at=s.now(), error=error, sources=(first,), notices=("One.",)))
    s.queue(2, kind="continue", answer="a_1")
    s.start(2)
    s.part(2, 1, TextPart())
    s.text(2, 1, " [2].")
    s.say(
        RunCompleted(
            run_id="run_2",
            at=s.now(),
            finish_reason="stop",
            sources=(first, Source(title="rivers.pdf")),
            notices=("One.", "Two."),
        )
    )


@story
def answered_by_two_responses(s: Story) -> None:
    """The events of each response of a server are numbered separately."""
    s.create()
    s.ask(1, "Twice?")
    s.say(RunAnswering(run_id="run_1", response_id="resp_1"))
    s.part(1, 0, TextPart())
    s.say(RunAnswering(run_id="run_1", sequence=90))
    s.say(RunAnswering(run_id="run_1", response_id="resp_2"))
    s.say(RunAnswering(run_id="run_1", sequence=7))


@story
def from_the_cache(s: Story) -> None:
    """An answer from the cache has no usage; one of a server after it, in the same run, is not from it."""
    s.create()
    s.ask(1, "Which rivers cross Paris?")
    s.say(RunAnswering(run_id="run_1", model="demo/tour", from_cache=True))
    s.part(1, 0, TextPart())
    s.text(1, 0, "The Seine.")
    s.complete(1, usage=None)
    s.ask(2, "And Lyon?")
    s.say(
        RunAnswering(run_id="run_2", model="demo/tour", from_cache=True),
        RunAnswering(run_id="run_2", model="demo/tour", server="api.example.com"),
    )
    s.part(2, 0, TextPart())
    s.text(2, 0, "The Rhône.")
    s.complete(2)


@story
def interrupted_then_continue(s: Story) -> None:
    """A continuation adds a new part to the same message."""
    s.create()
    s.ask(1, "Tell a story.")
    s.part(1, 0, TextPart())
    s.text(1, 0, "Once upon ", "a")
    s.say(RunInterrupted(run_id="run_1", at=s.now(), error=BROKEN, usage=Usage(output_tokens=4)))
    s.queue(2, kind="continue", answer="a_1")
    s.start(2)
    s.part(2, 1, TextPart())
    s.text(2, 1, " time.")
    s.complete(2)


@story
def interrupted_then_kept(s: Story) -> None:
    """The user keeps an interrupted answer, and its end is saved late."""
    s.create()
    s.ask(1, "Tell a story.")
    s.part(1, 0, TextPart())
    s.text(1, 0, "Once", end=False)
    s.say(
        RunInterrupted(run_id="run_1", at=s.now(), error=BROKEN),
        RunSaved(run_id="run_1", saved=False),
        RunAcknowledged(run_id="run_1"),
        RunSaved(run_id="run_1", saved=True),
        RunSaved(run_id="run_9", saved=False),
    )


@story
def incomplete(s: Story) -> None:
    """An answer that reaches the length limit is incomplete."""
    s.create()
    s.ask(1, "Write a book.")
    s.part(1, 0, TextPart())
    s.text(1, 0, "Chapter one")
    s.say(RunIncomplete(run_id="run_1", at=s.now(), finish_reason="length", usage=USAGE))


@story
def paused(s: Story) -> None:
    """A run is paused in the queue, while it connects, and while it streams."""
    s.create()
    s.queue(1, "Slowly.")
    s.say(RunPaused(run_id="run_1", at=s.now()), RunRequeued(run_id="run_1"))
    s.start(1)
    s.say(RunPaused(run_id="run_1", at=s.now()), RunConnecting(run_id="run_1"))
    s.part(1, 0, TextPart())
    s.text(1, 0, "One", end=False)
    s.say(RunPaused(run_id="run_1", at=s.now()))
    s.text(1, 0, " two", end=False)
    s.say(RunResumed(run_id="run_1"))
    s.text(1, 0, " three.")
    s.complete(1)


@story
def versions(s: Story) -> None:
    """A regenerated answer and an edited question are versions, of which one is selected."""
    s.create()
    s.turn(1, "Paris?", "The Seine.")
    s.turn(2, "And Lyon?", "The Rhône.")
    s.queue(3, kind="regenerate", rooted=True, parent_id="q_2")
    s.start(3)
    s.part(3, 0, TextPart())
    s.text(3, 0, "The Rhône and the Saône.")
    s.complete(3)
    s.queue(4, "Rome?", rooted=True, parent_id=None)
    s.start(4)
    s.part(4, 0, TextPart())
    s.text(4, 0, "The Tiber.")
    s.complete(4)
    s.say(MessageSelected(message_id="q_1"), MessageSelected(message_id="a_2"))
    s.say(MessageSelected(message_id="nobody"))


@story
def versions_discarded(s: Story) -> None:
    """Discarding a version removes the messages after it and selects its newest sibling."""
    versions(s)
    s.say(MessageRemoved(message_id="a_2"), MessageRemoved(message_id="a_2"))
    s.say(MessageSelected(message_id="q_4"), MessageRemoved(message_id="q_4"))
    s.say(MessageRemoved(message_id="a_3"))
    s.say(MessageRemoved(message_id="q_1"))


@story
def imported(s: Story) -> None:
    """Imported messages are added to the tree unchanged."""
    s.create(title="imported", from_file=True, instructions="Be brief.")
    system = Message(id="m_0", role="system", parts=(TextPart(text="Be brief."),), created_at=1.0)
    picture = ImagePart(text="data:image/png;base64,iVBORw0KGgo=", name="map.png")
    question = Message(
        id="m_1", role="user", parts=(TextPart(text="Where?"), picture), created_at=2.0, parent_id="m_0"
    )
    call = ToolCallPart(call_id="call_1", name="find", text='{"what":"map"}')
    answer = Message(id="m_2", role="assistant", parts=(call,), created_at=3.0, parent_id="m_1")
    s.say(*[MessageAdded(message=message) for message in (system, question, answer)])


@story
def tool_call(s: Story) -> None:
    """The end of a tool call can complete its id and its name."""
    s.create()
    s.ask(1, "What is the weather?")
    s.part(1, 0, ToolCallPart(call_id="call_1"))
    s.text(1, 0, '{"city":', '"Lyon"}', call_id="call_12", name="weather")
    s.part(1, 1, ToolCallPart(call_id="call_2", name="time"))
    s.text(1, 1, "{}")
    s.say(RunCompleted(run_id="run_1", at=s.now(), finish_reason="tool_calls"))


@story
def tools_approved(s: Story) -> None:
    """Calls are approved one by one, and the next round of the same run follows their results."""
    s.create()
    s.ask(1, "Rates?")
    s.say(RunAnswering(run_id="run_1", response_id="resp_1", sequence=9))
    s.part(1, 0, TextPart())
    s.text(1, 0, "Let me look.")
    for index, currency in enumerate(("USD", "GBP", "EUR"), 1):
        s.part(1, index, ToolCallPart(call_id=f"c{index}", name="rate"))
        s.text(1, index, f'{{"currency":"{currency}"}}')
    s.say(RunAwaitingApproval(run_id="run_1", at=s.now(), call_ids=("c1", "c2", "c3")))
    s.part(1, 4, ToolResultPart(call_id="c3", text="The user refused this call.", is_error=True))
    s.say(RunActing(run_id="run_1", at=s.now(), call_ids=("c1",), by="user"))
    s.part(1, 5, ToolResultPart(call_id="c1", text="1.08", images=("data:image/png;base64,iVBORw0KGgo=",)))
    s.text(1, 5)
    s.say(RunAwaitingApproval(run_id="run_1", at=s.now(), call_ids=("c2",)))
    s.say(RunActing(run_id="run_1", at=s.now(), call_ids=("c2",), by="policy"))
    s.part(1, 6, ToolResultPart(call_id="c2", text="0.86"))
    s.say(
        RunConnecting(run_id="run_1"),
        RunRetrying(run_id="run_1", attempt=1, of=2, retry_at=s.now(), error=BUSY),
        RunConnecting(run_id="run_1"),
        RunAnswering(run_id="run_1", response_id="resp_2", sequence=1),
    )
    s.part(1, 7, TextPart())
    s.text(1, 7, "1.08 and 0.86.")
    s.complete(1)


@story
def tools_stopped(s: Story) -> None:
    """A run that is stopped while a call runs keeps it without a result, and no call asks any more."""
    s.create()
    s.ask(1, "Rates?")
    for index in (0, 1):
        s.part(1, index, ToolCallPart(call_id=f"c{index}", name="rate", text="{}"))
    s.say(RunAwaitingApproval(run_id="run_1", at=s.now(), call_ids=("c0", "c1")))
    s.say(RunActing(run_id="run_1", at=s.now(), call_ids=("c0", "unknown"), by="user"))
    s.say(StopRequested(run_id="run_1", at=s.now()), RunStopped(run_id="run_1", at=s.now()))
    s.say(RunActing(run_id="run_1", at=s.now(), call_ids=("c1",), by="user"))
    s.say(RunAwaitingApproval(run_id="run_1", at=s.now(), call_ids=("c1",)))


@story
def every_alphabet(s: Story) -> None:
    """Offsets count UTF-16 code units and progress counts code points, whatever the script."""
    s.create(title="\U0001d518ni")
    s.ask(1, "Emoji? 👩‍👩‍👧‍👦")
    s.part(1, 0, TextPart())
    s.text(
        1,
        0,
        "Family: 👩",
        "‍👩‍👧",
        "‍👦, 中文字, ",
        "e\u0301, \U0001f1eb",
        "\U0001f1f7 ",
        "\ufffd\u2028\ufeff",
        "ﷺ",
    )
    s.complete(1)


@story
def settings(s: Story) -> None:
    """Settings, the unread mark, deletion and undo change the session."""
    s.create(temporary=True, thread_id="user-42")
    s.say(
        SettingsChanged(
            settings=Settings(title="new", pinned=True, params={"stop": ["a", None], "n": {"x": 1}})
        ),
        UnreadChanged(unread=True),
        SessionDeleted(at=s.now()),
        UnreadChanged(unread=False),
        SessionDeleted(at=s.now(), deleted=False),
        SettingsChanged(settings=Settings(closed=True, archived=True, provider="other")),
    )


@story
def late_and_lost(s: Story) -> None:
    """Events for a run that is over or does not exist change only `seq`."""
    s.turn(1, "Paris?", "The Seine.")
    s.text(1, 0, " Late.")
    s.part(1, 1, TextPart(text="late"))
    s.complete(1)
    s.say(
        StopRequested(run_id="run_1", at=s.now()),
        RunAnswering(run_id="run_1", model="late"),
        RunRetrying(run_id="run_1", attempt=1, of=2, retry_at=0.0, error=BUSY),
        RunConnecting(run_id="run_1"),
        RunFailed(run_id="run_1", at=s.now(), error=BUSY),
        RunAcknowledged(run_id="run_9"),
        RunStarted(run_id="run_9", at=s.now(), prompt=None, answer=None),
        PartDelta(run_id="run_9", at=s.now(), part_index=0, offset=0, text="lost"),
    )
    s.ask(2, "And?")
    s.part(2, 1, TextPart())  # the first part of an answer is part 0
    s.say(PartDelta(run_id="run_2", at=s.now(), part_index=4, offset=0, text="lost"))


@story
def names_of_objects(s: Story) -> None:
    """Ids that are names of object members in JavaScript have no special meaning."""
    s.create(title="__proto__")
    names = ("__proto__", "constructor", "toString", "hasOwnProperty")
    for parent, name in zip((None, *names), names, strict=False):
        message = Message(id=name, role="user", parts=(TextPart(text=name),), parent_id=parent)
        s.say(MessageAdded(message=message))
    s.say(MessageSelected(message_id="valueOf"), MessageRemoved(message_id="isPrototypeOf"))
    s.say(
        MessageAdded(message=Message(id="other", role="user", parent_id="toString")),
        MessageRemoved(message_id="other"),
    )


class Noise:
    """Generates events of every kind, for a few runs and messages, in random order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _message(self, *, parent: bool = True) -> Message:
        draw = self._random
        return Message(
            id=f"m_{draw.randrange(7)}",
            role=draw.choice(("user", "assistant")),
            parts=tuple([self._part() for _ in range(draw.randrange(3))]),
            created_at=float(draw.randrange(100)),
            parent_id=f"m_{draw.randrange(7)}" if parent and draw.random() < 0.8 else None,
            run_id=draw.choice((None, "r_0", "r_1", "r_2")),
        )

    def _part(self) -> Part:
        kind = self._random.choice((TextPart, ReasoningPart, ToolCallPart, ToolResultPart))
        if kind in (ToolCallPart, ToolResultPart):
            return kind(text=self._text(), call_id=self._random.choice(("", "call")))
        return kind(text=self._text())

    def _text(self) -> str:
        return "".join(self._random.choices("ab 𝔘é\n", k=self._random.randrange(5)))

    def event(self) -> Event:
        """Return a random event."""
        draw = self._random
        run: dict[str, Any] = {"run_id": f"r_{draw.randrange(4)}"}
        timed = {**run, "at": float(draw.randrange(3))}
        part = {**run, "part_index": draw.randrange(3)}
        message_id = f"m_{draw.randrange(7)}"
        usage = draw.choice((None, USAGE))
        error = draw.choice((BUSY, BROKEN))
        kinds: Sequence[Callable[[], Event]] = (
            lambda: MessageAdded(message=self._message()),
            lambda: MessageRemoved(message_id=message_id),
            lambda: MessageSelected(message_id=message_id),
            lambda: RunQueued(
                **timed,
                kind=draw.choice(("send", "continue")),
                message_id=message_id,
                prompt=draw.choice((None, self._message())),
                replaces=draw.choice((None, None, f"m_{draw.randrange(7)}")),
            ),
            lambda: RunStarted(
                **timed,
                prompt=draw.choice((None, self._message())),
                answer=draw.choice((None, self._message(), replace(self._message(), id=message_id))),
                model=draw.choice((None, "model")),
            ),
            lambda: RunRetrying(**run, attempt=1, of=2, retry_at=2.0, error=error),
            lambda: RunConnecting(**run),
            lambda: RunAnswering(**run, model=draw.choice((None, "", "answers")), sequence=draw.randrange(9)),
            lambda: PartStarted(**timed, part_index=draw.randrange(3), part=self._part()),
            lambda: PartDelta(**timed, part_index=draw.randrange(3), offset=0, text=self._text()),
            lambda: PartEnded(
                **part, length=1, crc32=2, seconds=3.0, call_id=draw.choice((None, "", "call"))
            ),
            lambda: RunAwaitingApproval(**timed, call_ids=draw.choice((("call",), ("", "call")))),
            lambda: RunActing(**timed, call_ids=draw.choice((("call",), ("", "call"))), by="user"),
            lambda: RunPaused(**timed),
            lambda: RunResumed(**run),
            lambda: RunRequeued(**run),
            lambda: StopRequested(**timed),
            lambda: RunCompleted(**timed, finish_reason="stop", usage=usage),
            lambda: RunIncomplete(**timed, finish_reason="length", usage=usage),
            lambda: RunStopped(**timed, usage=usage),
            lambda: RunFailed(**timed, error=error),
            lambda: RunInterrupted(**timed, error=error, usage=usage),
            lambda: RunAcknowledged(**run),
            lambda: RunSaved(**run, saved=draw.random() < 0.5),
        )
        # Deltas are the most frequent. Ends are rare, so that runs stay live.
        weights = (4, 1, 2, 6, 8, 1, 2, 2, 8, 12, 3, 2, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1)
        return draw.choices(kinds, weights)[0]()


def noise(seed: int) -> Callable[[Story], None]:
    """Return a story of random events."""

    def tell(s: Story) -> None:
        draw = Noise(seed)
        s.say(*[draw.event() for _ in range(150)])

    return tell


for _seed in range(4):
    STORIES[f"noise_{_seed}"] = (
        f"Random events in inconsistent order, with seed {_seed}.",
        noise(_seed),
    )


def record(about: str, tell: Callable[[Story], None]) -> str:
    """Return a story's file: its events, one on each line, and the state they fold to."""
    told = Story()
    tell(told)
    events = ",\n".join(["  " + _json(event) for event in told.events])
    return (
        f'{{"about": {_json(about)},\n"session_id": {_json(SESSION)},\n"events": [\n{events}\n],\n'
        f'"state": {_json(told.state)}}}\n'
    )


def _json(value: object) -> str:
    return json.dumps(_type_last(json.loads(encode_json(value))), ensure_ascii=False)


def _type_last(value: Any) -> Any:
    """Return `value` with the tag of each object after its fields, as in the recorded files."""
    if isinstance(value, list):
        return [_type_last(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: _type_last(item) for key, item in value.items()}
    if "type" in fields:
        fields["type"] = fields.pop("type")
    return fields


def files() -> Mapping[Path, str]:
    """Return the expected content of every file."""
    return {FOLDER / f"{name}.json": record(about, tell) for name, (about, tell) in STORIES.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them; return the exit status."""
    wanted = files()
    obsolete = sorted(set(FOLDER.glob("*.json")) - set(wanted))
    return write_or_check(wanted, arguments, command="python -m tests.logs.record", obsolete=obsolete)


if __name__ == "__main__":
    sys.exit(main())
