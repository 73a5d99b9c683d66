"""`Notebook`: restores sessions from the kernel's notebook, and keeps its metadata up to date.

1. The first call that reads or creates a session restores all sessions before it returns. The page sends
   the notebook's metadata, with unsaved changes, on the control channel while the cell blocks. If no page
   answers in time, the file is read instead. The state of a page that answers late is merged.
2. The journal is opened under the notebook's id and merged with the metadata. The newest state of each
   session is kept.
3. Checkpoints are then sent only to the page where the user last acted: when a run has ended, periodically
   while answers stream, and when the notebook is saved.

The kernel never writes the `.ipynb`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from nbchat.core.errors import NbchatError, StoreError
from nbchat.core.saved import Snapshot
from nbchat.jupyter.checkpoints import Checkpoints, TranscriptOutputs
from nbchat.jupyter.notebook_identity import NotebookIdentity, states_in
from nbchat.jupyter.saved_metadata import SavedMetadata
from nbchat.jupyter.transcripts import Transcripts
from nbchat.protocol import Saving, Stored, WantCheckpoint
from nbchat.stores import places

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.engine import Engine
    from nbchat.engine.journal_writer import JournalWriter, SaveStatus
    from nbchat.stores.base import Store
    from nbchat.wire.server import WireServer

logger = logging.getLogger("nbchat")

SETTLE_S: Final = 5.0
"""Longest wait for pending writes to a journal before another one replaces it."""

CHECK_FILE_S: Final = 2.0
"""Delay before the saved file is read, because pages report a save before it is on disk."""


class Notebook:
    """Restores a registry from its notebook, and keeps the notebook's metadata up to date.

    Methods must be called on the engine's thread unless their docstring names another.
    """

    def __init__(
        self,
        engine: Engine,
        path: str,
        *,
        journal: bool = True,
        transcripts: TranscriptOutputs | None = None,
    ) -> None:
        self.identity = NotebookIdentity(path, engine.epoch if engine.leased else None)
        self.metadata = SavedMetadata()
        self.transcripts = Transcripts(engine)
        self.saving = Saving(state="saving")
        self._checkpoints = Checkpoints(
            engine, transcripts or self.transcripts, is_blocked=lambda: self.metadata.blocked is not None
        )
        self._engine = engine
        self._journal = journal
        self._wire: WireServer | None = None
        self._paths: dict[str, str] = {}
        """Path of the notebook in each page."""
        self._restored = False

    # Restoring

    def restore(self, connect: Callable[[], object]) -> None:
        """Restore the sessions of the notebook and its journal. Blocks the caller's thread.

        Parameters
        ----------
        connect
            Creates the widget that connects to pages.
        """
        try:
            self._restore(self.metadata.read(connect, self.identity.path))
        except Exception:
            # Errors in saved conversations must not prevent new ones.
            logger.exception("the notebook's conversations could not be restored")
        finally:
            self._engine.loop.call(self._start)

    def _restore(self, metadata: Snapshot | None) -> None:
        self.identity.correct_path(self.metadata.path)
        known: dict[str, SessionState] = {}
        opened = None
        if self._journal:
            opened = self.identity.choose_with_journal(metadata, known)
        else:
            self.identity.choose(metadata)
        engine = self._engine
        saved = [opened.snapshot] if opened is not None else []
        if metadata is not None:
            saved.append(metadata)

        def begin() -> None:
            self._identify_snapshots()
            journal = None
            if opened is not None:
                journal = self._open_journal(opened.store, opened.error)
            engine.snapshots.restore(*saved, known=known)
            self._on_status(journal.status if journal is not None else None)
            engine.eviction.trim()

        engine.loop.call(begin)

    def _open_journal(self, store: Store | None, error: NbchatError | None = None) -> JournalWriter:
        return self._engine.open_journal(
            store,
            error=error,
            reopen=self.identity.opener(),
            on_status=self._on_status,
            on_reopened=self._merge_journal,
        )

    def _merge_journal(self, snapshot: Snapshot) -> None:
        self._engine.snapshots.restore(snapshot, known=states_in(snapshot), undelete=False)

    def _identify_snapshots(self) -> None:
        snapshots = self._engine.snapshots
        snapshots.notebook_id, snapshots.place = self.identity.id, self.identity.place

    def _start(self) -> None:
        self._restored = True
        self._checkpoints.start()

    # Messages of pages

    def connected(self, wire: WireServer) -> None:
        """Use this wire server in place of an earlier one."""
        self._wire = wire
        wire.saving = self.saving
        self._checkpoints.connected(wire)

    def on_hello(self, page: str) -> None:
        """Record that a page has connected."""
        self._checkpoints.reconnected(page)
        self.metadata.on_page()

    def on_stored(self, message: Stored) -> None:
        """Receive a piece of a page's stored state."""
        if message.of == 0:
            self._checkpoints.exclude(message.page)
            self.metadata.answer(None, "")
            return
        text = self.metadata.add_piece(message)
        if text is None:
            return
        self._paths[message.page] = message.path
        if not self.metadata.answer(text, message.path):
            self._engine.loop.spawn(self._merge(text, message.page), name="nbchat-late-page")

    async def _merge(self, text: str, page: str) -> None:
        """Merge the stored state of a page that answered late, or of another page."""
        snapshot = await asyncio.to_thread(self.metadata.parse, text)
        if self.metadata.blocked is not None:
            self._report(self.saving)
        if snapshot is not None:
            snapshots = self._engine.snapshots
            snapshots.restore(snapshot, known=states_in(snapshots.take()), undelete=False)
        if page == self._checkpoints.writer():
            self._checkpoints.restart()

    def on_want_checkpoint(self, message: WantCheckpoint) -> None:
        """Handle a page's acknowledgement of a checkpoint, or its request for one."""
        if message.epoch != self._engine.epoch or self._wire is None:
            return
        self._checkpoints.reconnected(message.page)
        self._follow_path(message.page, message.path)
        if self._checkpoints.acknowledge(message.version):
            self._forget_note_if_saved()
        else:
            # The user saves in this page, and its notebook is out of date.
            self._engine.presence.last_actor = message.page
            self._checkpoints.restart()

    def _forget_note_if_saved(self) -> None:
        if self._journal and not self.identity.is_saved:
            loop, forget = self._engine.loop.aio, self.identity.forget_note_if_saved
            loop.call_later(CHECK_FILE_S, lambda: loop.run_in_executor(None, forget))

    # Renamed notebooks, and notebooks saved as another one

    def _follow_path(self, page: str, path: str) -> None:
        """Detect that the notebook was renamed, or saved as another one, while the kernel is running."""
        before = self._paths.get(page)
        if not path or not before or path == before:
            return
        self._paths[page] = path
        new = self.identity.path_after_rename(before, path)
        if new is not None:
            self._engine.loop.spawn(self._move(self.identity.path, new), name="nbchat-notebook-moved")

    async def _move(self, old: str, new: str) -> None:
        self.identity.path = new
        stays = await asyncio.to_thread(self.identity.is_carried_by, old)
        journal = self._engine.journal
        if stays:
            # Saved as another notebook: the original keeps the conversations so far, and its journal.
            if journal is not None:
                with contextlib.suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(SETTLE_S):
                        await journal.settled("")
                self._stop_journal()
            self.identity.renew()
            if self._journal:
                await asyncio.to_thread(places.note, new, self.identity.id)
                self._start_journal()
        elif journal is not None and journal.store is not None:
            with contextlib.suppress(NbchatError):
                await asyncio.to_thread(journal.store.remember, "path", new)
        self._identify_snapshots()
        self._checkpoints.restart()

    # The journal and its status

    @property
    def has_journal(self) -> bool:
        """True if writing outside the notebook is enabled. From any thread."""
        return self._journal

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook. Can be called on any thread."""
        if on == self._journal:
            return
        self._journal = on
        self._engine.is_private = not on
        if self._restored:
            self._engine.loop.call(self._start_journal if on else self._stop_journal)

    def _stop_journal(self) -> None:
        journal, self._engine.journal = self._engine.journal, None
        if journal is not None:
            journal.close()
        self._report(Saving(state="off"))

    def _start_journal(self) -> None:
        journal = self._open_journal(None)
        for session in self._engine.sessions:
            journal.write_whole(session.id)

    def _on_status(self, status: SaveStatus | None) -> None:
        if status is None:
            saving = Saving(state="off")
        else:
            error = status.error.info if status.error is not None else None
            saving = Saving(state=cast("Any", status.state), error=error)
        if saving.state == "saving" and self.saving.state == "saved":
            return  # avoids flicker while answers stream; a write that takes over a second is reported
        self._report(saving)

    def _report(self, saving: Saving) -> None:
        blocked = self.metadata.blocked
        if blocked is not None and saving.error is None:
            saving = Saving(state="unsaved", error=blocked.info)
        self.saving = saving
        if self._wire is not None:
            self._wire.saving = saving
            self._wire.say(saving)
