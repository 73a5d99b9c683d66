"""Snapshots of the registry: taken in one step of the loop, restored by merging, never by overwriting."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import SnapshotError, StoreError
from nbchat.core.merging import includes, merge, merge_all
from nbchat.core.recovery import distrusted, recover, recovered
from nbchat.core.saved import Clock, SavedSession, Snapshot, Tombstone
from nbchat.core.snapshot import dump, encode, encode_session, parse
from nbchat.engine.journal_writer import restored_order, saved_session
from nbchat.engine.snapshot_size import at_most, fitted, last_touched

if TYPE_CHECKING:
    from nbchat.core.events import Settings
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.registry import SessionRegistry

logger = logging.getLogger("nbchat")

MAX_STONES: Final = 500
"""Deletions that a snapshot remembers at most."""

MAX_NOTE: Final = 20
"""Notes that a snapshot carries at most; the oldest go first."""

MAX_FORMS: Final = 4
"""Records that are kept of one session: whole, and shortened to different lengths."""


class Snapshots:
    """Takes and restores snapshots of one registry; knows what was deleted, and what is not ours to judge.

    Methods are for the engine's thread but where it is said.
    """

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self.notebook_id = ""
        self.place = ""
        self.tombstones: dict[str, Tombstone] = {}
        self.unreadable: list[Any] = []
        self.notes: list[str] = []
        self._records: dict[str, tuple[tuple[int, Clock], dict[int, bytes]]] = {}
        self._fetched: dict[str, SavedSession] = {}
        self._late: dict[str, SavedSession] = {}

    # Taking

    def take(self, session_ids: Iterable[str] | None = None) -> Snapshot:
        """Return all sessions that are kept, or some, as they are at this moment.

        Of one that left memory there is its outline, without messages: the loop reads no store. `whole`
        puts them in.
        """
        registry = self._registry
        chosen = None if session_ids is None else set(session_ids)
        sessions = [
            registry.eviction.outlined(conversation)
            if conversation.evicted
            else saved_session(registry, conversation)
            for conversation in registry.conversations()
            if not conversation.state.temporary and (chosen is None or conversation.id in chosen)
        ]
        whole = chosen is None
        return Snapshot(
            notebook_id=self.notebook_id,
            epoch=registry.epoch,
            saved_at=now(),
            place=self.place,
            sessions=tuple(sessions),
            deleted=tuple(self.tombstones.values())[-MAX_STONES:] if whole else (),
            notes=tuple(self.notes[-MAX_NOTE:]) if whole else (),
            unreadable=tuple(self.unreadable) if whole else (),
        )

    def whole(self, snapshot: Snapshot, characters: int | None = None) -> Snapshot:
        """Put in what the store has of sessions that had left memory. From any thread, one at a time.

        Parameters
        ----------
        characters
            Where all of it together has no room, the sessions in which something happened last are whole.
            What was read for that is kept for the next time. None: all of them.

        Raises
        ------
        StoreError, SnapshotError
            The store does not give one back; only where all are asked for.
        """
        eviction = self._registry.eviction
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
        """Return a snapshot as JSON; sessions that did not change since the last time cost nothing.

        From any thread, one at a time.

        Parameters
        ----------
        max_bytes
            Beyond it the oldest content is left out, and a note says so.
        """
        if max_bytes is not None:
            # What has no room in any case is not even looked at.
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
        """Return a session's record; one that did not change is taken from the last time.

        Of one that has no room as a whole, the shorter forms that were tried are kept, too.
        """
        state = saved.state
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

    def deleted(self, conversation: LiveSession) -> None:
        """Remember that a session was deleted, so that no older copy brings it back."""
        state = conversation.record.state
        if not state.temporary:
            clock = {**conversation.clock, self._registry.epoch: state.seq}
            self.tombstones[state.id] = Tombstone(id=state.id, clock=clock, at=now())
        self._records.pop(state.id, None)

    # Restoring

    def restore(
        self, *snapshots: Snapshot, known: Mapping[str, Settings] | None = None, adopt: bool = False
    ) -> list[LiveSession]:
        """Merge snapshots into what there is; start nothing.

        Parameters
        ----------
        snapshots
            The ones that are trusted most first: of two that are equally new, the first is taken.
        known
            Settings that this user's own journal has, by session. Other ones are marked `from_file`.
        adopt
            Take settings as they are: the caller vouches for them.

        Returns
        -------
        The conversations of all sessions in the snapshots that are there now.
        """
        registry = self._registry
        sessions, stones = merge_all(*snapshots)
        for stone in stones.values():
            self.tombstones.setdefault(stone.id, stone)
        for snapshot in snapshots:
            self.unreadable += [raw for raw in snapshot.unreadable if raw not in self.unreadable]
            self.notes += [note for note in snapshot.notes if note not in self.notes]
        restored = []
        for saved in restored_order(sessions.values()):
            conversation = registry.known_to_me(saved.state.id)
            mine = None if conversation is None else saved_session(registry, conversation)
            if conversation is not None and conversation.evicted and not _is_known(saved, mine):
                mine = saved_session(registry, registry.whole(conversation))
            if not adopt and not self._is_own(saved, mine):
                saved = _marked(saved, (known or {}).get(saved.state.id), mine)  # noqa: PLW2901 - the same session
            if conversation is None:
                conversation = self._adopt(saved)
            elif mine is not None:
                self._merge_into(conversation, mine, saved)
            self.tombstones.pop(saved.state.id, None)
            restored.append(conversation)
        return restored

    def _is_own(self, saved: SavedSession, mine: SavedSession | None) -> bool:
        """Tell whether this very kernel wrote it: nobody else knows its epoch."""
        return self._registry.epoch in saved.clock and (mine is None or _is_known(saved, mine))

    def _adopt(self, saved: SavedSession) -> LiveSession:
        registry = self._registry
        conversation = registry.adopt(saved)
        if registry.journal is not None:
            # The events that made it may be in no journal of ours, or in one that is set aside.
            registry.journal.write_whole(saved.state.id)
        for event in list(recover(saved.state, now())):
            conversation.append(event)
        return conversation

    def _merge_into(self, conversation: LiveSession, mine: SavedSession, saved: SavedSession) -> None:
        if includes(mine.clock, saved.clock):
            return
        if not conversation.is_idle:
            # What is being answered goes on; the rest is put in when it has ended.
            held = self._late.get(conversation.id)
            self._late[conversation.id] = saved if held is None else merge(held, saved)
            return
        over = replace(saved, state=recovered(saved.state, now()))
        merged = merge(mine, over)
        conversation.take_over(merged)
        if self._registry.journal is not None:
            self._registry.journal.write_whole(conversation.id)

    def settle(self, conversation: LiveSession) -> None:
        """Put in what came while the session was busy; called when it has news."""
        if conversation.id in self._late and conversation.is_idle:
            late = self._late.pop(conversation.id)
            self._merge_into(conversation, saved_session(self._registry, conversation), late)


def _is_known(saved: SavedSession, mine: SavedSession | None) -> bool:
    return mine is not None and includes(mine.clock, saved.clock)


def _marked(saved: SavedSession, known: Settings | None, mine: SavedSession | None) -> SavedSession:
    settings = distrusted(saved.state.settings, known)
    if settings.from_file and mine is not None:
        settings = distrusted(saved.state.settings, mine.state.settings)
    if settings == saved.state.settings:
        return saved
    return replace(saved, state=replace(saved.state, settings=settings))


def read(value: object) -> Snapshot:
    """Return the snapshot in a JSON value, text, bytes, or what `registry.snapshot()` returned.

    Raises
    ------
    SnapshotError
        It cannot be read.
    """
    if value is None:
        return Snapshot()
    return parse(value)
