"""`Session`: the handle of one conversation, over a backend. It holds ids and no state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from nbchat.core.cached import CACHE
from nbchat.core.commands import (
    Close,
    Continue,
    Delete,
    Discard,
    Edit,
    Fork,
    Move,
    Pause,
    Regenerate,
    Resume,
    Retry,
    SelectVersion,
    Send,
    StopAll,
)
from nbchat.core.errors import PicklingRefused, ProviderError, RunInProgress, SessionGone, UnknownSession
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import ChangeSettings, Command
from nbchat.core.messages import Message
from nbchat.core.request_fields import NAMES, merged
from nbchat.core.settings import clean_title, patch
from nbchat.core.structured import SCHEMA
from nbchat.core.text import suggestion
from nbchat.core.tracebacks import short_traceback
from nbchat.engine import lookup, prices
from nbchat.engine.backend import Backend
from nbchat.handles.attachments import read_attachments, warn_if_large
from nbchat.handles.cache import HandleCache
from nbchat.handles.data_frames import runs_frame
from nbchat.handles.host import Host
from nbchat.handles.run import Run, RunCache, check_timeout, run_cache
from nbchat.handles.tools import checked_tools, stopped_after

if TYPE_CHECKING:
    from nbchat.core.messages import Usage
    from nbchat.core.transcript import SessionState
    from nbchat.engine.callbacks import Callback
    from nbchat.engine.tools import Policy, Tool
    from nbchat.handles.structured import Structure


class Session:
    """One conversation. Use `nbchat.session(...)` to get one; it is not constructed directly.

    Changes made here are seen in every open page at once, and vice versa. As a cell's result it is a live
    view of this one session.

    Examples
    --------
    >>> geo = nbchat.session("geo", model="nbchat-echo")
    >>> geo.ask("Which rivers cross Paris?").text
    'Which rivers cross Paris?'
    >>> [message.role for message in geo.messages]
    ['user', 'assistant']
    >>> geo.status
    'completed'
    """

    def __init__(
        self, backend: Backend, session_id: str, sessions: SessionCache, runs: RunCache, host: Host
    ) -> None:
        self._backend = backend
        self._id = session_id
        self._sessions = sessions
        self._runs = runs
        self._host = host

    def __repr__(self) -> str:
        """Return one line with id, title, status and length."""
        try:
            count = len(self.messages)
        except SessionGone:
            return f"<Session {self._id}, deleted>"
        return f"<Session {self.id} {self.title!r} {self.status}, {count} message{'s' * (count != 1)}>"

    @short_traceback
    def __setattr__(self, name: str, value: object) -> None:
        """Set a property; any other public name is refused, so that a typo has no silent effect."""
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(_cannot_set(name))
        super().__setattr__(name, value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise `PicklingRefused`: a pickle would lose the runs and could contain secrets."""
        raise PicklingRefused("a Session cannot be pickled; use session.snapshot() or session.export().")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's protocol
        shown = self._host.mimebundle(self, **kwargs)
        return {"text/plain": repr(self)} if shown is None else shown

    @property
    def _state(self) -> SessionState:
        return self._backend.state(self._id)

    # Properties

    @property
    def id(self) -> str:
        """The id, unique across machines without coordination; sorting ids sorts by creation."""
        return self._id

    @property
    def title(self) -> str:
        """The user's title, else the first words of the first question. Need not be unique."""
        return self._state.title

    @title.setter
    def title(self, title: str) -> None:
        self._configure(title=title)

    @property
    def model(self) -> str | None:
        """The model of its runs; `None` selects the configured one, else the server's first."""
        return self._state.settings.model

    @model.setter
    def model(self, model: str | None) -> None:
        self._configure(model=model)

    @property
    def instructions(self) -> str | None:
        """The instructions for the model (the system message)."""
        return self._state.settings.instructions

    @instructions.setter
    def instructions(self, instructions: str | None) -> None:
        self._configure(instructions=instructions)

    @property
    def params(self) -> Mapping[str, Any]:
        """Fields of every request, such as `{"temperature": 0.2}`; names as in the OpenAI API.

        Read-only: assign a whole mapping, as `session.params = {**session.params, "temperature": 0.2}`.
        """
        # Lists and mappings within are copied too: changing one would change the session without an event.
        return MappingProxyType(deepcopy(dict(self._state.settings.params)))

    @params.setter
    def params(self, params: Mapping[str, Any]) -> None:
        self._configure(params=params)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript, oldest first, including the answer that is being generated."""
        return self._state.path

    @property
    def run(self) -> Run | None:
        """The oldest run that is not over, or `None`."""
        live = self._state.live
        return None if live is None else self._run(live.id)

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, oldest first."""
        return tuple(self._run(run.id) for run in self._state.runs)

    @property
    def status(self) -> str:
        """The state of the live run, else of the last one, else `idle`."""
        return self._state.status

    @property
    def created_at(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self._state.created_at

    @property
    def pinned(self) -> bool:
        """True if the session is kept in memory and its tab comes first."""
        return self._state.settings.pinned

    @property
    def closed(self) -> bool:
        """True if its tab is hidden."""
        return self._state.settings.closed

    @property
    def unread(self) -> bool:
        """True if an answer arrived that no page has shown yet."""
        return self._state.unread

    @property
    def temporary(self) -> bool:
        """True if the session is never saved."""
        return self._state.temporary

    @property
    def usage(self) -> Usage:
        """Token counts of all runs together, as far as servers reported them."""
        return self._state.usage

    @property
    def cost(self) -> Decimal | None:
        """The known costs of all `runs` together, in USD; `None` if the cost of no run is known.

        Includes runs whose answers were replaced, regenerated or removed, and unfinished ones whose tokens
        the server reported. A fork starts without runs. `to_frame()` shows the cost of each run.
        """
        return prices.session_cost(self._state, hint=True)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The functions that the model may call, made with `@nbchat.tool`; none by default, and never saved.

        Each call is shown in full and waits for approval, unless the tool's author has marked it harmless.
        A change applies to questions that start later.
        """
        return self._backend.tools_of(self._id)

    @tools.setter
    def tools(self, tools: Iterable[Tool]) -> None:
        self._backend.use_tools(self._id, checked_tools(tools))

    @property
    def approve(self) -> Policy | None:
        """A function that decides on tool calls before the user is asked; kept in memory only.

        It gets a `ToolCall` and returns `True` to run it, `False` to refuse it, or `None` to ask.
        """
        return self._backend.policy_of(self._id)

    @approve.setter
    def approve(self, policy: Policy | None) -> None:
        if policy is not None and not callable(policy):
            raise TypeError(f"approve must be a function of a call, or None, not {type(policy).__name__}.")
        self._backend.use_policy(self._id, policy)

    # Asking

    @short_traceback
    def send(
        self,
        prompt: str,
        *,
        attachments: object = (),
        context: object = (),
        schema: object = None,
        cache: bool = False,
        params: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
    ) -> Run:
        """Ask and return at once; the run continues in the background.

        While another run is live, this one is `queued`; its message is added to `messages` when it starts.

        Parameters
        ----------
        prompt
            Markdown; not empty.
        attachments
            Files, data and pictures to send with it, one or several: paths; data frames, as CSV of their
            first 1,000 rows; Matplotlib figures; pairs of a name and bytes, or a mapping of names to
            contents; `nbchat.ImagePart` and `nbchat.FilePart` values.
        context
            Values that the model reads as short texts (see `nbchat.describe`): one, a list of several, or a
            mapping of names to values. They are described now; a figure is sent as a picture too.
        schema
            Asks for an answer as JSON of this schema: a pydantic model, a dataclass, a `TypedDict`, a
            `msgspec.Struct`, or a JSON schema. `run.result().data` is an object of this type, made from the
            answer's text. An answer that does not match is asked for once more.
        cache
            `True`: if this user's cache has the answer of an equal request (server, model, conversation and
            parameters), it is used and nothing is sent; otherwise the complete answer is added to the cache.
            `run.from_cache` shows which. Requests with tools are not cached. `regenerate` always asks the
            server. See also `nbchat.clear_cache`.
        params, **fields
            Fields of this request alone, such as `temperature=0`; names as in the OpenAI API. They override
            those of the session, and apply again when the answer is retried, regenerated or continued.

        Raises
        ------
        TypeError, ValueError
            If the prompt is not a string or is empty, or something cannot be attached.
        OSError
            If a file cannot be read.
        SessionFull, QueueFull, SessionGone
            If the session cannot accept it; nothing was sent. Problems with the provider, the key or the
            connection are not raised here: they end the run as `failed`.
        """
        request = merged("send", params, fields)
        structure = _structure(schema)
        return self._send(
            prompt, attachments, new_id("r-"), request, context, structure=structure, cache=cache
        )

    def _send(
        self,
        prompt: str,
        attachments: object,
        run_id: str,
        params: Mapping[str, Any],
        context: object = (),
        *,
        structure: Structure | None = None,
        cache: bool = False,
    ) -> Run:
        _check_prompt(prompt)
        if not isinstance(cache, bool):
            raise TypeError(f"cache must be True or False, not {cache!r}.")
        if cache:
            params = {**params, CACHE: True}
        if structure is not None:
            params = {**params, SCHEMA: structure.schema}
        attached = read_attachments(attachments)
        if not isinstance(context, tuple) or context:
            from nbchat.handles.context import read_context  # noqa: PLC0415 - only when it is used

            attached += read_context(context, self._backend.share, attached)
        key = (self._id, run_id)
        run = self._runs.put(key, Run(self._backend, *key, self._runs, structure))
        self._backend.execute(
            Send(
                id=new_id("c-"),
                session_id=self._id,
                text=prompt,
                attachments=attached,
                run_id=run_id,
                message_id=new_id("m-"),
                params=params,
            )
        )
        warn_if_large(prompt, attached)
        return run

    @short_traceback
    def ask(
        self,
        prompt: str,
        *,
        attachments: object = (),
        context: object = (),
        schema: object = None,
        cache: bool = False,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
    ) -> Message:
        """Ask, wait and return the answer; blocks this cell only.

        Interrupting the wait stops this run only. `attachments`, `context`, `schema`, `cache`, `params` and
        request fields such as `temperature=0` are those of `send`.

        Raises
        ------
        ProviderError
            If the run failed or was interrupted.
        TimeoutError
            If there is no whole answer after `timeout` seconds; the run is stopped.
        WouldDeadlock
            If called on the engine's own thread, for example by a provider.
        TypeError, ValueError, CommandError
            As `send`.
        """
        self._backend.refuse_to_block("ask()")
        _check_prompt(prompt)
        check_timeout(timeout)
        request = merged("ask", params, fields)
        structure = _structure(schema)
        run_id = new_id("r-")
        try:
            run = self._send(prompt, attachments, run_id, request, context, structure=structure, cache=cache)
            with stopped_after(timeout, run.stop, self.tools):
                return run.result(timeout)
        except ProviderError:  # it is over
            raise
        except TimeoutError:
            self._run(run_id).stop()
            raise TimeoutError(
                f"no whole answer after {timeout:g} s; the run was stopped, and its text is kept."
            ) from None
        except BaseException:
            # No other code has this run's id. It is made here, since an interrupt may come before `send`
            # returns.
            self._run(run_id).stop()
            raise

    @short_traceback
    def wait(self, timeout: float | None = None) -> Session:
        """Wait until no run of this session is live or queued, and return the session.

        The answers stream into views in the meantime, also in hosts such as Colab, where a view receives
        answers only while a cell runs. Interrupting the wait leaves the runs alone.

        Parameters
        ----------
        timeout
            Seconds; `None` disables this limit.

        Raises
        ------
        TimeoutError
            If a run is not over by then.
        """
        check_timeout(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        self._host.refresh()
        try:
            while (run := self.run) is not None:
                run.wait(None if until is None else max(until - time.monotonic(), 0.0))
        finally:
            self._host.refresh()
        return self

    @short_traceback
    def retry(self, message_id: str | Message | None = None) -> Run:
        """Ask again for an answer that failed, was interrupted or stopped; it is replaced.

        Parameters
        ----------
        message_id
            The answer; `None` selects that of the last run.

        Raises
        ------
        RunInProgress
            If a run is live.
        NothingToDo
            If there is no such answer.
        """
        found = _optional_id(message_id) or lookup.last_run(self._idle_state()).message_id
        return self._start(Retry(id=new_id("c-"), session_id=self._id, message_id=found))

    @short_traceback
    def regenerate(self, message_id: str | Message | None = None) -> Run:
        """Ask for another version of an answer (`None`: the last one); the earlier version stays."""
        found = _optional_id(message_id) or lookup.answer(self._idle_state()).id
        return self._start(Regenerate(id=new_id("c-"), session_id=self._id, message_id=found))

    @short_traceback
    def continue_(self, message_id: str | Message | None = None) -> Run:
        """Ask the model to continue an answer (`None`: the last one), in the same message."""
        found = _optional_id(message_id) or lookup.answer(self._idle_state()).id
        return self._start(Continue(id=new_id("c-"), session_id=self._id, message_id=found))

    @short_traceback
    def resume(self) -> Run:
        """Resume the paused run, or an interrupted one whose answer the server keeps.

        Returns
        -------
        The paused run itself, or a new one that appends to the same message.

        Raises
        ------
        NothingToDo
            If no run is paused and the last answer cannot be resumed; `continue_` works everywhere.
        """
        state = self._state
        run = state.live or lookup.last_run(state)
        return self._start(Resume(id=new_id("c-"), session_id=self._id, run_id=run.id))

    @short_traceback
    def edit(self, message_id: str | Message, prompt: str) -> Run | None:
        """Send an edited question: a new version of a user message and of everything after it.

        A prompt that is still queued is changed in place.

        Raises
        ------
        RunInProgress
            If a run is live.
        NothingToDo
            If there is no such message of the user.
        """
        _check_prompt(prompt)
        edit = Edit(id=new_id("c-"), session_id=self._id, message_id=_id(message_id), text=prompt)
        run_id = self._backend.execute(edit).run_id
        return None if run_id is None else self._run(run_id)

    def stop(self) -> bool:
        """Stop the oldest live run and keep its text; queued ones follow.

        Returns
        -------
        True if a run is stopped by this call. False if none is live, or if its answer has ended by itself
        and is being saved.
        """
        run = self.run
        return run is not None and run.stop()

    def stop_all(self) -> int:
        """Stop the live run and all queued ones; return their number."""
        with suppress(SessionGone, UnknownSession):  # deleting it has stopped them
            return len(self._backend.execute(StopAll(id=new_id("c-"), session_id=self._id)).runs)
        return 0

    @short_traceback
    def pause(self) -> Run:
        """Stop reading the live run; its connection stays open for `limits.pause_limit_s`.

        Raises
        ------
        RunNotLive
            If no run is live.
        """
        run = lookup.live_run(self._state, None, "pause")
        return self._start(Pause(id=new_id("c-"), session_id=self._id, run_id=run.id))

    @short_traceback
    def discard(self, message_id: str | Message) -> None:
        """Remove an answer that is over, with everything after it; the question stays."""
        self._backend.execute(Discard(id=new_id("c-"), session_id=self._id, message_id=_id(message_id)))

    @short_traceback
    def select(self, message_id: str | Message) -> None:
        """Show this version of a turn, and use it as the context."""
        self._backend.execute(SelectVersion(id=new_id("c-"), session_id=self._id, message_id=_id(message_id)))

    # Settings and life

    @short_traceback
    def fork(self, message_id: str | Message | None = None, *, title: str | None = None) -> Session:
        """Start a new session with the conversation up to a message (`None`: all of it)."""
        message = _optional_id(message_id)
        clean_title(title)  # raises for a title that is not a string
        fork = Fork(id=new_id("c-"), session_id=self._id, message_id=message, title=title)
        return self._sessions.of(self._backend.execute(fork).session_id or "")

    def rename(self, title: str) -> Session:
        """Set the title; an empty one restores the first words of the first question."""
        self._configure(title=title)
        return self

    def pin(self) -> Session:
        """Keep it in memory, with its tab first."""
        self._configure(pinned=True)
        return self

    def unpin(self) -> Session:
        """Allow it to leave memory when it is idle and saved."""
        self._configure(pinned=False)
        return self

    @short_traceback
    def move(self, before: Session | str | None = None) -> Session:
        """Move its tab in front of another session's (a session, id or title); `None` moves it to the end.

        Pinned tabs come before all others.

        Raises
        ------
        UnknownSession
            If there is no such session.
        """
        other = before.id if isinstance(before, Session) else before
        if other is not None:
            other = self._backend.find(other)
            if other is None:
                raise UnknownSession(before)
        self._backend.execute(Move(id=new_id("c-"), session_id=self._id, before=other))
        return self

    def close(self) -> None:
        """Hide its tab; runs continue."""
        self._backend.execute(Close(id=new_id("c-"), session_id=self._id))

    def delete(self) -> None:
        """Stop its runs and remove it; `registry.undelete(id)` restores it."""
        with suppress(SessionGone, UnknownSession):  # it is deleted already
            self._backend.execute(Delete(id=new_id("c-"), session_id=self._id))

    @property
    def from_file(self) -> bool:
        """True if model, instructions and parameters came with a file; runs use them after `adopt()`."""
        return self._state.settings.from_file

    def adopt(self) -> Session:
        """Use the model, the instructions and the parameters that came with the file."""
        self._configure(from_file=False)
        return self

    def snapshot(self) -> dict[str, Any]:
        """Return this session as JSON values, in the format of `docs/snapshot.md`."""
        return self._backend.snapshot([self._id])

    @short_traceback
    def export(
        self, target: str | os.PathLike[str] = "md", *, to: str | None = None, overwrite: bool = False
    ) -> str | Path:
        """Write the conversation to a file, or return it in a format.

        Parameters
        ----------
        target
            A file to write, whose extension determines the format; or only a format, to write nothing.
        to
            The format, if the file's extension does not determine it: `md`, `html`, `jsonl` or `ipynb`.
        overwrite
            Replace the file if it exists.

        Returns
        -------
        The path of the file; for a format alone, the text.

        Raises
        ------
        ValueError
            If the format is not one of these.
        FileExistsError
            If the file exists and `overwrite` is false.
        """
        from nbchat.export import export  # noqa: PLC0415 - only when it is used

        return export([self._state], target, to=to, overwrite=overwrite)

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with a `Notification` at every `event` of this session; see `registry.on`."""
        return self._backend.on(event, callback, self._id)

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each run, oldest first, as `registry.to_frame` does."""
        return runs_frame([self._state], library)

    # Helpers

    def _idle_state(self) -> SessionState:
        state = self._state
        if state.live is not None:
            raise RunInProgress(self._id, state.live.id, state.live.state)
        return state

    def _run(self, run_id: str) -> Run:
        return self._runs.of((self._id, run_id))

    def _start(self, command: Command) -> Run:
        """Send a command about a run, and return that run."""
        return self._run(self._backend.execute(command).run_id or "")

    @short_traceback
    def _configure(self, **changes: Any) -> None:  # noqa: ANN401 - settings, checked by `patch`
        settings = patch(**changes)
        self._backend.execute(ChangeSettings(id=new_id("c-"), session_id=self._id, settings=settings))


SessionCache: TypeAlias = HandleCache[str, Session]
"""The handles of sessions, by id."""


def session_cache(backend: Backend, host: Host) -> SessionCache:
    """Return a cache of handles for the sessions of a backend."""
    runs = run_cache(backend)
    cache: SessionCache = HandleCache(lambda session_id: Session(backend, session_id, cache, runs, host))
    return cache


def _cannot_set(name: str) -> str:
    if name in NAMES:
        return (
            f"a Session has no attribute {name!r}: it is a field of the request. "
            f"For every question: session.params = {{**session.params, {name!r}: …}}. "
            f"For one: session.ask(…, {name}=…)."
        )
    properties = {key: found for key, found in vars(Session).items() if isinstance(found, property)}
    settable = [key for key, found in properties.items() if found.fset is not None]
    return (
        f"a Session has no attribute {name!r}{suggestion(name, settable)}. "
        f"Attributes that can be set: {', '.join(settable)}."
    )


def _id(message: str | Message) -> str:
    """Return the id of a message, which is passed as a `Message` or as an id."""
    found = message.id if isinstance(message, Message) else message
    if not isinstance(found, str):
        raise TypeError(
            f"expected a Message or a message id, not {type(found).__name__}; session.messages has both."
        )
    return found


def _optional_id(message: str | Message | None) -> str | None:
    return None if message is None else _id(message)


def _structure(schema: object) -> Structure | None:
    if schema is None:
        return None
    from nbchat.handles.structured import Structure  # noqa: PLC0415 - only when it is used

    return Structure(schema)


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise TypeError(f"the prompt must be a string, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise ValueError("the prompt is empty; write what you want to ask.")
