"""`SessionState`: the immutable state of a session, folded from its events by `apply_event`.

`apply_event` is pure: it uses neither a clock nor random numbers. `js/src/state/fold.ts` folds the same
events; the logs in `tests/logs/*.json` verify that both produce the same results.

Messages form a tree, since an edited question and a regenerated answer are *versions* of a turn:
siblings with one parent. `selected` maps each parent to its selected child; the transcript is this path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from msgspec import field
from msgspec.structs import replace

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
from nbchat.core.messages import Attachment, Message, Part, ReasoningPart, ToolCallPart, ToolResultPart, Usage
from nbchat.core.run import Moved, RunRecord, RunState, transition
from nbchat.core.text import cut
from nbchat.core.values import FiniteFloat, SafeInt, Value

ROOT: Final = ""
"""Key in `selected` for the first message, which has no parent."""

MAX_RANK: Final = 1e12
"""Upper limit of ranks, far beyond the creation time of any session."""


class SessionState(Value, frozen=True, kw_only=True):
    """The complete state of a session at one `seq`."""

    id: str
    seq: SafeInt = 0
    """Number of the last event folded in; 0 before the first."""
    created_at: FiniteFloat = 0.0
    settings: Settings = field(default_factory=Settings)
    temporary: bool = False
    thread_id: str | None = None
    """The `thread_id` of `nbchat.get_completion` for this session."""
    deleted: bool = False
    unread: bool = False
    messages: Mapping[str, Message] = field(default_factory=dict)
    """All versions of all turns, by id, in order of arrival."""
    selected: Mapping[str, str] = field(default_factory=dict)
    """Maps the id of a parent (or `ROOT`) to the id of the selected child."""
    runs: tuple[RunRecord, ...] = ()
    """Oldest first; at most one live run is not queued."""

    @property
    def path(self) -> tuple[Message, ...]:
        """The transcript: the selected version of every turn, oldest first."""
        path: list[Message] = []
        here = self.selected.get(ROOT)
        # The limit on the length ends cycles, which a damaged or hostile file may have.
        while here is not None and len(path) < len(self.messages):
            message = self.messages.get(here)
            if message is None:
                break
            path.append(message)
            here = self.selected.get(here)
        return tuple(path)

    @property
    def leaf(self) -> str | None:
        """Id of the last message of the transcript."""
        path = self.path
        return path[-1].id if path else None

    def context(self, message_id: str | None) -> tuple[Message, ...]:
        """Return the messages from the first to `message_id`, regardless of the selected versions."""
        path: list[Message] = []
        while message_id is not None and len(path) < len(self.messages):  # as in `path`
            message = self.messages.get(message_id)
            if message is None:
                break
            path.append(message)
            message_id = message.parent_id
        return tuple(reversed(path))

    def versions(self, message_id: str) -> tuple[Message, ...]:
        """Return the siblings of a message, including itself, oldest first."""
        message = self.messages[message_id]
        return tuple(
            other
            for other in self.messages.values()
            if other.parent_id == message.parent_id and other.role == message.role
        )

    def run(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, or `None` if it does not exist."""
        for run in reversed(self.runs):
            if run.id == run_id:
                return run
        return None

    @property
    def live(self) -> RunRecord | None:
        """The oldest run that has not ended."""
        return next((run for run in self.runs if run.state.is_live), None)

    @property
    def status(self) -> str:
        """The state of the live run, else of the last one, else `idle`."""
        run = self.live or (self.runs[-1] if self.runs else None)
        return "idle" if run is None else str(run.state)

    @property
    def title(self) -> str:
        """The user's title, else the first words of the first question, or the names of its attachments."""
        if self.settings.title:
            return self.settings.title
        for message in self.path:
            if message.role == "user":
                names = [part.name for part in message.parts if isinstance(part, Attachment)]
                words = message.text.split() or " ".join(names).split()
                return cut(" ".join(words[:8]), 48)
        return ""

    @property
    def rank(self) -> float:
        """Position among the tabs, lowest first."""
        rank = self.settings.rank
        # An extreme rank, as in a hostile file, would leave no numbers for other sessions.
        return self.created_at if rank is None or not abs(rank) < MAX_RANK else rank

    @property
    def characters(self) -> int:
        """Number of characters in all versions and parts."""
        return sum(message.size for message in self.messages.values())

    @property
    def usage(self) -> Usage:
        """The sum of the usage that servers reported for all runs."""
        total = Usage()
        for run in self.runs:
            if run.usage is not None:
                total += run.usage
        return total


def apply_event(state: SessionState, event: Event) -> SessionState:
    """Return `state` with one more event folded in; `seq` increases by one.

    An event that does not apply (a late delta, an unknown message) changes only `seq`, in Python as in
    TypeScript.
    """
    changes = _FOLDS[type(event)](state, event)
    return replace(state, seq=state.seq + 1, **changes)


Changes = dict[str, Any]


def _created(_state: SessionState, event: SessionCreated) -> Changes:
    return {
        "created_at": event.at,
        "settings": event.settings,
        "temporary": event.temporary,
        "thread_id": event.thread_id,
    }


def _settings(_state: SessionState, event: SettingsChanged) -> Changes:
    return {"settings": event.settings}


def _unread(_state: SessionState, event: UnreadChanged) -> Changes:
    return {"unread": event.unread}


def _deleted(_state: SessionState, event: SessionDeleted) -> Changes:
    return {"deleted": event.deleted}


def _place(state: SessionState, *new: Message | None) -> Changes:
    """Add messages to the tree and select each among its siblings."""
    messages, selected = dict(state.messages), dict(state.selected)
    for message in new:
        if message is not None:
            messages[message.id] = message
            selected[message.parent_id or ROOT] = message.id
    return {"messages": messages, "selected": selected}


def _added(state: SessionState, event: MessageAdded) -> Changes:
    return _place(state, event.message)


def _removed(state: SessionState, event: MessageRemoved) -> Changes:
    return _without(state, event.message_id)


def _without(state: SessionState, message_id: str) -> Changes:
    """Remove a message and its descendants; the newest remaining sibling is selected instead."""
    message = state.messages.get(message_id)
    if message is None:
        return {}
    gone = {message_id}
    for other in state.messages.values():  # parents precede their children
        if other.parent_id in gone:
            gone.add(other.id)
    messages = {key: value for key, value in state.messages.items() if key not in gone}
    selected = {
        parent: child for parent, child in state.selected.items() if parent not in gone and child not in gone
    }
    parent = message.parent_id or ROOT
    if parent not in selected:
        for other in messages.values():
            if (other.parent_id or ROOT) == parent:
                selected[parent] = other.id
    return {"messages": messages, "selected": selected}


def _selected(state: SessionState, event: MessageSelected) -> Changes:
    message = state.messages.get(event.message_id)
    if message is None:
        return {}
    return {"selected": {**state.selected, message.parent_id or ROOT: message.id}}


def _queued(state: SessionState, event: RunQueued) -> Changes:
    waiting = state.run(event.run_id)
    if (
        waiting is not None
        and waiting.state.is_live
        and waiting.prompt is not None
        and event.prompt is not None
    ):
        return _with_run(state, event.run_id, prompt=event.prompt, prompt_id=event.prompt.id)
    record = RunRecord(
        id=event.run_id,
        kind=event.kind,
        state=RunState.QUEUED,
        message_id=event.message_id,
        queued_at=event.at,
        prompt=event.prompt,
        prompt_id=event.prompt.id if event.prompt else None,
        rooted=event.rooted,
        parent_id=event.parent_id,
        replaces=event.replaces,
        params=event.params,
    )
    return {"runs": (*state.runs, record)}


def _with_run(state: SessionState, run_id: str, /, **changes: Any) -> Changes:  # noqa: ANN401 - fields of RunRecord
    runs = list(state.runs)
    for index in range(len(runs) - 1, -1, -1):
        if runs[index].id == run_id:
            runs[index] = replace(runs[index], **changes)
            return {"runs": tuple(runs)}
    return {}


def _started(state: SessionState, event: RunStarted) -> Changes:
    record = state.run(event.run_id)
    if record is None:
        return {}
    replaced = state.messages.get(record.replaces or "")
    changes = _without(state, replaced.id) if replaced is not None and not replaced.parts else {}
    tree = replace(state, **changes)
    existing = tree.messages.get(record.message_id)
    appended = (
        replace(existing, run_id=record.id, finish_reason=None, usage=None)
        if existing is not None and event.answer is None
        else None
    )
    return {
        **_place(tree, event.prompt, event.answer or appended),
        **_with_run(
            state,
            event.run_id,
            state=_next(record, event),
            started_at=event.at,
            prompt=None,
            model=event.model,
            first_part=len(appended.parts) if appended is not None else 0,
        ),
    }


def _next(record: RunRecord, event: Event) -> RunState:
    outcome = transition(record.state, event)
    return outcome.state if isinstance(outcome, Moved) else record.state


def _moves(*fields: str) -> Callable[[SessionState, Any], Changes]:
    """Return a fold that changes the run's state and copies `fields` of the event that are not `None`."""

    def fold(state: SessionState, event: Any) -> Changes:  # noqa: ANN401 - one of RunEvent
        record = state.run(event.run_id)
        if record is None or record.state.is_over:
            return {}
        taken = {name: getattr(event, name) for name in fields if getattr(event, name) is not None}
        return _with_run(state, event.run_id, state=_next(record, event), **taken)

    return fold


def _retrying(state: SessionState, event: RunRetrying) -> Changes:
    record = state.run(event.run_id)
    if record is None or record.state.is_over:
        return {}
    return _with_run(
        state,
        event.run_id,
        state=_next(record, event),
        attempt=event.attempt,
        attempts=event.of,
        retry_at=event.retry_at,
        error=event.error,
    )


def _connecting(state: SessionState, event: RunConnecting) -> Changes:
    record = state.run(event.run_id)
    if record is None or record.state.is_over:
        return {}
    changes: Changes = {}
    if record.state in _HAVE_RESULTS:  # the next round; its attempts do not replace the results
        answer = state.messages.get(record.message_id)
        parts = len(answer.parts) if answer is not None else 0
        changes = {"round_part": parts, "asking": (), "response_id": None, "response_sequence": 0}
    return _with_run(state, event.run_id, state=_next(record, event), retry_at=None, error=None, **changes)


_HAVE_RESULTS: Final = (RunState.STREAMING, RunState.AWAITING_APPROVAL, RunState.ACTING)
"""States in which `RunConnecting` begins another round of the run."""


def _asking(state: SessionState, event: RunAwaitingApproval) -> Changes:
    record = state.run(event.run_id)
    if record is None or record.state.is_over:
        return {}
    return _with_run(state, event.run_id, state=_next(record, event), asking=event.call_ids)


def _acting(state: SessionState, event: RunActing) -> Changes:
    record = state.run(event.run_id)
    message = None if record is None else state.messages.get(record.message_id)
    if record is None or record.state.is_over or message is None:
        return {}
    asking = tuple(call_id for call_id in record.asking if call_id not in event.call_ids)
    parts = tuple(
        replace(part, started_at=event.at) if _is_call(part, event.call_ids) else part
        for part in message.parts
    )
    return {
        **_with_run(state, event.run_id, state=_next(record, event), asking=asking),
        **_with_answer(state, record, parts=parts),
    }


def _is_call(part: Part, call_ids: tuple[str, ...]) -> bool:
    return isinstance(part, ToolCallPart) and part.call_id in call_ids


def _answering(state: SessionState, event: RunAnswering) -> Changes:
    record = state.run(event.run_id)
    if record is None or record.state.is_over:
        return {}
    return {
        **_with_run(
            state,
            event.run_id,
            state=_next(record, event),
            model=event.model or record.model,
            server=event.server or record.server,
            from_cache=event.from_cache,
            response_id=event.response_id or record.response_id,
            response_sequence=event.sequence
            if event.response_id not in (None, record.response_id)
            else max(event.sequence, record.response_sequence),
        ),
        **_with_answer(state, record, model=event.model or record.model),
    }


def _with_answer(state: SessionState, record: RunRecord, /, **changes: Any) -> Changes:  # noqa: ANN401
    message = state.messages.get(record.message_id)
    if message is None:
        return {}
    return {"messages": {**state.messages, message.id: replace(message, **changes)}}


def _part_started(state: SessionState, event: PartStarted) -> Changes:
    record = state.run(event.run_id)
    message = None if record is None else state.messages.get(record.message_id)
    if record is None or record.state.is_over or message is None:
        return {}
    kept = len(message.parts)
    if record.state is RunState.CONNECTING:
        kept = max(record.first_part, record.round_part)  # the parts of an earlier attempt are replaced
    if event.part_index != kept:
        return {}
    changes: Changes = {}
    if record.replaces is not None and record.replaces != message.id:
        changes = _without(state, record.replaces)
    answered = event.part.call_id if isinstance(event.part, ToolResultPart) else None
    return {
        **changes,
        **_with_run(
            state,
            event.run_id,
            state=_next(record, event),
            asking=tuple(call_id for call_id in record.asking if call_id != answered),
            first_delta_at=record.first_delta_at or event.at,
            last_delta_at=event.at,
        ),
        **_with_answer(replace(state, **changes), record, parts=(*message.parts[:kept], event.part)),
    }


def _part_delta(state: SessionState, event: PartDelta) -> Changes:
    record = state.run(event.run_id)
    message = None if record is None else state.messages.get(record.message_id)
    if record is None or record.state.is_over or message is None or event.part_index >= len(message.parts):
        return {}
    part = message.parts[event.part_index]
    parts = list(message.parts)
    parts[event.part_index] = replace(part, text=part.text + event.text)
    return {
        **_with_run(
            state,
            event.run_id,
            state=_next(record, event),
            last_delta_at=event.at,
            characters=record.characters + len(event.text),
        ),
        **_with_answer(state, record, parts=tuple(parts)),
    }


def _part_ended(state: SessionState, event: PartEnded) -> Changes:
    record = state.run(event.run_id)
    message = None if record is None else state.messages.get(record.message_id)
    if record is None or record.state.is_over or message is None or event.part_index >= len(message.parts):
        return {}
    part = message.parts[event.part_index]
    if isinstance(part, ReasoningPart):
        part = replace(part, seconds=event.seconds)
    elif isinstance(part, ToolCallPart):
        part = replace(part, call_id=event.call_id or part.call_id, name=event.name or part.name)
    parts = list(message.parts)
    parts[event.part_index] = part
    return _with_answer(state, record, parts=tuple(parts))


def _ended(state: SessionState, event: Any) -> Changes:  # noqa: ANN401 - one of EndEvent
    record = state.run(event.run_id)
    if record is None or record.state.is_over:
        return {}
    reason = getattr(event, "finish_reason", None)
    usage = getattr(event, "usage", None)
    changes = _with_run(
        state,
        event.run_id,
        state=_next(record, event),
        ended_at=event.at,
        finish_reason=reason,
        usage=usage,
        error=getattr(event, "error", None),
        retry_at=None,
        asking=(),
    )
    message = state.messages.get(record.message_id)
    if message is None or message.run_id != record.id:
        return changes
    answer = {
        "finish_reason": reason,
        "usage": usage,
        "model": record.model or message.model,
        # A continued answer already has those of its beginning.
        "sources": _together(message.sources, getattr(event, "sources", ())),
        "notices": _together(message.notices, getattr(event, "notices", ())),
    }
    return {**changes, **_with_answer(state, record, **answer)}


T = TypeVar("T")


def _together(before: tuple[T, ...], more: tuple[T, ...]) -> tuple[T, ...]:
    """Return `before`, followed by the new values of `more`."""
    return tuple(dict.fromkeys((*before, *more)))


def _acknowledged(state: SessionState, event: RunAcknowledged) -> Changes:
    return _with_run(state, event.run_id, acknowledged=True)


def _saved(state: SessionState, event: RunSaved) -> Changes:
    return _with_run(state, event.run_id, saved=event.saved)


_FOLDS: Final[Mapping[type[Event], Callable[[SessionState, Any], Changes]]] = {
    SessionCreated: _created,
    SettingsChanged: _settings,
    UnreadChanged: _unread,
    SessionDeleted: _deleted,
    MessageAdded: _added,
    MessageRemoved: _removed,
    MessageSelected: _selected,
    RunQueued: _queued,
    RunStarted: _started,
    RunRetrying: _retrying,
    RunConnecting: _connecting,
    RunAnswering: _answering,
    PartStarted: _part_started,
    PartDelta: _part_delta,
    PartEnded: _part_ended,
    RunAwaitingApproval: _asking,
    RunActing: _acting,
    RunPaused: _moves(),
    RunResumed: _moves(),
    RunRequeued: _moves(),
    StopRequested: _moves(),
    RunCompleted: _ended,
    RunIncomplete: _ended,
    RunStopped: _ended,
    RunFailed: _ended,
    RunInterrupted: _ended,
    RunAcknowledged: _acknowledged,
    RunSaved: _saved,
}
