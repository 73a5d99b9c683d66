"""`Engine`: the only writer. It owns all live sessions and executes commands on its loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core.clock import STEP_S, now
from nbchat.core.errors import IdleTimeout, KernelGone, NbchatError, NothingToDo, SessionGone, UnknownSession
from nbchat.core.events import MessageAdded, SessionCreated, Settings
from nbchat.core.ids import new_id
from nbchat.core.messages import Author, Message
from nbchat.core.refusals import refused_questions
from nbchat.core.run import RunRecord, RunState
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.settings import SettingsPatch, clean_title, fork_title
from nbchat.core.transcript import SessionState
from nbchat.engine.auto_title import AutoTitle
from nbchat.engine.base import EngineBase
from nbchat.engine.callbacks import Notification
from nbchat.engine.eviction import Eviction
from nbchat.engine.journal_writer import JournalWriter, SaveStatus
from nbchat.engine.limits import Limits
from nbchat.engine.live_session import LiveSession
from nbchat.engine.logs import about
from nbchat.engine.loop_thread import LoopThread
from nbchat.engine.session_log import SessionLog
from nbchat.engine.snapshots import Snapshots
from nbchat.engine.tab_order import STEP, moved
from nbchat.providers.base import Provider, Request
from nbchat.stores.base import Store

logger = logging.getLogger("nbchat")

SWEEP_S: Final = 30.0
"""Seconds between two searches for stale runs."""

COUNTERS: Final = (
    *("runs", "deltas", "retries", "dropped", "packets", "frames", "frame_bytes", "resyncs"),
    *("send_errors", "wire_errors", "reader_errors", "evicted"),
)
"""Counters of `registry.stats()`."""


class Engine(EngineBase):
    """All live sessions and runs of a process.

    Every method is only for the engine's loop, unless its docstring states otherwise. Cells, pages and other
    kernels reach it through a `Backend`.
    """

    def __init__(
        self, limits: Limits | None = None, loop: LoopThread | None = None, *, leased: bool = False
    ) -> None:
        super().__init__(limits, loop, leased=leased)
        self.eviction: Eviction = Eviction(self)
        self.snapshots: Snapshots = Snapshots(
            self, self.eviction, add=self.add_restored, ensure_loaded=self.ensure_loaded
        )
        self.titles: AutoTitle = AutoTitle(self)
        self.offered: dict[str, Provider] = {}
        """Provider objects that a command is about to use, by id."""
        self._sweeping = False
        self._last_rank = 0.0
        """The highest rank of any tab so far."""
        self._last_created = 0.0
        """The latest creation of any session so far, by this engine or by an earlier one."""

    def __repr__(self) -> str:
        """Return the number of sessions and of live runs."""
        return f"<Engine {len(self.sessions)} sessions, {self.scheduler.live} live>"

    # Sessions

    def session(self, session_id: str) -> LiveSession:
        """Return a session with its messages in memory.

        Raises
        ------
        SessionGone
            If it was deleted and can be restored.
        UnknownSession
            If there is no such session.
        """
        self.loop.check()
        session = self.sessions.get(session_id)
        if session is None:
            deleted = self.sessions.get_including_deleted(session_id) is not None
            raise SessionGone(session_id) if deleted else UnknownSession(session_id)
        return self.ensure_loaded(session)

    def ensure_loaded(self, session: LiveSession) -> LiveSession:
        """Load the messages of an evicted session from the store, and return the session."""
        self.loop.check()
        if session.evicted:
            self.eviction.bring_back(session)
            self.changed(session)  # its head shows the number of messages again
            self.eviction.trim(but=session)
        return session

    def last_asked(self) -> dict[str, float]:
        """Return when each session's newest run was queued. From any thread; loads nothing."""
        return {s.id: s.state.runs[-1].queued_at for s in self.sessions if s.state.runs}

    def create(
        self,
        settings: Settings,
        *,
        session_id: str | None = None,
        temporary: bool = False,
        thread_id: str | None = None,
        provider: Provider | None = None,
        messages: Sequence[Message] = (),
    ) -> LiveSession:
        """Create a session.

        Raises
        ------
        TooManySessions
            If `limits.sessions` is reached and no session may be evicted.
        """
        self.loop.check()
        self.eviction.make_room()
        # Sessions are restored in the order of creation, also if the clock was set back since the last one.
        self._last_created = at = max(now(), self._last_created + STEP_S)
        if settings.rank is None and not temporary:
            # The tab is the last one, even if the clock was set back since another one was created.
            if self._last_rank >= at:
                settings = replace(settings, rank=self._last_rank + STEP)
            self._last_rank = max(at, settings.rank or at)
        session = LiveSession(self, SessionState(id=session_id or new_id("s-")), provider)
        self.sessions.add(session, thread_id)
        session.append(SessionCreated(at=at, settings=settings, temporary=temporary, thread_id=thread_id))
        for message in messages:
            session.append(MessageAdded(message=message))
        if provider is None:
            self.providers.warm_up(settings.provider)
        self.callbacks.notify(Notification(event="created", session_id=session.id))
        return session

    def add_restored(self, saved: SavedSession) -> LiveSession:
        """Add a session as it was saved."""
        session = LiveSession(self, saved.state)
        session.clock, session.restored_seq = saved.clock, saved.state.seq
        session.omitted = saved.omitted
        self.sessions.add(session, saved.state.thread_id)
        self._last_rank = max(self._last_rank, saved.state.rank)
        self._last_created = max(self._last_created, saved.state.created_at)
        self.providers.warm_up(saved.state.settings.provider)
        self.changed(session)
        return session

    def fork(
        self,
        session: LiveSession,
        message_id: str | None = None,
        title: str | None = None,
        word: str = "fork",
        author: Author = UNSET,
    ) -> LiveSession:
        """Create a session with the conversation of another one, up to a message.

        Without a `title` it has the title of the other one, with `word` and, if needed, a number.

        Raises
        ------
        NothingToDo
            If there is no such message.
        """
        state = session.state
        if message_id is not None and message_id not in state.messages:
            raise NothingToDo(f"session {state.id!r} has no message {message_id!r}.")
        copies: list[Message] = []
        path = state.context(message_id or state.leaf)
        # A fork has no runs, which would show that a question was refused.
        refused = refused_questions(state, path)
        for message in path:
            if message.parts and message.id not in refused:
                parent = copies[-1].id if copies else None
                copies.append(replace(message, id=new_id("m-"), parent_id=parent, run_id=None))
        titles = {one.state.title for one in self.sessions if not one.state.deleted}
        settings = replace(
            state.settings,
            title=clean_title(title) or fork_title(state.title, word, titles),
            closed=False,
            archived=False,
            pinned=False,
            rank=None,
            changed_by=author,
        )
        provider = session.provider if self.may_use(session.provider, author) else None
        return self.create(settings, provider=provider, messages=copies)

    def close_tab(self, session: LiveSession, *, closed: bool) -> None:
        """Hide or show the tab of a session."""
        session.configure(SettingsPatch(closed=closed))
        if closed:
            self.callbacks.notify(Notification(event="closed", session_id=session.id))

    def move(self, session: LiveSession, before: LiveSession | None) -> None:
        """Move a tab in front of another one; `None` moves it to the end."""
        self.loop.check()
        tabs = [s.state for s in self.sessions if not (s.state.deleted or s.state.temporary)]
        ranks = moved(tabs, session.state, None if before is None else before.state)
        for session_id, rank in ranks.items():
            if (tab := self.sessions.get(session_id)) is not None:
                tab.set_rank(rank)
                self._last_rank = max(self._last_rank, rank)

    def delete(self, session: LiveSession) -> None:
        """Stop all runs of a session and remove it."""
        self.loop.check()
        if self.sessions.get(session.id) is not session:
            return
        session.delete()
        self.snapshots.deleted(session)
        self.sessions.remove(session)
        self.callbacks.notify(Notification(event="deleted", session_id=session.id))
        self.changed(session)

    def undelete(self, session_id: str) -> LiveSession:
        """Undo a deletion; a session that is not deleted stays as it is.

        Raises
        ------
        SessionGone
            If it was deleted too long ago or never existed.
        """
        self.loop.check()
        known = self.sessions.get(session_id)
        if known is not None:
            return known
        session = self.sessions.restore_deleted(session_id)
        self.snapshots.tombstones.pop(session_id, None)
        session.undelete()
        return session

    # All runs

    def clean_up_stale(self, max_idle_s: float) -> list[tuple[str, str]]:
        """End runs without content for this long as `interrupted`; return their sessions and ids."""
        self.loop.check()
        ended = []
        for session in self.sessions:
            live = session.live
            if (
                live is not None
                and not live.over
                and live.clock.silent_s >= max_idle_s
                and not live.clock.is_held
            ):
                live.end(IdleTimeout(f"the run was silent for {live.clock.silent_s:.0f} s."))
                ended.append((session.id, live.run_id))
                self.callbacks.notify(Notification(event="stale", session_id=session.id, run_id=live.run_id))
        return ended

    def _sweep(self) -> None:
        self._sweeping = False
        if any(session.live is not None for session in self.sessions):
            self.clean_up_stale(self.limits.stale_s)
            self._plan_sweep()

    def _plan_sweep(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.loop.aio.call_later(SWEEP_S, self._sweep)

    # The context of sessions

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider, and the request with a model in it."""
        return await self.providers.choose(own, settings, request)

    def changed(self, session: SessionLog) -> None:
        """Notify readers that a session has new events."""
        self.loop.check()
        self._plan_sweep()
        live = self.sessions.get_including_deleted(session.id)
        if live is None:
            return
        self.snapshots.settle(live)
        for reader in list(self.readers):
            try:
                reader(live)
            except Exception:
                self.count("reader_errors")
                logger.exception(
                    "a reader of session %s failed; the session is not affected",
                    session.id,
                    extra=about(session_id=session.id),
                )

    def ended(self, session: SessionLog, run: RunRecord) -> None:
        """Request a title after the announced end of a run, if this is enabled."""
        if self.journal is None:  # else memory is checked after each write
            self.eviction.trim()
        live = self.sessions.get(session.id)
        if live is None:
            return
        try:
            self.titles.consider(live, run)
        except Exception:
            logger.exception("session %s: no title could be asked for", session.id)

    # Saving

    def open_journal(
        self,
        store: Store | None,
        *,
        error: NbchatError | None = None,
        reopen: Callable[[], Store] | None = None,
        on_status: Callable[[SaveStatus], None] = lambda _status: None,
        on_reopened: Callable[[Snapshot], None] = lambda _snapshot: None,
    ) -> JournalWriter:
        """Write all later events to a store; see `JournalWriter`. From any thread."""
        writer = JournalWriter(
            self,
            store,
            on_written=self.eviction.trim,
            error=error,
            reopen=reopen,
            on_status=on_status,
            on_reopened=on_reopened,
        )
        self.journal = writer
        return writer

    def request_checkpoint(self) -> None:
        """Request all savers outside of the journal to save the state now."""
        self.loop.check()
        for checkpoint in list(self.checkpoints):
            checkpoint()

    def stats(self) -> dict[str, Any]:
        """Return the values of `registry.stats()`. From any thread."""
        sessions = list(self.sessions)
        held = {s.id: s.state.characters for s in sessions}
        sizes = {
            s.id: sum(sys.getsizeof(part.text) for m in s.state.messages.values() for part in m.parts)
            for s in sessions
        }
        return {
            "sessions": len(sessions),
            "live": self.scheduler.live,
            "queued": sum(run.state is RunState.QUEUED for s in sessions for run in s.state.runs),
            "characters": sum(held.values()),
            "characters_by_session": held,
            "bytes": sum(sizes.values()),
            "bytes_by_session": sizes,
            "journal_waiting": 0 if self.journal is None else self.journal.waiting,
            "journal_lag_s": 0.0 if self.journal is None else self.journal.lag_s,
            "callback_errors": self.callbacks.errors,
            **dict.fromkeys(COUNTERS, 0),
            **self.counters,
        }

    async def close_providers(self) -> None:
        """Close the connections that are kept open, and the embedded server."""
        await self.providers.aclose()

    async def finish(self, reason: NbchatError, timeout_s: float) -> None:
        """End all runs as `interrupted`, and write what is left; the loop and the journal stay open."""
        for session in self.sessions:
            session.runs.interrupt_all(reason)
        for _ in range(int(timeout_s * 20)):
            if all(session.live is None for session in self.sessions):
                break
            await asyncio.sleep(0.05)
        self.request_checkpoint()
        try:
            if self.journal is not None:
                await self.journal.settled("")
        finally:
            await self.close_providers()

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """End all runs as `interrupted`, flush the journal and end the thread. From any thread."""
        if not self.loop.is_running:
            return
        try:
            self.loop.run(self.finish(KernelGone("the kernel was shut down."), timeout_s), timeout_s)
        except Exception:
            logger.debug("shutting down", exc_info=True)
        self.loop.close(timeout_s)
        if self.journal is not None:
            self.journal.close()
