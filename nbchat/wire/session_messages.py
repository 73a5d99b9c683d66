"""Functions that make the messages about one session: its head, its state, its earlier messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nbchat.core.run import RunState
from nbchat.core.transcript import ROOT, SessionState
from nbchat.protocol import (
    WINDOW,
    EarlierMessages,
    Head,
    HeadCall,
    HeadTool,
    SessionStateMessage,
    WantEarlier,
)

if TYPE_CHECKING:
    from nbchat.engine.live_session import LiveSession


def head_of(session: LiveSession, number: int = 0, cost: str = "") -> Head:
    """Return the head of a session. `number` identifies it on the wire."""
    state = session.shown
    run = state.live
    last = run or (state.runs[-1] if state.runs else None)
    waiting = session.runs.waiting(run) if run is not None else None
    active = 0.0
    if last is not None:
        active = last.ended_at or last.last_delta_at or last.started_at or last.queued_at
    return Head(
        id=state.id,
        seq=session.record.visible,
        title=state.title,
        state=state.status,
        run_id=run.id if run is not None else None,
        model=(last.model if last is not None else None) or state.settings.model,
        created_at=state.created_at,
        active_at=active or state.created_at,
        started_at=run.started_at if run is not None else None,
        waiting_since=waiting.since if waiting is not None else None,
        first_token_s=waiting.limit_s if waiting is not None else None,
        characters=run.characters if run is not None else 0,
        queued=sum(r.state is RunState.QUEUED and r is not run for r in state.runs),
        position=session.position,
        unread=state.unread,
        pinned=state.settings.pinned,
        rank=state.rank,
        closed=state.settings.closed,
        archived=state.settings.archived,
        deleted=state.deleted,
        temporary=state.temporary,
        messages=len(state.path),
        cost=cost,
        own_provider=session.provider is not None,
        tools=tuple(
            HeadTool(name=tool.spec.name, on=tool in session.tools) for tool in session.offered_tools
        ),
        calls=tuple(_waiting_calls(session)),
        number=number,
    )


def _waiting_calls(session: LiveSession) -> Iterator[HeadCall]:
    """Yield the calls with a preview, and those that wait for the main thread."""
    tools = session.live.tools if session.live is not None else None
    if tools is not None:
        for call_id, preview in tools.previews.items():
            yield HeadCall(call_id=call_id, preview=preview)
        for call_id in sorted(tools.queued):
            yield HeadCall(call_id=call_id, queued=True)


def state_message(state: SessionState, page: str | None) -> SessionStateMessage:
    """Return a session's state with its last `WINDOW` messages, for one page or for all."""
    path = state.path
    omitted = max(len(path) - WINDOW, 0)
    if omitted:
        shown = {message.id for message in path[omitted:]}
        parents = {message.parent_id for message in path[omitted:]}
        messages = {
            key: message
            for key, message in state.messages.items()
            if key in shown or (message.parent_id in parents and message.parent_id is not None)
        }
        selected = {key: value for key, value in state.selected.items() if value in shown}
        selected[ROOT] = path[omitted].id
        runs = tuple(
            run for run in state.runs if run.state.is_live or not messages.keys().isdisjoint(run.about)
        )
        state = replace(state, messages=messages, selected=selected, runs=runs)
    return SessionStateMessage(state=state, omitted=omitted, to=page)


def earlier_messages(state: SessionState, request: WantEarlier) -> EarlierMessages:
    """Return up to `WINDOW` messages that precede one, with their other versions."""
    path = state.path
    at = next((i for i, m in enumerate(path) if m.id == request.before), 0)
    start = max(at - WINDOW, 0)
    chosen = path[start:at]
    parents = {m.parent_id for m in chosen}
    versions = tuple(
        m for m in state.messages.values() if m in chosen or (m.parent_id and m.parent_id in parents)
    )
    ids = {m.id for m in chosen} | {request.before}
    selected = {key: value for key, value in state.selected.items() if value in ids}
    if chosen:
        selected[ROOT] = chosen[0].id
    return EarlierMessages(
        to=request.page,
        session_id=request.session_id,
        messages=versions,
        selected=selected,
        omitted=start,
    )
