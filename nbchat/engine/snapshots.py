"""`Snapshots`: takes snapshots of all sessions in one step of the loop, and restores them by merging."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import LeaseLost, SnapshotError, StoreBusy, StoreError
from nbchat.core.merging import has_more, includes, merge, merge_all
from nbchat.core.recovery import distrusted, recover, recovered
from nbchat.core.saved import Clock, SavedSession, Snapshot, Tombstone
from nbchat.core.snapshot import dump, encode, encode_session, parse
from nbchat.engine.journal_reader import restored_order
from nbchat.engine.journal_writer import saved_session
from nbchat.engine.snapshot_size import at_most, fitted, last_touched

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.base import EngineBase
    from nbchat.engine.eviction import Eviction
    from nbchat.engine.live_session import LiveSession

logger = logging.getLogger("nbchat")

MAX_STONES: Final = 500
"""Maximum number of deletions in a snapshot."""

MAX_NOTE: Final = 20
"""Maximum number of notes in a snapshot; the oldest are dropped first."""

MAX_FORMS: Final = 4
"""Cached records of one session: complete, and shortened to different lengths."""


class Snapshots:
    """Takes and restores snapshots, with the tombstones and the unreadable records that belong to them.

    Only for the engine's loop, unless a method's docstring states otherwise.

    Parameters
    ----------
    add
        Adds a restored session to the engine.
    ensure_loaded
        Loads the messages of an evicted session.
    """

    def __init__(
        self,
        engine: EngineBase,
        eviction: Eviction,
        *,
        add: Callable[[SavedSession], LiveSession],
        ensure_loaded: Callable[[LiveSession], LiveSession],
    ) -> None:
        self._engine = engine
        self._eviction = eviction
        self._add = add
        self._ensure_loaded = ensure_loaded
        self.notebook_id = ""
        self.place = ""
        self.tombstones: dict[str, Tombstone] = {}
        self.unreadable: list[Any] = []
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._records: dict[str, tuple[tuple[int, Clock], dict[int, bytes]]] = {}
        self._fetched: dict[str, SavedSession] = {}
        self._late: dict[str, SavedSession] = {}

    # Taking

    def take(self, session_ids: Iterable[str] | None = None) -> Snapshot:
        """Return all sessions that are saved, or some, as they are at this moment.

        An evicted session is returned without its messages, since the loop reads no store. `whole` adds
        them.
        """
        engine = self._engine
        engine.loop.check()
        chosen = None if session_ids is None else set(session_ids)
        sessions = [
            self._eviction.outlined(session) if session.evicted else saved_session(engine.epoch, session)
            for session in engine.sessions
            if not session.state.temporary and (chosen is None or session.id in chosen)
        ]
        whole = chosen is None
        return Snapshot(
            notebook_id=self.notebook_id,
            epoch=engine.epoch,
            saved_at=now(),
            place=self.place,
            sessions=tuple(sessions),
            deleted=tuple(self.tombstones.values())[-MAX_STONES:] if whole else (),
            notes=tuple(self.notes[-MAX_NOTE:]) if whole else (),
            unreadable=tuple(self.unreadable) if whole else (),
        )

    def whole(self, snapshot: Snapshot, characters: int | None = None) -> Snapshot:
        """Add the messages of evicted sessions from the store. From any thread, one call at a time.

        Parameters
        ----------
        characters
            Room for all sessions together; the most recently used ones are completed first, and kept for
            the next call. `None` completes all of them.

        Raises
        ------
        StoreError, SnapshotError
            If the store does not return a session, and `characters` is `None`.
        """
        eviction = self._eviction
        sessions = list(snapshot.sessions)
        outlines = [index for index, saved in enumerate(sessions) if eviction.is_outline(saved)]
        if not outlines:
            self._fetched = {}
            return snapshot
        if characters is None:
            for index in outlines:
                sessions[index] = eviction.stored(sessions[index])
            return replace(snapshot, sessions=tuple(sessions))
        room = characters - sum(saved.state.characters for saved in sessions)
        fetched: dict[str, SavedSession] = {}
        for index in sorted(outlines, key=lambda i: last_touched(sessions[i]), reverse=True):
            if room <= 0:
                break
            outline = sessions[index]
            saved = self._fetched.get(outline.state.id)
            if saved is None or saved.state.seq != outline.state.seq:
                try:
                    saved = at_most(eviction.stored(outline), characters)
                except (StoreError, SnapshotError) as error:
                    logger.info("a checkpoint goes without session %s: %s", outline.state.id, error)
                    continue
            fetched[saved.state.id] = sessions[index] = saved
            room -= saved.state.characters
        self._fetched = fetched
        return replace(snapshot, sessions=tuple(sessions))

    def encode(self, snapshot: Snapshot, max_bytes: int | None = None) -> bytes:
        """Return a snapshot as JSON; unchanged sessions are not encoded again.

        From any thread, one call at a time.

        Parameters
        ----------
        max_bytes
            The oldest content beyond this size is left out, with a note.
        """
        if max_bytes is not None:
            # Content beyond the limit is not even encoded.
            snapshot = self.whole(snapshot, max_bytes)
            sessions = tuple(at_most(saved, max_bytes) for saved in snapshot.sessions)
            snapshot = replace(snapshot, sessions=sessions)
        if max_bytes is not None:
            snapshot = fitted(snapshot, self._encode_session, max_bytes)
        return encode(snapshot, self._encode_session)

    def dump(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return a snapshot as JSON values, with all sessions whole. From any thread."""
        return dump(self.whole(snapshot), self._encode_session)

    def _encode_session(self, saved: SavedSession) -> bytes:
        """Return a session's record; the record of an unchanged session is cached.

        Shortened forms of a session that does not fit as a whole are cached too.
        """
        state = saved.state
        with self._lock:
            version, records = self._records.get(state.id, (None, {}))
            if version != (state.seq, saved.clock):
                version, records = (state.seq, saved.clock), {}
                self._records[state.id] = (version, records)
            body = records.get(saved.omitted)
            if body is None:
                while len(records) >= MAX_FORMS:
                    del records[next(iter(records))]
                body = records[saved.omitted] = encode_session(saved)
            return body

    def deleted(self, session: LiveSession) -> None:
        """Record a deletion, so that no older copy restores the session."""
        self._engine.loop.check()
        state = session.record.state
        if not state.temporary:
            clock = {**session.clock, self._engine.epoch: state.seq}
            self.tombstones[state.id] = Tombstone(id=state.id, clock=clock, at=now())
        self._records.pop(state.id, None)

    # Restoring

    def restore(
        self,
        *snapshots: Snapshot,
        known: Mapping[str, SessionState] | None = None,
        adopt: bool = False,
        undelete: bool = True,
        only_new: bool = False,
    ) -> list[LiveSession]:
        """Merge snapshots into the sessions; start nothing.

        Parameters
        ----------
        snapshots
            The most trusted one first: of two equally new versions, the first is used.
        known
            The sessions of this user's own journal, by id. Other settings are marked `from_file`, and other
            request fields of single runs are dropped.
        adopt
            Use the settings as they are.
        undelete
            Restore sessions that were deleted here since they were saved. A page does not do that: its copy
            is only late.
        only_new
            Leave sessions that exist here as they are.

        Returns
        -------
        The sessions of the snapshots, without those whose runs are live in another engine.
        """
        engine = self._engine
        engine.loop.check()
        sessions, stones = merge_all(*snapshots)
        self._note_deleted(stones.values())
        if not undelete:
            sessions = {key: saved for key, saved in sessions.items() if not self._has_deleted(saved)}
        for snapshot in snapshots:
            self.unreadable += [raw for raw in snapshot.unreadable if raw not in self.unreadable]
            self.notes += [note for note in snapshot.notes if note not in self.notes]
        restored = []
        for saved in restored_order(sessions.values()):
            if saved.state.live is not None and not self._may_recover():
                continue
            session = engine.sessions.get(saved.state.id)
            if session is not None and only_new:
                restored.append(session)
                continue
            mine = None if session is None else saved_session(engine.epoch, session)
            if session is not None and session.evicted and not _adds_nothing(saved, mine):
                mine = saved_session(engine.epoch, self._ensure_loaded(session))
            if not adopt and not self._is_own(saved, mine):
                saved = _marked(saved, (known or {}).get(saved.state.id), mine)  # noqa: PLW2901 - the same session
            if session is None:
                session = self._add_restored(saved)
            elif mine is not None:
                self._merge_into(session, mine, saved)
            self.tombstones.pop(saved.state.id, None)
            restored.append(session)
        return restored

    def _note_deleted(self, stones: Iterable[Tombstone]) -> None:
        """Record deletions, but not of sessions that exist here: the next kernel would drop them."""
        for stone in stones:
            if self._engine.sessions.get(stone.id) is None:
                self.tombstones.setdefault(stone.id, stone)

    def _has_deleted(self, saved: SavedSession) -> bool:
        """Return whether the session was deleted since this state of it."""
        stone = self.tombstones.get(saved.state.id)
        return stone is not None and includes(stone.clock, saved.clock)

    def _may_recover(self) -> bool:
        """Return whether live runs of a snapshot may be ended: not if another engine holds the lease."""
        journal = self._engine.journal
        if journal is None or not self._engine.leased:
            return True
        return not isinstance(journal.error, StoreBusy | LeaseLost)

    def _is_own(self, saved: SavedSession, mine: SavedSession | None) -> bool:
        """Return whether this engine wrote it, by its epoch."""
        return self._engine.epoch in saved.clock and (mine is None or _is_known(saved, mine))

    def _add_restored(self, saved: SavedSession) -> LiveSession:
        session = self._add(saved)
        if self._engine.journal is not None:
            # Its events may be in no journal, or in one that was set aside.
            self._engine.journal.write_whole(saved.state.id)
        for event in list(recover(saved.state, now())):
            session.append(event)
        return session

    def _merge_into(self, session: LiveSession, mine: SavedSession, saved: SavedSession) -> None:
        if _adds_nothing(saved, mine):
            return
        if not session.is_idle:
            # The live answer continues; the other version is merged when it has ended.
            held = self._late.get(session.id)
            self._late[session.id] = saved if held is None else merge(held, saved)
            return
        over = replace(saved, state=recovered(saved.state, now()))
        merged = merge(mine, over)
        if not saved.omitted and includes(saved.clock, session.clock):
            merged = replace(merged, omitted=0)  # all that was omitted when this session was restored
        if merged.state.seq == mine.state.seq:  # messages that were omitted here; readers have to notice
            merged = replace(merged, state=replace(merged.state, seq=merged.state.seq + 1))
        session.take_over(merged)
        if self._engine.journal is not None:
            self._engine.journal.write_whole(session.id)

    def settle(self, session: LiveSession) -> None:
        """Merge a version that arrived while the session was busy; called after each of its events."""
        if session.id in self._late and session.is_idle:
            late = self._late.pop(session.id)
            self._merge_into(session, saved_session(self._engine.epoch, session), late)


def _is_known(saved: SavedSession, mine: SavedSession | None) -> bool:
    return mine is not None and includes(mine.clock, saved.clock)


def _adds_nothing(saved: SavedSession, mine: SavedSession | None) -> bool:
    """Return whether a version is known and has nothing that was omitted here."""
    if mine is None or not _is_known(saved, mine):
        return False
    return not (mine.omitted and (not saved.omitted or has_more(saved, mine)))


def _marked(saved: SavedSession, known: SessionState | None, mine: SavedSession | None) -> SavedSession:
    """Return a session from a file, with the settings and request fields of others marked or dropped."""
    state = saved.state
    own = [one for one in (known, None if mine is None else mine.state) if one is not None]
    settings = distrusted(state.settings, own[0].settings if own else None)
    if settings.from_file and len(own) > 1:
        settings = distrusted(state.settings, own[1].settings)
    # A retry would send the fields of a run again, without showing them.
    fields = [{run.id: run.params for run in one.runs} for one in own]
    runs = tuple(
        run
        if not run.params or any(params.get(run.id) == run.params for params in fields)
        else replace(run, params={})
        for run in state.runs
    )
    if settings == state.settings and runs == state.runs:
        return saved
    return replace(saved, state=replace(state, settings=settings, runs=runs))


def read(value: object) -> Snapshot:
    """Return the snapshot in a JSON value, text, bytes, or a value of `registry.snapshot()`.

    Raises
    ------
    SnapshotError
        If it cannot be read.
    """
    if value is None:
        return Snapshot()
    return parse(value)
