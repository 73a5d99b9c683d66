"""The kernel's one registry: all sessions, by id or title, and what runs in them.

The registry is a mapping; reading it is safe from any thread. Everything that changes something is
done on the engine's loop, so callers from any number of threads and loops are served one by one.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import (
    ErrorInfo,
    IdleTimeout,
    KernelGone,
    NothingToDo,
    PicklingRefused,
    SessionGone,
    SnapshotCorrupt,
    UnknownSession,
)
from nbchat.core.events import MessageAdded, SessionCreated, Settings
from nbchat.core.ids import new_id
from nbchat.core.messages import Message, Role, TextPart
from nbchat.core.refusals import refused_questions
from nbchat.core.request_fields import merged
from nbchat.core.run import RunRecord, RunState
from nbchat.core.saved import SavedSession
from nbchat.core.settings import session_settings
from nbchat.core.tracebacks import short_traceback
from nbchat.core.transcript import SessionState
from nbchat.engine.auto_title import AutoTitle
from nbchat.engine.callbacks import Callback, Callbacks, Notification
from nbchat.engine.eviction import Eviction
from nbchat.engine.limits import Limits
from nbchat.engine.live_session import SETTLE_S, LiveSession
from nbchat.engine.logs import about
from nbchat.engine.loop_thread import LoopThread
from nbchat.engine.protocols import Journal
from nbchat.engine.provider_resolver import ProviderResolver
from nbchat.engine.scheduler import Scheduler
from nbchat.engine.session_index import SessionIndex
from nbchat.engine.snapshots import Snapshots, read
from nbchat.engine.tab_order import STEP, moved
from nbchat.handles.data_frames import runs_frame
from nbchat.handles.run import Run, check_timeout
from nbchat.handles.session import Session
from nbchat.handles.streaming_info import StreamingInfo, info_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbchat.providers.base import Provider, Request

logger = logging.getLogger("nbchat")

SWEEP_S: Final = 30.0
"""Seconds between two looks for stale runs."""

_SETTINGS: Final = ("model", "instructions", "params")

_COUNTERS: Final = (
    "runs",
    "deltas",
    "retries",
    "dropped",
    "packets",
    "frames",
    "frame_bytes",
    "resyncs",
    "send_errors",
    "wire_errors",
    "reader_errors",
    "evicted",
)


class SessionRegistry(Mapping[str, Session]):
    """All sessions of this kernel.

    `nbchat.registry` is the one instance of a process. Keys are ids; a look-up takes an id or a title:
    an id wins, then the oldest open session of that title.

    Examples
    --------
    >>> session = nbchat.registry.get_or_create("geo", model="nbchat-echo")
    >>> nbchat.registry["geo"] is nbchat.registry[session.id]
    True
    >>> run = session.send("Seine")
    >>> nbchat.registry.wait_all(timeout=30)
    >>> nbchat.registry.is_streaming("geo")
    False
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.epoch: str = new_id("k-")
        """Names this start of the kernel; nothing from another one is taken."""
        self.limits: Limits = limits or Limits()
        """What is allowed; see `Limits`."""
        self.engine: LoopThread = LoopThread()
        self.observers: Callbacks = Callbacks()
        self.scheduler: Scheduler = Scheduler(self.limits)
        self.sources: ProviderResolver = ProviderResolver()
        self.journal: Journal | None = None
        self.readers: set[Callable[[LiveSession], None]] = set()
        """Called on the engine's loop when a session has news: the wire, and whoever else follows."""
        self.viewed: Callable[[str], bool] = lambda _session_id: False
        self.view_of: Callable[[Session], Any] | None = None
        """Makes the widget that shows a session in a cell; set where there are widgets."""
        self.before_first_use: Callable[[], None] | None = None
        """Restores what was saved, once; set where there is a notebook."""
        self.snapshots: Snapshots = Snapshots(self)
        self.eviction: Eviction = Eviction(self)
        self.titles: AutoTitle = AutoTitle(self)
        self.save_elsewhere: Callable[[], None] = lambda: None
        """Asks whoever else keeps the state, as the notebook, to do it now."""
        self._restoring = threading.RLock()
        self._restores = False
        self.counters: dict[str, int] = {}
        self._shelf: SessionIndex = SessionIndex(lambda conversation: Session(self, conversation))
        self._sweeping = False

    def __repr__(self) -> str:
        """Return how many sessions there are, and how many of them are busy."""
        live = len(self.all_streaming())
        return f"<SessionRegistry {len(self)} sessions, {live} live>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Refuse: a registry is its threads and connections."""
        raise PicklingRefused("the registry cannot be pickled; save a snapshot instead.")

    # A mapping

    def __getitem__(self, key: str) -> Session:
        """Return the session with this id, or the oldest open one with this title.

        Raises
        ------
        UnknownSession
            There is none. It is a `KeyError` too.
        """
        self._first_use()
        conversation = self.find(key)
        if conversation is None:
            raise UnknownSession(key)
        return self.handle(conversation)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the sessions, oldest first."""
        self._first_use()
        return iter([c.id for c in self._shelf if not _is_hidden(c)])

    def __len__(self) -> int:
        """Return the number of sessions, closed ones too."""
        self._first_use()
        return sum(not _is_hidden(c) for c in self._shelf)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is a session of this id or title."""
        self._first_use()
        return isinstance(key, str) and self.find(key) is not None

    def find(self, key: str) -> LiveSession | None:
        """Return the conversation with this id, else the oldest open one with this title, or None."""
        return self._shelf.find(key)

    def handle(self, conversation: LiveSession) -> Session:
        """Return the handle of a conversation, always the same one."""
        return self._shelf.handle(conversation)

    # Making and ending sessions

    @short_traceback
    def create(
        self,
        title: str = "",
        *,
        model: str | None = None,
        instructions: str | None = None,
        params: Mapping[str, Any] | None = None,
        provider: str | Provider | None = None,
        temporary: bool = False,
        **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
    ) -> Session:
        """Make a new session, whatever others there are.

        Parameters
        ----------
        title
            Need not be unique; empty: the first words of the first question.
        model, instructions, params
            What its runs ask with; see `Session`.
        provider
            Name of an entry point of the group `nbchat.providers`, or an object with its methods.
        temporary
            Saved nowhere, and without a tab.
        **fields
            Fields of its requests, as `temperature=0.2`; added to `params`.

        Raises
        ------
        TypeError, ValueError
            An argument cannot be used; nothing was made.
        TooManySessions
            `limits.sessions` is reached and no session may be evicted.
        """
        settings = {
            "title": title,
            "model": model,
            "instructions": instructions,
            "params": merged("session", params, fields),
        }
        return self.create_as(new_id("s-"), settings, provider, temporary=temporary)

    def create_as(
        self,
        session_id: str,
        settings: Mapping[str, Any],
        provider: str | Provider | None = None,
        *,
        temporary: bool = False,
    ) -> Session:
        """Make a session of a new id that the caller knows, even where an interrupt takes the answer away."""
        self._first_use()
        name = provider if isinstance(provider, str) else None
        checked = session_settings({**settings, "provider": name, "closed": temporary})
        own = None if provider is None or name is not None else _checked_provider(provider)

        def work() -> Session:
            return self.handle(
                self.open(Settings(**checked), temporary=temporary, provider=own, session_id=session_id)
            )

        return self.engine.call(work)

    @short_traceback
    def get_or_create(self, key: str | None = None, **settings: Any) -> Session:  # noqa: ANN401 - as `create`
        """Return the session of this id or title, made if there is none; settings that are given are set.

        Of callers at the same time from many threads, one makes it and all get it.
        """
        self._first_use()
        if key is None:
            return self.create(**settings)
        provider = settings.pop("provider", None)
        temporary = settings.pop("temporary", False)
        given = {name: settings[name] for name in _SETTINGS if settings.get(name) is not None}
        others = {name: value for name, value in settings.items() if name not in _SETTINGS}
        fields = merged("session", None, others)
        if isinstance(provider, str):
            given["provider"] = provider
        checked = session_settings(given)
        own = None if provider is None or isinstance(provider, str) else _checked_provider(provider)

        def work() -> Session:
            conversation = self.find(key)
            if conversation is None:
                title = session_settings({"title": key})["title"]
                params = checked.get("params", {}) | fields
                fresh = Settings(**{"title": title, "closed": temporary, **checked, "params": params})
                conversation = self.open(fresh, temporary=temporary, provider=own)
            else:
                if fields:
                    params = checked.get("params", conversation.state.settings.params)
                    checked["params"] = {**params, **fields}
                if checked:
                    conversation.configure(**checked, from_file=False)
                if provider is not None:
                    conversation.provider = own  # a name takes the place of an object
                    conversation.publish()
            return self.handle(conversation)

        return self.engine.call(work)

    def thread(self, thread_id: str, **settings: Any) -> Session:  # noqa: ANN401 - as `create`
        """Return the session of a caller's thread, made if there is none; it has no tab until shown."""
        self._first_use()
        if not isinstance(thread_id, str) or not thread_id:
            raise TypeError("thread_id must be a string that is not empty.")
        checked = session_settings({k: v for k, v in settings.items() if v is not None})

        def work() -> Session:
            conversation = self._shelf.of_thread(thread_id)
            if conversation is None:
                fresh = Settings(
                    **{"title": session_settings({"title": thread_id})["title"], "closed": True, **checked}
                )
                conversation = self.open(fresh, thread_id=thread_id)
            elif checked:
                conversation.configure(**checked)
            return self.handle(conversation)

        return self.engine.call(work)

    def open(
        self,
        settings: Settings,
        *,
        temporary: bool = False,
        thread_id: str | None = None,
        provider: Provider | None = None,
        session_id: str | None = None,
        messages: Sequence[Message] = (),
    ) -> LiveSession:
        """Make a conversation. Only on the engine's thread."""
        self._make_room()
        at = now()
        if settings.rank is None and not temporary:
            # The tab is the last one, also where the clock was set back since another one was made.
            last = max((c.state.rank for c in self.conversations() if not c.state.temporary), default=0.0)
            settings = settings if last < at else replace(settings, rank=last + STEP)
        conversation = LiveSession(self, SessionState(id=session_id or new_id("s-")), provider)
        self._shelf.put(conversation, thread_id)
        conversation.append(
            SessionCreated(at=at, settings=settings, temporary=temporary, thread_id=thread_id)
        )
        for message in messages:
            conversation.append(MessageAdded(message=message))
        if provider is None:
            self.sources.warm_up(settings.provider)
        self.observers.tell(Notification(event="created", session_id=conversation.id))
        return conversation

    def adopt(self, saved: SavedSession) -> LiveSession:
        """Take over a session as it was saved. Only on the engine's thread."""
        state = saved.state
        conversation = LiveSession(self, state)
        conversation.clock, conversation.restored_seq = saved.clock, state.seq
        conversation.omitted = saved.omitted
        self._shelf.put(conversation, state.thread_id)
        self.sources.warm_up(state.settings.provider)
        self.changed(conversation)
        return conversation

    def fork(
        self, session: Session | str, message_id: str | None = None, title: str | None = None
    ) -> Session:
        """Start a new session with the conversation of another one, up to a message."""
        conversation = self._known(session)

        def work() -> Session:
            return self.handle(self.branch(conversation, message_id, title))

        return self.engine.call(work)

    def branch(
        self, conversation: LiveSession, message_id: str | None = None, title: str | None = None
    ) -> LiveSession:
        """Fork. Only on the engine's thread."""
        state = conversation.state
        until = message_id or state.leaf
        if message_id is not None and message_id not in state.messages:
            raise NothingToDo(f"session {state.id!r} has no message {message_id!r}.")
        copies: list[Message] = []
        path = state.context(until)
        # A fork has no runs, from which it could be seen that a question was refused.
        refused = refused_questions(state, path)
        for message in path:
            if message.parts and message.id not in refused:
                parent = copies[-1].id if copies else None
                copies.append(replace(message, id=new_id("m-"), parent_id=parent, run_id=None))
        named = session_settings({"title": title})["title"]
        settings = replace(
            state.settings,
            title=named or state.title,
            closed=False,
            archived=False,
            pinned=False,
            rank=None,
        )
        fork = self.open(settings, messages=copies, temporary=False)
        fork.provider = conversation.provider
        return fork

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as `Mapping.get`
        """Return the session of this id or title, or `default`."""
        try:
            return self[key]
        except UnknownSession:
            return default

    def close(self, key: str) -> None:
        """Hide a session's tab; its runs go on."""
        conversation = self._known(key)
        self.engine.call(self.close_tab, conversation, closed=True)

    def close_tab(self, conversation: LiveSession, *, closed: bool) -> None:
        """Hide or show a tab. Only on the engine's thread."""
        conversation.configure(closed=closed)
        if closed:
            self.observers.tell(Notification(event="closed", session_id=conversation.id))

    def move(self, conversation: LiveSession, before: LiveSession | None) -> None:
        """Put a tab in front of another; None: behind all others. Only on the engine's thread."""
        tabs = [c.state for c in self.conversations() if not (c.state.deleted or c.state.temporary)]
        ranks = moved(tabs, conversation.state, None if before is None else before.state)
        for session_id, rank in ranks.items():
            if (tab := self._shelf.get(session_id)) is not None:
                tab.configure(rank=rank)

    def delete(self, key: str) -> None:
        """Stop what runs in a session and remove it. `undelete` takes that back."""
        conversation = self._known(key)
        self.engine.call(self.remove, conversation)

    def undelete(self, session_id: str) -> Session:
        """Take back a deletion; the runs that it stopped stay stopped.

        Raises
        ------
        SessionGone
            It was deleted too long ago, or was never there.
        """

        def work() -> Session:
            return self.handle(self.put_back(session_id))

        return self.engine.call(work)

    def remove(self, conversation: LiveSession) -> None:
        """Delete. Only on the engine's thread."""
        if self._shelf.get(conversation.id) is not conversation:
            return
        conversation.delete()
        self.snapshots.deleted(conversation)
        self._shelf.take(conversation)
        self.observers.tell(Notification(event="deleted", session_id=conversation.id))
        self.changed(conversation)

    def put_back(self, session_id: str) -> LiveSession:
        """Undo a deletion; what is not deleted stays as it is. Only on the engine's thread."""
        known = self._shelf.get(session_id)
        if known is not None:
            return known
        conversation = self._shelf.put_back(session_id)
        self.snapshots.tombstones.pop(session_id, None)
        conversation.undelete()
        return conversation

    # Runs

    def stop(self, key: str) -> bool:
        """Stop the oldest live run of a session; True when there was one."""
        return self.engine.call(self._known(key).stop)

    def pause(self, key: str) -> StreamingInfo:
        """Hold the live run of a session, and return what it has so far."""
        conversation = self._known(key)

        def work() -> StreamingInfo:
            conversation.pause()
            info = info_of(conversation)
            assert info is not None  # noqa: S101 - `pause` raises where nothing is live
            return info

        return self.engine.call(work)

    def resume(self, key: str) -> Run:
        """Read on in the paused run of a session; for an interrupted one, see `Session.resume`."""
        return self[key].resume()

    def stop_all(self) -> int:
        """Stop every run, queued ones too; return how many there were."""
        return self.engine.call(lambda: sum(c.stop_all() for c in self._shelf))

    def pause_all(self) -> list[StreamingInfo]:
        """Hold every run that can be held; return what they have so far."""

        def work() -> list[StreamingInfo]:
            paused = []
            for conversation in self._shelf:
                live = conversation.state.live
                if live is not None and live.state not in (RunState.STOPPING, RunState.PAUSED):
                    conversation.pause()
                    paused.append(info_of(conversation))
            return [info for info in paused if info is not None]

        return self.engine.call(work)

    def resume_all(self) -> int:
        """Read on in every paused run; return how many there were."""

        def work() -> int:
            paused = [
                c for c in self._shelf if c.state.live is not None and c.state.live.state is RunState.PAUSED
            ]
            for conversation in paused:
                conversation.resume()
            return len(paused)

        return self.engine.call(work)

    @short_traceback
    def wait_all(self, timeout: float | None = None) -> None:
        """Wait until no run is live or queued.

        Parameters
        ----------
        timeout
            Seconds; None: as long as it takes.

        Raises
        ------
        TimeoutError
            Some run is not over by then.
        WouldDeadlock
            Called on the engine's own thread.
        """
        check_timeout(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        while runs := [
            Run.of(self.handle(c), run.id)
            for c in self._shelf
            for run in c.state.runs
            if not c.announced(run.id)
        ]:
            for run in runs:
                run.wait(None if until is None else max(until - time.monotonic(), 0.0))

    def is_streaming(self, key: str) -> bool:
        """Tell whether a session has a run that is not over."""
        conversation = self._known(key)
        return conversation.state.live is not None

    def streaming_info(self, key: str) -> StreamingInfo | None:
        """Return what a session's live run is doing, or None where none is live."""
        return info_of(self._known(key))

    def all_streaming(self) -> list[StreamingInfo]:
        """Return what every live run is doing, sessions oldest first."""
        found = [info_of(conversation) for conversation in self._shelf]
        return [info for info in found if info is not None]

    def cleanup_stale(self, max_idle_s: float | None = None) -> list[Run]:
        """End runs that were silent for `max_idle_s` seconds, as `interrupted`; return them.

        A long stream that still says something is never ended; nor is a paused run, a queued one, or one that
        waits before it tries again.
        This also runs by itself, with `limits.stale_s`.
        """
        limit = self.limits.stale_s if max_idle_s is None else max_idle_s
        if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
            raise ValueError(f"max_idle_s must be a number of seconds, not {max_idle_s!r}.")

        def work() -> list[Run]:
            ended = []
            for conversation in self._shelf:
                live = conversation.live
                if live is not None and not live.over and live.silent_s >= limit and not live.is_held:
                    error = IdleTimeout(f"the run was silent for {live.silent_s:.0f} s.")
                    live.end(error)
                    run = Run.of(self.handle(conversation), live.run_id)
                    ended.append(run)
                    self.observers.tell(
                        Notification(event="stale", session_id=conversation.id, run_id=live.run_id)
                    )
            return ended

        ended = self.engine.call(work)
        if not self.engine.is_current:
            for run in ended:
                run.wait(SETTLE_S + self.limits.stop_s)
        return ended

    # Watching

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with a `Notification` at every `event`; return the function that ends that.

        Parameters
        ----------
        event
            `created`, `changed`, `closed`, `deleted`, `message`, `queued`, `transition`, `delta`, `end`,
            `limit`, `stale`, `resync`, `evicted`, `saved` or `error`.
        callback
            Called on one thread of nbchat's own, after the fact, in order. It may raise or block: runs
            are not affected.
        """
        return self.observers.on(event, callback)

    def stats(self) -> dict[str, Any]:
        """Return what there is now, and counts since the kernel started.

        Returns
        -------
        Now: `sessions`, `live` runs (those with a connection), `queued` runs, `characters` and `bytes` of
        text in memory, in all and `…_by_session`, `journal_waiting` events and `journal_lag_s`, the age of
        the oldest of them. Counts: `runs`, `deltas`, `retries`, `dropped` (events that came too late),
        `packets`, `frames` (comm messages) and `frame_bytes` to pages, their `resyncs`, `send_errors`,
        `wire_errors` (messages of pages that were refused), `reader_errors`, `callback_errors`, `evicted`.
        """
        conversations = self.conversations()
        held = {c.id: c.state.characters for c in conversations}
        sizes = {
            c.id: sum(sys.getsizeof(part.text) for m in c.state.messages.values() for part in m.parts)
            for c in conversations
        }
        return {
            "sessions": len(conversations),
            "live": self.scheduler.live,
            "queued": sum(run.state is RunState.QUEUED for c in conversations for run in c.state.runs),
            "characters": sum(held.values()),
            "characters_by_session": held,
            "bytes": sum(sizes.values()),
            "bytes_by_session": sizes,
            "journal_waiting": getattr(self.journal, "waiting", 0),
            "journal_lag_s": getattr(self.journal, "lag_s", 0.0),
            "callback_errors": self.observers.errors,
            **dict.fromkeys(_COUNTERS, 0),
            **self.counters,
        }

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each run of all sessions, oldest first in each.

        Columns: who asked (`session_id`, `session`, `run_id`, `kind`, `model`), the end (`state`,
        `finish_reason`, `error`), moments in seconds since 1970-01-01 UTC (`queued_at`, `started_at`,
        `first_delta_at`, `ended_at`), seconds by state (`queued_s`, `waiting_s` until the first piece of
        content, `streaming_s`), `duration_s`, `time_to_first_token_s`, and how much and how fast
        (`characters`, `characters_per_s`, `input_tokens`, `output_tokens`, `tokens_per_s`, `retries`).
        What is not known is missing; pauses and retries count in the state they happened in.

        Parameters
        ----------
        library
            `pandas`, `polars` or `pyarrow`; None: one that is loaded, else one that is installed.

        Raises
        ------
        CommandError
            No such library is installed.

        Examples
        --------
        >>> nbchat.registry.to_frame("polars").columns[:2]
        ['session_id', 'session']
        """
        return runs_frame([c for c in self.conversations() if not _is_hidden(c)], library)

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of `stats`."""
        self.counters[name] = self.counters.get(name, 0) + more

    # Saved state

    def snapshot(self, session_ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Return all sessions, or some, as JSON values: a consistent cut, also while answers stream.

        The format is described in `docs/snapshot.md`. Temporary sessions are not in it, nor are keys.
        """
        self._first_use()
        snapshot = self.engine.call(self.snapshots.take, session_ids)
        return self.snapshots.dump(snapshot)

    def restore(self, snapshot: object, *, adopt: bool = False) -> list[Session]:
        """Merge a snapshot into what there is: the newest of each session wins, and nothing is dropped.

        Nothing is sent or started. Runs that were live when the snapshot was taken are `interrupted`.

        Parameters
        ----------
        snapshot
            What `snapshot()` returned, or its JSON as text or bytes.
        adopt
            Use its models, instructions and parameters at once. Otherwise those that this user's journal
            does not know are marked `from_file`, and wait for `Session.adopt()`.

        Returns
        -------
        The snapshot's sessions.

        Raises
        ------
        SnapshotCorrupt, SnapshotTooNew, SnapshotTooLarge
            It cannot be read; nothing has changed.
        """
        self._first_use()
        parsed = read(snapshot)
        if parsed.unreadable and not parsed.sessions:
            raise SnapshotCorrupt(f"no session of the saved state could be read: {parsed.notes[-1]}")
        return self.engine.call(lambda: [self.handle(c) for c in self.snapshots.restore(parsed, adopt=adopt)])

    def imported(self, title: str, instructions: str, turns: Sequence[tuple[Role, str]]) -> Session:
        """Make a session of a conversation that another program wrote.

        Its instructions came with a file, and wait for `Session.adopt()`.
        """
        self._first_use()
        settings = Settings(title=title, instructions=instructions or None, from_file=bool(instructions))
        messages: list[Message] = []
        for role, text in turns:
            messages.append(
                Message(
                    id=new_id("m-"),
                    role=role,
                    parts=(TextPart(text=text),),
                    created_at=now(),
                    parent_id=messages[-1].id if messages else None,
                )
            )
        return self.engine.call(lambda: self.handle(self.open(settings, messages=messages)))

    @short_traceback
    def save(self, timeout: float = 5.0) -> bool:
        """Write everything down now: to the journal, and into the notebook where a page shows it.

        Returns
        -------
        True when the journal has it; False where there is none.

        Raises
        ------
        StoreError
            The journal could not be written; everything is kept in memory, and tried again.
        TimeoutError
            It takes longer than `timeout` seconds.
        """
        self._first_use()
        self.engine.call(self.save_elsewhere)
        journal = self.journal
        if journal is None:
            return False
        self.engine.run(journal.settled(""), timeout)
        return True

    # What conversations need

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider and the request with a model in it."""
        return await self.sources.choose(own, settings, request)

    def changed(self, conversation: LiveSession) -> None:
        """Tell the readers that a session has news. Only on the engine's thread."""
        if not self._sweeping:
            self._sweeping = True
            self.engine.loop.call_later(SWEEP_S, self._sweep)
        self.snapshots.settle(conversation)
        for reader in list(self.readers):
            try:
                reader(conversation)
            except Exception:
                self.count("reader_errors")
                logger.exception(
                    "a reader of session %s failed; the session goes on",
                    conversation.id,
                    extra=about(session_id=conversation.id),
                )

    def ended(self, conversation: LiveSession, run: RunRecord) -> None:
        """Hear that a run is over, and that its end may be seen."""
        try:
            self.titles.consider(conversation, run)
        except Exception:
            logger.exception("session %s: no title could be asked for", conversation.id)

    def is_viewed(self, session_id: str) -> bool:
        """Tell whether some page shows the session now."""
        return self.viewed(session_id)

    def conversations(self) -> list[LiveSession]:
        """Return all conversations, temporary ones too, oldest first."""
        return list(self._shelf)

    def known_to_me(self, session_id: str) -> LiveSession | None:
        """Return a conversation by its id, as it is in memory, or None."""
        return self._shelf.get(session_id)

    def whole(self, conversation: LiveSession) -> LiveSession:
        """Return a conversation, brought back if it had left memory."""
        if conversation.evicted:
            self.engine.call(self._bring_back, conversation)
        return conversation

    def _bring_back(self, conversation: LiveSession) -> None:
        if conversation.evicted:
            self.eviction.bring_back(conversation)
            self.changed(conversation)  # its tab counts its messages again
            self.eviction.trim()

    def remembered(self, session_id: str) -> LiveSession | None:
        """Return a conversation by its id, also one whose deletion can still be undone; else None."""
        return self._shelf.remembered(session_id)

    def conversation(self, session_id: str) -> LiveSession:
        """Return a conversation by its id.

        Raises
        ------
        UnknownSession
            There is none (any more).
        """
        conversation = self._shelf.get(session_id)
        if conversation is None:
            raise UnknownSession(session_id)
        return self.whole(conversation)

    def discard_temporary(self, session_id: str) -> None:
        """Forget a temporary session whose answer was read, or is not waited for. On the engine's thread."""
        conversation = self._shelf.get(session_id)
        if conversation is not None and conversation.state.temporary:
            self.remove(conversation)

    def _sweep(self) -> None:
        self._sweeping = False
        if any(c.live is not None for c in self._shelf):
            self.cleanup_stale()
            self._sweeping = True
            self.engine.loop.call_later(SWEEP_S, self._sweep)

    def _make_room(self) -> None:
        self.eviction.make_room()

    def _known(self, key: str | Session) -> LiveSession:
        self._first_use()
        if isinstance(key, Session):  # a handle is as good as its id
            if self._shelf.get(key.id) is None and self._shelf.remembered(key.id) is not None:
                raise SessionGone(key.id)
            return self.conversation(key.id)
        found = self.find(key) if isinstance(key, str) else None
        if found is None:
            raise UnknownSession(key)
        return self.whole(found)

    def _first_use(self) -> None:
        # The engine's own thread takes part in restoring, and must not wait for it.
        if self.before_first_use is None or self.engine.is_current:
            return
        with self._restoring:  # others wait until everything is there; whoever restores may look
            restore = self.before_first_use
            if restore is None or self._restores:
                return
            self._restores = True
            try:
                restore()
            finally:
                self.before_first_use = None
                self._restores = False

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """End everything in good order: runs as `interrupted`, the journal flushed, the thread ended."""
        if not self.engine.is_running:
            return
        gone = KernelGone("the kernel was shut down.")

        async def finish() -> None:
            info: ErrorInfo = gone.info
            for conversation in self._shelf:
                conversation.fail_all(info)
                conversation.end_live(gone)
            for _ in range(int(timeout_s * 20)):
                if all(c.live is None for c in self._shelf):
                    break
                await asyncio.sleep(0.05)
            self.save_elsewhere()
            if self.journal is not None:
                await self.journal.settled("")
            await self.sources.aclose()

        try:
            self.engine.run(finish(), timeout_s)
        except Exception:
            logger.debug("shutting down", exc_info=True)
        self.engine.close(timeout_s)
        if self.journal is not None:
            self.journal.close()


def _is_hidden(conversation: LiveSession) -> bool:
    return conversation.state.temporary


def _checked_provider(provider: object) -> Provider:
    if isinstance(provider, type) or not callable(getattr(provider, "stream", None)):
        raise TypeError(
            "a provider is the name of an entry point, or an object with stream(request); "
            f"{type(provider).__name__!r} is neither."
        )
    return provider  # type: ignore[return-value]
