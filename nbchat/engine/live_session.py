"""`LiveSession`: executes the commands of one session, on the engine's loop."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import (
    CommandError,
    LimitExceeded,
    NothingToDo,
    RunInProgress,
    RunNotLive,
    SessionFull,
    SessionGone,
)
from nbchat.core.events import (
    MessageRemoved,
    MessageSelected,
    RunAcknowledged,
    RunQueued,
    SessionDeleted,
    Settings,
    SettingsChanged,
)
from nbchat.core.ids import new_id
from nbchat.core.messages import (
    MAX_VARIABLE_CHARS,
    Attachment,
    Author,
    Message,
    Part,
    TextPart,
    variable_chars,
)
from nbchat.core.recovery import in_force
from nbchat.core.refusals import is_refusal
from nbchat.core.run import RunRecord, RunState
from nbchat.core.settings import SettingsPatch
from nbchat.core.text import clean
from nbchat.core.transcript import SessionState
from nbchat.engine import lookup
from nbchat.engine.callbacks import Notification
from nbchat.engine.live_run import LiveRun
from nbchat.engine.run_queue import RunQueue
from nbchat.engine.session_log import Context, SessionLog
from nbchat.engine.tools import AnyTool, RemoteTool, ServedTool
from nbchat.providers.base import Provider

MAX_ID: Final = 64
"""Maximum characters of an id chosen by the sender."""

_ARRANGEMENT: Final = frozenset({"pinned", "closed", "archived"})
"""Settings of a tab, which are not attributed to a person."""


class LiveSession(SessionLog):
    """A session and its runs. Only for the engine's loop; no method blocks."""

    def __init__(self, context: Context, state: SessionState, provider: Provider | None = None) -> None:
        super().__init__(context, state, provider)
        self.runs: RunQueue = RunQueue(self)

    @property
    def live(self) -> LiveRun | None:
        """The run that has a connection, or is about to."""
        return self.runs.live

    @property
    def is_idle(self) -> bool:
        """True if no run is live or queued."""
        return self.runs.live is None and self.state.live is None

    @property
    def position(self) -> int | None:
        """Position in the engine's queue, from 1; `None` when not in it."""
        return self.context.scheduler.position(self.runs)

    # Asking

    def send(
        self,
        text: str,
        attachments: tuple[Attachment, ...] = (),
        *,
        run_id: str | None = None,
        message_id: str | None = None,
        params: Mapping[str, Any] = MappingProxyType({}),
        author: Author = UNSET,
    ) -> str:
        """Queue a prompt and return the new run's id; `params` override those of the session.

        Raises
        ------
        SessionGone, SessionFull, QueueFull
            Nothing was queued.
        CommandError
            If the session already has a run or message with the chosen id.
        ValueError
            If the descriptions of variables have more than `MAX_VARIABLE_CHARS` characters together.
        """
        self._refuse_taken(run_id, message_id)
        described = variable_chars(attachments)
        if described > MAX_VARIABLE_CHARS:
            raise ValueError(
                f"the descriptions of variables have {described:,} characters; "
                f"one message can have {MAX_VARIABLE_CHARS:,}. Name fewer variables."
            )
        self._check_room(len(text) + sum(len(attachment.text) for attachment in attachments))
        prompt = self._user_message(text, attachments, author, message_id)
        return self.runs.enqueue("send", prompt=prompt, run_id=run_id, params=params)

    def _refuse_taken(self, run_id: str | None, message_id: str | None) -> None:
        taken = {run.prompt.id for run in self.state.runs if run.prompt is not None}
        taken |= {run.message_id for run in self.state.runs}
        if (run_id is not None and self.state.run(run_id) is not None) or (
            message_id is not None and (message_id in taken or message_id in self.state.messages)
        ):
            raise CommandError(
                "the id of the run or message is taken.", hint="Make a new one for each prompt."
            )
        for chosen in (run_id, message_id):
            if chosen is not None and not 0 < len(chosen) <= MAX_ID:
                raise CommandError(f"an id has from 1 to {MAX_ID} characters.", hint="")

    def edit(self, message_id: str, text: str, author: Author = UNSET) -> str | None:
        """Send an edited question, as a new version of the old one. A queued prompt is changed in place.

        The question is then that of the person who edited it.

        Returns
        -------
        The new run's id; `None` if a queued prompt was changed.
        """
        for run in self.state.runs:
            if run.state.is_live and run.prompt is not None and run.prompt.id == message_id:
                self._edit_waiting(run, run.prompt, text, author)
                return None
        message = lookup.message(self.state, message_id)
        if message.role != "user":
            raise NothingToDo(
                "only a message of the user can be edited.", hint="Use regenerate for an answer."
            )
        self._refuse_while_busy()
        self._check_room(len(text))
        changed = self._user_message(text, _attachments(message), author)
        prompt = replace(changed, parent_id=message.parent_id)
        return self.runs.enqueue("send", prompt=prompt, rooted=True)

    def _edit_waiting(self, run: RunRecord, prompt: Message, text: str, author: Author) -> None:
        """Queue the same run again with another prompt; it keeps its id and its place in the queue."""
        self._check_room(len(text))
        parts = self._user_message(text, _attachments(prompt), author).parts
        changed = replace(prompt, parts=parts, written_by=author)
        self.append(
            RunQueued(
                run_id=run.id,
                at=run.queued_at,
                kind=run.kind,
                message_id=run.message_id,
                prompt=changed,
                rooted=run.rooted,
                parent_id=run.parent_id,
                replaces=run.replaces,
                params=run.params,
            )
        )

    def retry(self, message_id: str | None = None) -> str:
        """Ask again for an answer that failed, was interrupted or stopped; it is replaced.

        The old answer stays until new text arrives. If the retry fails before that, both stay as versions,
        and the next retry replaces both.
        """
        self._refuse_while_busy()
        run = lookup.last_run(self.state) if message_id is None else lookup.run_of(self.state, message_id)
        retryable = (RunState.FAILED, RunState.INTERRUPTED, RunState.STOPPED)
        if run.state not in retryable and not is_refusal(run):
            raise NothingToDo(
                f"the last answer is {run.state}; retry is for one that failed, was interrupted or stopped.",
                hint="Use regenerate for another version.",
            )
        appends = run.kind in ("continue", "resume")
        if run.started_at is None or (appends and run.state is RunState.FAILED):
            # It never started, or added nothing to the answer that it continued: the same request is
            # made again. A prompt that waited is in its run, and not in the transcript yet.
            return self.runs.enqueue(
                run.kind,
                prompt=None if run.prompt is None else replace(run.prompt, id=new_id("m-")),
                message_id=run.message_id if appends else None,
                rooted=run.rooted,
                parent_id=run.parent_id,
                replaces=run.replaces,
                params=run.params,
            )
        answer = self.state.messages.get(run.message_id)
        parent = answer.parent_id if answer is not None else run.prompt_id or run.parent_id
        replaced = run.message_id
        before = self.state.messages.get(run.replaces or "")
        if answer is not None and not answer.parts and before is not None:
            # A retry without any text: the answer that it was to replace is still there.
            self.append(MessageRemoved(message_id=answer.id))
            replaced = before.id
        # If messages follow it, the answer stays as a version together with them.
        followed = any(m.parent_id == replaced for m in self.state.messages.values())
        return self.runs.enqueue(
            "retry",
            rooted=True,
            parent_id=parent,
            replaces=None if followed else replaced,
            params=run.params,
        )

    def regenerate(self, message_id: str | None = None) -> str:
        """Ask for another version of an answer; the earlier version stays."""
        self._refuse_while_busy()
        answer = lookup.answer(self.state, message_id)
        params = self._params_of(answer.id)
        return self.runs.enqueue("regenerate", rooted=True, parent_id=answer.parent_id, params=params)

    def continue_(self, message_id: str | None = None) -> str:
        """Ask the model to continue at the end of an answer; the text is appended to the same message."""
        self._refuse_while_busy()
        answer = lookup.answer(self.state, message_id)
        return self.runs.enqueue("continue", message_id=answer.id, params=self._params_of(answer.id))

    def resume(self, run_id: str | None = None) -> str:
        """Resume a paused run, or an interrupted one whose response the server keeps.

        Returns
        -------
        The id of the resumed run: the paused one itself, or a new one.
        """
        held = self.state.live if run_id is None else self.state.run(run_id)
        if held is not None and held.state.is_live:
            if held.state is not RunState.PAUSED:
                raise RunNotLive(f"run {held.id!r} is {held.state}, not paused.")
            self.runs.resume(held)
            return held.id
        self._refuse_while_busy()
        run = lookup.last_run(self.state) if run_id is None else lookup.run(self.state, run_id)
        if run.state is not RunState.INTERRUPTED:
            raise NothingToDo(f"the last run is {run.state}; there is nothing to resume.")
        if run.response_id is None or (run.error is not None and run.error.code == LimitExceeded.code):
            raise NothingToDo(
                "the server keeps no copy of this answer that could be resumed."
                if run.response_id is None
                else "the answer ended at a limit of this kernel, in the middle of the response.",
                hint="Use continue_() to let the model continue from the text, or regenerate().",
            )
        return self.runs.enqueue("resume", message_id=run.message_id, params=run.params)

    def _params_of(self, message_id: str) -> Mapping[str, Any]:
        """Return the request fields that were set for the run of an answer alone."""
        runs = [run for run in self.state.runs if run.message_id == message_id]
        return runs[-1].params if runs else {}

    # Pausing and stopping

    def pause(self, run_id: str | None = None) -> RunRecord:
        """Pause the oldest live run, or the one named; a queued one keeps its place."""
        run = lookup.live_run(self.state, run_id, "pause")
        if run.state is RunState.STOPPING:
            raise RunNotLive(f"run {run.id!r} is stopping.")
        if run.state is not RunState.PAUSED:
            self.runs.pause(run)
        return self.state.run(run.id) or run

    def retry_now(self, run_id: str) -> bool:
        """End the delay before the next attempt of a run; return whether there was one."""
        run = self.state.run(run_id)
        return run is not None and self.runs.retry_now(run)

    def use_tools(self, tools: tuple[AnyTool, ...]) -> None:
        """Set the tools, all of them on, for runs that start later."""
        self.tools = self.offered_tools = tools
        self.publish()

    def drop_gone_tools(self) -> None:
        """Forget tools whose kernel is gone; calls of them that wait for approval are not run."""
        if any(isinstance(tool, RemoteTool) and tool.is_gone for tool in self.offered_tools):
            self.use_tools(())
        self.runs.drop_gone_calls()

    def switch_tool(self, name: str, *, on: bool) -> None:
        """Switch a tool off or on again, for runs that start later.

        Raises
        ------
        NothingToDo
            If code has not given this session a tool of this name.
        """
        if not any(tool.spec.name == name for tool in self.offered_tools):
            raise NothingToDo(f"the session has no tool {name!r}.", hint="Set session.tools in a cell.")
        used = {tool.spec.name for tool in self.tools} - {name}
        if on:
            used.add(name)
        self.tools = tuple(tool for tool in self.offered_tools if tool.spec.name in used)
        self.publish()

    def stop(self, run_id: str | None = None) -> bool:
        """Stop the oldest run that is not over, or the one named; its text is kept.

        Returns
        -------
        True if there was a run to stop. After the end this does nothing.
        """
        run = self.state.live if run_id is None else self.state.run(run_id)
        if run is None or run.state.is_over:
            return False
        self.runs.stop(run)
        return True

    def stop_all(self) -> list[str]:
        """Stop every run, the newest first so that none starts; return their ids."""
        runs = [run.id for run in self.state.runs if run.state.is_live]
        for run_id in reversed(runs):
            self.stop(run_id)
        return runs

    # Versions, settings, deletion

    def discard(self, message_id: str) -> None:
        """Remove an answer that is over, with what follows it; the question stays."""
        answer = lookup.answer(self.state, message_id)
        run = self.state.run(answer.run_id) if answer.run_id else None
        if run is not None and run.state.is_live:
            raise RunInProgress(self.id, run.id, run.state)
        self._refuse_while_busy()
        self.append(MessageRemoved(message_id=message_id))

    def keep(self, run_id: str) -> None:
        """Accept an interrupted answer as it is."""
        run = lookup.run(self.state, run_id)
        if not run.acknowledged:
            self.append(RunAcknowledged(run_id=run_id))

    def select(self, message_id: str) -> None:
        """Show this version of a turn, and use it as the context."""
        lookup.message(self.state, message_id)
        self._refuse_while_busy()
        self.append(MessageSelected(message_id=message_id))

    def configure(self, patch: SettingsPatch, author: Author = UNSET) -> None:
        """Change settings; live runs keep those they started with."""
        chosen = patch.changes().keys() & {"model", "instructions", "params", "more_params", "provider"}
        settings = self.state.settings
        if settings.from_file and chosen:
            # Settings that came with a file are dropped when the user changes them.
            settings = replace(in_force(settings), from_file=False)
        if patch.changes().keys() <= _ARRANGEMENT:
            author = settings.changed_by
        self._set(replace(patch.applied_to(settings), changed_by=author))

    def set_rank(self, rank: float) -> None:
        """Set the place among the tabs."""
        self._set(replace(self.state.settings, rank=rank))

    def _set(self, settings: Settings) -> None:
        before = self.state.settings
        if replace(settings, changed_by=before.changed_by) != before:
            self.append(SettingsChanged(settings=settings))
            self.context.callbacks.notify(Notification(event="changed", session_id=self.id))

    def set_unread(self, *, unread: bool) -> None:
        """Mark the session read or unread."""
        self.runs.set_unread(unread=unread)

    def delete(self) -> None:
        """Stop everything at once and mark the session deleted; later deltas are dropped."""
        self.runs.abandon_all()
        self.append(SessionDeleted(at=now()))
        # Tools of servers keep a process or a connection.
        self.offered_tools = tuple(tool for tool in self.offered_tools if not isinstance(tool, ServedTool))
        self.tools = tuple(tool for tool in self.tools if not isinstance(tool, ServedTool))

    def undelete(self) -> None:
        """Undo a deletion; stopped runs stay stopped, and tools of servers are off."""
        if self.state.deleted:
            self.append(SessionDeleted(at=now(), deleted=False))

    # Checks

    def _user_message(
        self,
        text: str,
        attachments: tuple[Attachment, ...],
        author: Author,
        message_id: str | None = None,
    ) -> Message:
        parts: tuple[Part, ...] = (
            TextPart(text=clean(text)),
            *(replace(part, name=clean(part.name), text=clean(part.text)) for part in attachments),
        )
        return Message(
            id=message_id or new_id("m-"), role="user", parts=parts, created_at=now(), written_by=author
        )

    def _check_room(self, chars: int) -> None:
        if self.state.deleted:
            raise SessionGone(self.id)
        held, limit = self.state.characters, self.context.limits.session_chars
        if held + chars > limit:
            raise SessionFull(self.id, held + chars, limit)

    def _refuse_while_busy(self) -> None:
        if self.state.deleted:
            raise SessionGone(self.id)
        live = self.state.live
        if live is not None:
            raise RunInProgress(self.id, live.id, live.state)


def _attachments(message: Message) -> tuple[Attachment, ...]:
    return tuple(part for part in message.parts if isinstance(part, Attachment))
