"""A session as users hold it: one conversation, what it is and what can be asked of it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nbchat.core.errors import PicklingRefused, ProviderError
from nbchat.core.ids import new_id
from nbchat.core.messages import Message
from nbchat.core.request_fields import NAMES, merged
from nbchat.core.settings import session_settings
from nbchat.core.text import suggestion
from nbchat.core.tracebacks import short_traceback
from nbchat.handles.attachments import read_attachments, warn_if_large
from nbchat.handles.data_frames import runs_frame
from nbchat.handles.property_observers import observe
from nbchat.handles.run import Run, check_timeout

if TYPE_CHECKING:
    from nbchat.core.messages import Usage
    from nbchat.engine.callbacks import Callback
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.property_observers import Handler
    from nbchat.handles.registry import SessionRegistry


class Session:
    """One conversation of the kernel. Get one by `nbchat.session(...)`; never made directly.

    Whatever is done here is seen in every open page at once, and the other way round. Shown as a
    cell's result it is a live view of this one session.

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

    def __init__(self, registry: SessionRegistry, conversation: LiveSession) -> None:
        self._registry = registry
        self._held = conversation
        self._runs: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()

    def __repr__(self) -> str:
        """Return one line: id, title, what it does, how long it is."""
        count = len(self.messages)
        return f"<Session {self.id} {self.title!r} {self.status}, {count} message{'s' * (count != 1)}>"

    def __setattr__(self, name: str, value: object) -> None:
        """Set a property; any other public name is refused, so that a typo is not lost."""
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(_cannot_set(name))
        super().__setattr__(name, value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Refuse: a pickle would lose the runs, and could carry what is secret."""
        raise PicklingRefused("a Session cannot be pickled; use session.snapshot() or session.export().")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's protocol
        view = self._registry.view_of
        if view is None:
            return {"text/plain": repr(self)}
        return view(self)._repr_mimebundle_(**kwargs)

    @property
    def _conversation(self) -> LiveSession:
        """The conversation, brought back if it had left memory."""
        return self._registry.whole(self._held)

    # What it is

    @property
    def id(self) -> str:
        """Unique without coordination over machines; sorting ids sorts by creation."""
        return self._held.id

    @property
    def title(self) -> str:
        """The user's title, else the first words of the first question. Need not be unique."""
        return self._conversation.state.title

    @title.setter
    def title(self, title: str) -> None:
        self._configure(title=title)

    @property
    def model(self) -> str | None:
        """The model that runs ask for; None: the configured one, else the first that the server lists."""
        return self._conversation.state.settings.model

    @model.setter
    def model(self, model: str | None) -> None:
        self._configure(model=model)

    @property
    def instructions(self) -> str | None:
        """What the model is told before the conversation (the system message)."""
        return self._conversation.state.settings.instructions

    @instructions.setter
    def instructions(self, instructions: str | None) -> None:
        self._configure(instructions=instructions)

    @property
    def params(self) -> Mapping[str, Any]:
        """Fields of every request, as `{"temperature": 0.2}`; names as in the OpenAI API.

        Read-only: assign a whole mapping, as `session.params = {**session.params, "temperature": 0.2}`.
        """
        return MappingProxyType(dict(self._conversation.state.settings.params))

    @params.setter
    def params(self, params: Mapping[str, Any]) -> None:
        self._configure(params=params)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript, oldest first, with the answer that is being generated."""
        return self._conversation.state.path

    @property
    def run(self) -> Run | None:
        """The oldest run that is not over, or None."""
        state = self._conversation.state
        for run in state.runs:
            if not self._conversation.announced(run.id):
                return Run.of(self, run.id)
        return None

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, oldest first."""
        return tuple(Run.of(self, run.id) for run in self._conversation.state.runs)

    @property
    def status(self) -> str:
        """The state of the live run, else of the last one, else `idle`."""
        return self._conversation.status

    @property
    def created_at(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self._conversation.state.created_at

    @property
    def pinned(self) -> bool:
        """Kept in memory and in front."""
        return self._conversation.state.settings.pinned

    @property
    def closed(self) -> bool:
        """Its tab is hidden."""
        return self._conversation.state.settings.closed

    @property
    def unread(self) -> bool:
        """An answer arrived that nobody has looked at."""
        return self._conversation.state.unread

    @property
    def temporary(self) -> bool:
        """Saved nowhere."""
        return self._conversation.state.temporary

    @property
    def usage(self) -> Usage:
        """Tokens of all runs together, as far as servers reported them."""
        return self._conversation.state.usage

    # Asking

    @short_traceback
    def send(
        self,
        prompt: str,
        *,
        attachments: object = (),
        params: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
    ) -> Run:
        """Ask, and return at once; the run goes on in the background.

        While another run is live this one waits as `queued`; its message enters `messages` when it
        starts.

        Parameters
        ----------
        prompt
            Markdown; not empty.
        attachments
            Files, data and pictures to go with it, one or several: paths; data frames, as CSV of their first
            1,000 rows; Matplotlib figures; pairs of a name and bytes, or a mapping of names to contents;
            `nbchat.ImagePart` and `nbchat.FilePart` values.
        params, **fields
            Fields of this request alone, as `temperature=0`; names as in the OpenAI API. They win over
            the session's, and apply again when the answer is retried, regenerated or continued.

        Raises
        ------
        TypeError, ValueError
            The prompt is not a string, or is empty; something cannot be attached.
        OSError
            A file cannot be read.
        SessionFull, QueueFull, SessionGone
            The session cannot take it; nothing was sent. Trouble with the provider, the key or the
            connection is not raised here: it ends the run as `failed`.
        """
        return self._send(prompt, attachments, new_id("r-"), merged("send", params, fields))

    def _send(self, prompt: str, attachments: object, run_id: str, params: Mapping[str, Any]) -> Run:
        _check_prompt(prompt)
        attached = read_attachments(attachments)
        run = Run.of(self, run_id)
        self._registry.engine.call(self._conversation.send, prompt, attached, run_id, params)
        warn_if_large(prompt, attached)
        return run

    @short_traceback
    def ask(
        self,
        prompt: str,
        *,
        attachments: object = (),
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
    ) -> Message:
        """Ask, wait, and return the answer; blocks this cell only.

        Interrupting the wait stops this run, and no other. `attachments`, `params` and request fields such
        as `temperature=0` are those of `send`.

        Raises
        ------
        ProviderError
            The run failed or was interrupted.
        TimeoutError
            `timeout` seconds went by; the run is stopped.
        WouldDeadlock
            Called on the engine's own thread, as from a provider.
        TypeError, ValueError, CommandError
            As `send`.
        """
        self._registry.engine.refuse_to_block("ask()")
        _check_prompt(prompt)
        check_timeout(timeout)
        request = merged("ask", params, fields)
        run_id = new_id("r-")
        try:
            return self._send(prompt, attachments, run_id, request).result(timeout)
        except ProviderError:  # it is over
            raise
        except TimeoutError:
            self._registry.engine.call(self._conversation.stop, run_id)
            raise TimeoutError(
                f"no whole answer after {timeout:g} s; the run was stopped, and its text is kept."
            ) from None
        except BaseException:
            # Only this call knows of the run, so nobody else could end it. The interrupt may even
            # have come before `send` returned; the id is known all the same.
            self._registry.engine.call(self._conversation.stop, run_id)
            raise

    @short_traceback
    def retry(self, message_id: str | Message | None = None) -> Run:
        """Ask again for an answer that failed, was interrupted or stopped; it is replaced.

        Parameters
        ----------
        message_id
            The answer; None: the last run's.

        Raises
        ------
        RunInProgress
            A run is live.
        NothingToDo
            There is no such answer.
        """
        return self._new(self._conversation.retry, _optional_id(message_id))

    @short_traceback
    def regenerate(self, message_id: str | Message | None = None) -> Run:
        """Ask for another version of an answer (None: of the last one); the earlier one stays beside it."""
        return self._new(self._conversation.regenerate, _optional_id(message_id))

    @short_traceback
    def continue_(self, message_id: str | Message | None = None) -> Run:
        """Ask the model to go on at the end of an answer (None: the last one), in the same message."""
        return self._new(self._conversation.continue_, _optional_id(message_id))

    @short_traceback
    def resume(self) -> Run:
        """Read on in the paused run; after an interruption, go on where the server keeps the answer.

        Returns
        -------
        The paused run itself, or a new one that appends to the same message.

        Raises
        ------
        NothingToDo
            Nothing is paused, and the last answer cannot be resumed; `continue_` works everywhere.
        """
        return self._new(self._conversation.resume)

    @short_traceback
    def edit(self, message_id: str | Message, prompt: str) -> Run | None:
        """Ask a changed question: a new version of a message of yours, and of all that follows.

        A prompt that still waits in the queue is simply changed.

        Raises
        ------
        RunInProgress
            A run is live.
        NothingToDo
            There is no such message of the user.
        """
        _check_prompt(prompt)
        run_id = self._registry.engine.call(self._conversation.edit, _id(message_id), prompt)
        return None if run_id is None else Run.of(self, run_id)

    def stop(self) -> None:
        """End the oldest live run and keep its text; queued ones follow. Nothing live: does nothing."""
        self._registry.engine.call(self._conversation.stop)

    def stop_all(self) -> int:
        """End the live run and all queued ones; return how many there were."""
        return self._registry.engine.call(self._conversation.stop_all)

    @short_traceback
    def pause(self) -> Run:
        """Hold the live run: nothing is read, the connection stays for `limits.pause_limit_s`.

        Raises
        ------
        RunNotLive
            Nothing is live.
        """
        return Run.of(self, self._registry.engine.call(self._conversation.pause).id)

    @short_traceback
    def discard(self, message_id: str | Message) -> None:
        """Remove an answer that is over, and what follows it; the question stays."""
        self._registry.engine.call(self._conversation.discard, _id(message_id))

    @short_traceback
    def select(self, message_id: str | Message) -> None:
        """Show this version of a turn, and take it as the context."""
        self._registry.engine.call(self._conversation.select, _id(message_id))

    # Its life

    def fork(self, message_id: str | Message | None = None, *, title: str | None = None) -> Session:
        """Start a new session with the conversation up to a message (None: all of it)."""
        return self._registry.fork(self, _optional_id(message_id), title)

    def rename(self, title: str) -> Session:
        """Give it a title; an empty one goes back to the first words of the first question."""
        self._configure(title=title)
        return self

    def pin(self) -> Session:
        """Keep it in memory and in front."""
        self._configure(pinned=True)
        return self

    def unpin(self) -> Session:
        """Let it be evicted from memory when it is idle and saved."""
        self._configure(pinned=False)
        return self

    def move(self, before: Session | str | None = None) -> Session:
        """Put its tab in front of another session's, given by itself, id or title; None: behind all others.

        Pinned tabs stand before all others.
        """
        other = None
        if before is not None:
            other = self._registry[before if isinstance(before, str) else before.id]._conversation  # noqa: SLF001
        self._registry.engine.call(self._registry.move, self._conversation, other)
        return self

    def close(self) -> None:
        """Hide its tab; runs go on."""
        self._registry.engine.call(self._registry.close_tab, self._conversation, closed=True)

    def delete(self) -> None:
        """Stop what runs and remove the session; `registry.undelete(id)` takes it back."""
        self._registry.engine.call(self._registry.remove, self._conversation)

    @property
    def from_file(self) -> bool:
        """Model, instructions and parameters came with a file, and no run uses them until `adopt()`."""
        return self._conversation.state.settings.from_file

    def adopt(self) -> Session:
        """Take over the model, the instructions and the parameters that came with the file."""
        self._configure(from_file=False)
        return self

    def snapshot(self) -> dict[str, Any]:
        """Return this session as JSON values, in the format of `docs/snapshot.md`."""
        return self._registry.snapshot([self.id])

    @short_traceback
    def export(
        self, target: str | os.PathLike[str] = "md", *, to: str | None = None, overwrite: bool = False
    ) -> str | Path:
        """Write the conversation to a file, or return it in a format.

        Parameters
        ----------
        target
            A file to write, whose ending gives the format; or a format alone, and nothing is written.
        to
            The format, if the file's name does not give it: `md`, `html`, `jsonl` or `ipynb`.
        overwrite
            Replace the file if it exists.

        Returns
        -------
        The path of the file; for a format alone, the text.

        Raises
        ------
        ValueError
            The format is not one of these.
        FileExistsError
            The file exists, and `overwrite` is false.
        """
        from nbchat.export import export  # noqa: PLC0415 - only when it is used

        return export([self._conversation.state], target, to=to, overwrite=overwrite)

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with a `Notification` at every `event` of this session; see `registry.on`."""
        return self._registry.observers.on(event, callback, self.id)

    def observe(self, handler: Handler, names: str | Iterable[str] = "status") -> Callable[[], None]:
        """Call `handler` with a change, as traitlets does, when properties change.

        Parameters
        ----------
        handler
            Gets one object with `name`, `old`, `new` and `owner`, by attribute or by key; called on
            nbchat's thread for callbacks, as those of `on`.
        names
            `status`, `run`, `messages`, `title`, `model`, `instructions`, `params`, `pinned` or `closed`.

        Returns
        -------
        The function that ends it.

        Raises
        ------
        TypeError, ValueError
            The handler cannot be called, or there is no such property.

        Examples
        --------
        >>> off = nbchat.session("geo").observe(lambda change: print(change.new), "status")
        >>> off()
        """
        return observe(self, handler, names)

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each run, oldest first; as `registry.to_frame`."""
        return runs_frame([self._conversation], library)

    @short_traceback
    def _configure(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Settings
        checked = session_settings(changes)
        self._registry.engine.call(lambda: self._conversation.configure(**checked))

    def _new(self, what: Callable[..., str], *args: object) -> Run:
        return Run.of(self, self._registry.engine.call(what, *args))


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
    """Return a message's id, of itself or given as that."""
    found = message.id if isinstance(message, Message) else message
    if not isinstance(found, str):
        raise TypeError(
            f"a message is given by itself or by its id, not by {type(found).__name__}; "
            "session.messages has both."
        )
    return found


def _optional_id(message: str | Message | None) -> str | None:
    return None if message is None else _id(message)


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise TypeError(f"the prompt must be a string, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise ValueError("the prompt is empty; write what you want to ask.")
