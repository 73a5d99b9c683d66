"""`SessionRegistry`: all sessions of a backend, as a mapping by id or title."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nbchat.core.commands import Close, Delete, StopAll
from nbchat.core.errors import PicklingRefused, SessionGone, SnapshotCorrupt, UnknownSession, WouldDeadlock
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import (
    CleanUpStale,
    CreateSession,
    GetOrCreateSession,
    PauseAll,
    Restore,
    ResumeAll,
    RunKey,
)
from nbchat.core.request_fields import merged
from nbchat.core.settings import patch, patch_of_given
from nbchat.core.tracebacks import short_traceback
from nbchat.engine.backend import Backend
from nbchat.engine.engine import Engine
from nbchat.engine.limits import Limits
from nbchat.engine.local_backend import LocalBackend
from nbchat.engine.run_queue import SETTLE_S
from nbchat.engine.snapshots import read
from nbchat.handles.bound_limits import BoundLimits
from nbchat.handles.data_frames import runs_frame
from nbchat.handles.host import Host, NoHost
from nbchat.handles.run import Run, check_timeout
from nbchat.handles.session import Session, session_cache
from nbchat.handles.streaming_info import StreamingInfo, info_of
from nbchat.handles.tools import checked_tools

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.callbacks import Callback
    from nbchat.engine.tools import Tool
    from nbchat.providers.base import Provider


class SessionRegistry(Mapping[str, Session]):
    """All sessions of this kernel.

    `nbchat.registry` is the one instance of a process. Keys are ids; a look-up accepts an id or a title. An
    id takes precedence, then the oldest open session of that title. It may be used from any thread.

    Parameters
    ----------
    limits
        The limits of a new engine; see `Limits`.
    backend
        The engine, in this process or elsewhere. `None` creates a new engine.
    host
        The program around the registry. With `None`, nothing is restored or drawn.

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

    def __init__(
        self, limits: Limits | None = None, *, backend: Backend | None = None, host: Host | None = None
    ) -> None:
        self._host: Host = NoHost() if host is None else host
        self._use(backend or LocalBackend(Engine(limits)))

    def _use(self, backend: Backend) -> None:
        """Use a backend, before there is any session."""
        self._backend: Backend = backend
        self._sessions = session_cache(backend, self._host)
        self._limits = BoundLimits(backend)

    def __repr__(self) -> str:
        """Return the number of sessions, and how many of them are busy."""
        return f"<SessionRegistry {len(self)} sessions, {len(self.all_streaming())} live>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise `PicklingRefused`: a registry consists of threads and connections."""
        raise PicklingRefused("the registry cannot be pickled; save a snapshot instead.")

    @property
    def limits(self) -> Limits:
        """The limits in force; see `Limits`. Assigning to its attributes changes them."""
        return self._limits

    # A mapping

    def __getitem__(self, key: str) -> Session:
        """Return the session with this id, or the oldest open one with this title.

        Raises
        ------
        UnknownSession
            No session matches `key`. A subclass of `KeyError`.
        """
        return self._sessions.of(self._find(key))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the sessions, oldest first."""
        self._host.restore_once()
        return iter(self._backend.sessions())

    def __len__(self) -> int:
        """Return the number of sessions, including closed ones."""
        self._host.restore_once()
        return len(self._backend.sessions())

    def __contains__(self, key: object) -> bool:
        """Return whether there is a session with this id or title."""
        self._host.restore_once()
        return isinstance(key, str) and self._backend.find(key) is not None

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as `Mapping.get`
        """Return the session with this id or title, or `default`."""
        try:
            return self[key]
        except UnknownSession:
            return default

    # Creating and deleting sessions

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
        tools: Iterable[Tool] = (),
        **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
    ) -> Session:
        """Create a new session, even if others have the same title.

        Parameters
        ----------
        title
            Need not be unique. If empty, the first words of the first question are used.
        model, instructions, params
            Used by its runs; see `Session`.
        provider
            Name of an entry point of the group `nbchat.providers`, or an object with its methods.
        temporary
            Not saved, and without a tab.
        tools
            Functions that the model may call; see `Session.tools`.
        **fields
            Fields of its requests, such as `temperature=0.2`; added to `params`.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used; nothing was created.
        TooManySessions
            If `limits.sessions` is reached and no session may be evicted.
        """
        checked = checked_tools(tools)
        self._host.restore_once()
        name = provider if isinstance(provider, str) else None
        settings = patch(
            title=title,
            model=model,
            instructions=instructions,
            params=merged("session", params, fields),
            provider=name,
        )
        command = CreateSession(
            id=new_id("c-"),
            session_id=new_id("s-"),
            settings=settings,
            provider_id=self._offered(provider),
            temporary=temporary,
        )
        return self._session_of(command, checked or None)

    @short_traceback
    def get_or_create(self, key: str | None = None, **settings: Any) -> Session:  # noqa: ANN401 - as `create`
        """Return the session with this id or title, or create it; settings passed here are applied.

        If several threads call it at the same time, one session is created and all get it.

        Raises
        ------
        TypeError, ValueError, TooManySessions
            As `create`.
        """
        if key is None:
            return self.create(**settings)
        self._host.restore_once()
        self._backend.find(key)  # raises for a key that is not a string
        tools = settings.pop("tools", None)
        checked = None if tools is None else checked_tools(tools)
        provider = settings.pop("provider", None)
        temporary = bool(settings.pop("temporary", False))
        name = provider if isinstance(provider, str) else None
        given = {setting: settings.pop(setting, None) for setting in ("model", "instructions", "params")}
        fields = merged("session", None, settings) or None
        command = GetOrCreateSession(
            id=new_id("c-"),
            session_id=new_id("s-"),
            key=key,
            settings=patch_of_given(**given, provider=name, more_params=fields),
            provider_id=self._offered(provider),
            temporary=temporary,
        )
        return self._session_of(command, checked)

    def close(self, key: str) -> None:
        """Hide a session's tab; its runs continue."""
        self._backend.execute(Close(id=new_id("c-"), session_id=self._find(key)))

    def delete(self, key: str) -> None:
        """Stop the runs of a session and remove it. `undelete` restores it."""
        self._backend.execute(Delete(id=new_id("c-"), session_id=self._find(key)))

    def undelete(self, session_id: str) -> Session:
        """Undo a deletion; the runs that it stopped stay stopped.

        Raises
        ------
        SessionGone
            If it was deleted too long ago or never existed.
        """
        self._backend.execute(Delete(id=new_id("c-"), session_id=session_id, deleted=False))
        return self._sessions.of(session_id)

    # Runs

    def stop(self, key: str) -> bool:
        """Stop the oldest live run of a session; return whether there was one."""
        return self[key].stop()

    def pause(self, key: str) -> StreamingInfo:
        """Pause the live run of a session, and return its text so far.

        Raises
        ------
        RunNotLive
            If no run is live.
        """
        run = self[key].pause()
        return info_of(self._backend.state(run.session_id), run.id)

    def resume(self, key: str) -> Run:
        """Resume the paused run of a session, or an interrupted one; see `Session.resume`."""
        return self[key].resume()

    def stop_all(self) -> int:
        """Stop every run, including queued ones; return their number."""
        return len(self._backend.execute(StopAll(id=new_id("c-"))).runs)

    def pause_all(self) -> list[StreamingInfo]:
        """Pause every run that can be paused; return their text so far."""
        paused = self._backend.execute(PauseAll(id=new_id("c-"))).runs
        return [info_of(self._backend.state(run.session_id), run.run_id) for run in paused]

    def resume_all(self) -> int:
        """Resume every paused run; return their number."""
        return len(self._backend.execute(ResumeAll(id=new_id("c-"))).runs)

    @short_traceback
    def wait_all(self, timeout: float | None = None) -> None:
        """Wait until no run is live or queued; see `Session.wait`.

        Parameters
        ----------
        timeout
            Seconds; `None` disables this limit.

        Raises
        ------
        TimeoutError
            If a run is not over by then.
        WouldDeadlock
            If called on the engine's own thread.
        """
        check_timeout(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        self._host.refresh()
        try:
            while live := self.all_streaming():
                for info in live:
                    run = self._run(RunKey(session_id=info.session_id, run_id=info.run_id))
                    run.wait(None if until is None else max(until - time.monotonic(), 0.0))
        finally:
            self._host.refresh()

    def is_streaming(self, key: str) -> bool:
        """Return whether a session has a run that is not over."""
        return self._state(key).live is not None

    def streaming_info(self, key: str) -> StreamingInfo | None:
        """Return the live run of a session, or `None`."""
        state = self._state(key)
        return None if state.live is None else info_of(state, state.live.id)

    def all_streaming(self) -> list[StreamingInfo]:
        """Return every live run, sessions oldest first."""
        states = self._backend.streaming()
        return [info_of(state, state.live.id) for state in states if state.live is not None]

    def cleanup_stale(self, max_idle_s: float | None = None) -> list[Run]:
        """End runs that received no content for `max_idle_s` seconds as `interrupted`; return them.

        A long stream that still receives content is never ended; nor is a run that is paused, queued, or
        waiting before a retry. The engine also does this regularly, with `limits.stale_s`.

        Raises
        ------
        ValueError
            If `max_idle_s` is not a number of seconds.
        """
        if max_idle_s is not None and (
            isinstance(max_idle_s, bool) or not isinstance(max_idle_s, int | float) or not max_idle_s >= 0
        ):
            raise ValueError(f"max_idle_s must be a number of seconds, not {max_idle_s!r}.")
        ended = self._backend.execute(CleanUpStale(id=new_id("c-"), max_idle_s=max_idle_s)).runs
        runs = [self._run(key) for key in ended]
        with suppress(WouldDeadlock):  # the engine's own thread cannot wait
            for run in runs:
                run.wait(SETTLE_S + self.limits.stop_s)
        return runs

    # Observing

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with a `Notification` at every `event`; return the function that unsubscribes.

        Parameters
        ----------
        event
            `created`, `changed`, `closed`, `deleted`, `message`, `queued`, `transition`, `delta`, `end`,
            `limit`, `alert`, `stale`, `resync`, `evicted`, `saved`, `error` or `approval_needed`.
        callback
            Called on one of nbchat's threads, after the event, in order. It may raise or block without
            affecting runs.
        """
        return self._backend.on(event, callback)

    def stats(self) -> dict[str, Any]:
        """Return current figures, and counts since the kernel started.

        Returns
        -------
        Current: `sessions`, `live` runs (those with a connection), `queued` runs, `characters` and `bytes`
        of text in memory, in total and `…_by_session`, `journal_waiting` events and `journal_lag_s`, the age
        of the oldest of them. Counts: `runs`, `deltas`, `retries`, `dropped` (events that came too late),
        `packets`, `frames` (comm messages) and `frame_bytes` to pages, their `resyncs`, `send_errors`,
        `wire_errors` (refused messages of pages), `reader_errors`, `callback_errors`, `evicted`.
        """
        return self._backend.stats()

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each run of all sessions, oldest first in each.

        Columns: `session_id`, `session`, `run_id`, `kind`, `model`; `state`, `finish_reason`, `error`;
        times in seconds since 1970-01-01 UTC (`queued_at`, `started_at`, `first_delta_at`, `ended_at`);
        seconds by state (`queued_s`, `waiting_s` until the first piece of content, `streaming_s`),
        `duration_s`, `time_to_first_token_s`; and `characters`, `characters_per_s`, `input_tokens`,
        `output_tokens`, `tokens_per_s`, `retries`. Unknown values are missing; pauses and retries count in
        the state in which they happened.

        Parameters
        ----------
        library
            `pandas`, `polars` or `pyarrow`. `None` selects one that is loaded, else one that is installed.

        Raises
        ------
        CommandError
            If no such library is installed.

        Examples
        --------
        >>> nbchat.registry.to_frame("polars").columns[:2]
        ['session_id', 'session']
        """
        return runs_frame([self._backend.state(session_id) for session_id in self], library)

    # Saved state

    def snapshot(self, session_ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Return all sessions, or some, as JSON values. They are consistent even while answers stream.

        The format is described in `docs/snapshot.md`. It contains no temporary sessions and no keys.
        """
        self._host.restore_once()
        return self._backend.snapshot(session_ids)

    def restore(self, snapshot: object, *, adopt: bool = False) -> list[Session]:
        """Merge a snapshot: the newest version of each session wins, and nothing is dropped.

        Nothing is sent or started. Runs that were live when the snapshot was taken are `interrupted`. In a
        team's namespace of a service, only sessions that it does not have are added.

        Parameters
        ----------
        snapshot
            A value returned by `snapshot()`, or its JSON as text or bytes.
        adopt
            Use its models, instructions and parameters at once. Otherwise those that this user's journal
            does not have are marked `from_file`, and are used after `Session.adopt()`.

        Returns
        -------
        The snapshot's sessions.

        Raises
        ------
        SnapshotCorrupt, SnapshotTooNew, SnapshotTooLarge
            If it cannot be read; nothing has changed.
        """
        self._host.restore_once()
        parsed = read(snapshot)
        if parsed.unreadable and not parsed.sessions:
            raise SnapshotCorrupt(f"no session of the saved state could be read: {parsed.notes[-1]}")
        restored = self._backend.execute(Restore(id=new_id("c-"), snapshot=parsed, adopt=adopt))
        return [self._sessions.of(session_id) for session_id in restored.session_ids]

    @short_traceback
    def save(self, timeout: float = 5.0) -> bool:
        """Save all sessions now: to the journal, and into the notebook if a page shows it.

        Returns
        -------
        True if the journal has everything; False if there is no journal.

        Raises
        ------
        StoreError
            If the journal could not be written; everything is kept in memory and written later.
        TimeoutError
            If it takes longer than `timeout` seconds.
        """
        self._host.restore_once()
        return self._backend.save(timeout)

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """End all runs as `interrupted`, flush the journal and end the engine's thread.

        `nbchat.registry` does this by itself at the end of the process.
        """
        self._backend.shutdown(timeout_s)

    # Helpers

    def _find(self, key: str) -> str:
        """Return the id of a session, specified by id, title or handle."""
        self._host.restore_once()
        found = self._backend.find(key.id if isinstance(key, Session) else key)
        if found is None:
            raise SessionGone(key.id) if isinstance(key, Session) else UnknownSession(key)
        return found

    def _state(self, key: str) -> SessionState:
        return self._backend.state(self._find(key))

    def _run(self, key: RunKey) -> Run:
        return self._sessions.of(key.session_id)._run(key.run_id)  # noqa: SLF001 - same package

    def _offered(self, provider: object) -> str | None:
        if provider is None or isinstance(provider, str):
            return None
        return self._backend.offer(_checked_provider(provider))

    def _session_of(
        self, command: CreateSession | GetOrCreateSession, tools: tuple[Tool, ...] | None = None
    ) -> Session:
        session = self._sessions.of(self._backend.execute(command).session_id or "")
        if tools is not None:
            session.tools = tools
        return session


def _checked_provider(provider: object) -> Provider:
    if isinstance(provider, type) or not callable(getattr(provider, "stream", None)):
        raise TypeError(
            "provider must be the name of an entry point, or an object with stream(request), not "
            f"{type(provider).__name__!r}."
        )
    return provider  # type: ignore[return-value]
