"""`plan_of`: builds the request of a run from the state of its session alone."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nbchat.core.cached import CACHE
from nbchat.core.messages import Message, TextPart, ToolCallPart, ToolResultPart
from nbchat.core.recovery import in_force
from nbchat.core.refusals import refused_questions
from nbchat.core.run import RunRecord
from nbchat.core.structured import SCHEMA
from nbchat.engine.run_plan import RunPlan
from nbchat.providers.base import Provider, Request, Timeouts, ToolSpec

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.limits import Limits

CONTINUE: Final = (
    "Continue your last answer exactly where it stopped. Do not repeat anything, do not comment."
)
"""Prompt for servers that cannot continue a partial answer otherwise."""


def plan_of(state: SessionState, run: RunRecord, limits: Limits, tools: tuple[ToolSpec, ...] = ()) -> RunPlan:
    """Return the plan of a run that has just started; its answer is already in the transcript."""
    settings = in_force(state.settings)
    answer = state.messages[run.message_id]
    appends = run.kind in ("continue", "resume")
    until = answer.id if appends else answer.parent_id
    resumed = resumed_by(state, run)
    params = deepcopy({**settings.params, **run.params})  # a provider may change its copy
    schema = params.pop(SCHEMA, None)
    uses_cache = params.pop(CACHE, False) is True
    ends_with_calls = bool(answer.parts) and isinstance(answer.parts[-1], ToolCallPart | ToolResultPart)
    request = Request(
        messages=sent_messages(state, until),
        model=settings.model or (answer.model if appends and not settings.from_file else None),
        instructions=settings.instructions,
        params=params,
        schema=schema if isinstance(schema, Mapping) else None,
        session_id=state.id,
        run_id=run.id,
        tools=tools,
        # An answer that ends with calls is not continued at the last character of its text.
        prefill=appends and bool(answer.text) and not ends_with_calls,
        resume_id=resumed.response_id if resumed is not None else None,
        resume_after=resumed.response_sequence if resumed is not None else 0,
        timeouts=Timeouts(connect_s=limits.connect_s),
    )
    return RunPlan(
        run_id=run.id,
        request=request,
        first_part=len(answer.parts),
        uses_cache=uses_cache and not appends,
        text_before=answer.final_text,
        characters_left=max(limits.session_chars - state.characters, 0),
    )


def sent_messages(state: SessionState, until: str | None) -> tuple[Message, ...]:
    """Return the messages up to `until` for a request, without empty answers and refused questions.

    The last question is the current prompt, so it is always included. System messages, which only files have,
    are never sent: instructions are a setting, which the user adopts.
    """
    path = state.context(until)
    refused = refused_questions(state, path)
    asked = next((message.id for message in reversed(path) if message.role == "user"), None)
    return tuple(
        message
        for message in path
        if message.parts and message.role != "system" and (message.id not in refused or message.id == asked)
    )


def resumed_by(state: SessionState, run: RunRecord) -> RunRecord | None:
    """Return the run whose response `run` resumes, or `None`."""
    if run.kind != "resume":
        return None
    others = [other for other in state.runs if other.message_id == run.message_id and other.id != run.id]
    return next((other for other in reversed(others) if other.response_id), None)


def fitted(request: Request, provider: Provider) -> Request:
    """Return the request for this provider, with a prompt to continue if it does not support prefill."""
    if not request.prefill or request.resume_id is not None or provider.can_prefill:
        return request
    nudge = Message(id="", role="user", parts=(TextPart(text=CONTINUE),))
    return replace(request, messages=(*request.messages, nudge), prefill=False)
