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
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from nbchat.core.errors import NbchatError, SnapshotError, SnapshotTooNew, StoreBusy, StoreError
from nbchat.core.ids import new_id
from nbchat.core.saved import Snapshot
from nbchat.core.snapshot import loads, parse
from nbchat.engine.journal_reader import read_back
from nbchat.engine.journal_writer import SaveStatus
from nbchat.export.reading import saved_in
from nbchat.jupyter.transcripts import Transcripts
from nbchat.protocol import Checkpoint, Saving, Stored, WantCheckpoint
from nbchat.stores import places
from nbchat.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from nbchat.core.events import Settings
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession
    from nbchat.jupyter.hub import Hub
    from nbchat.wire.server import WireServer

logger = logging.getLogger("nbchat")

PAGE_S: Final = 1.0
"""Longest wait for a page to connect."""

STORED_S: Final = 4.0
"""Longest wait for the stored state of a page that has connected."""

SETTLED_S: Final = 0.3
"""Delay of a checkpoint after a run has ended, so that one checkpoint covers several changes."""

STREAMING_S: Final = 2.0
"""Interval of checkpoints while answers stream; longer if checkpoints are large."""

BYTES_PER_S: Final = 200_000
"""Average bandwidth that checkpoints may use."""

SETTLE_S: Final = 5.0
"""Longest wait for pending writes to a journal before another one replaces it."""

ACK_S: Final = 3.0
"""Time to acknowledge a checkpoint. A page that exceeds it receives no further checkpoints."""

MAX_METADATA: Final = 2 * 1024 * 1024
"""Maximum bytes of metadata that nbchat writes; `NBCHAT_MAX_METADATA` overrides it."""


MAX_PIECES: Final = 256
"""Maximum number of pieces in which a page sends its stored state. Messages with more are ignored."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """The journal's store, or the reason why it could not be opened."""

    store: SqliteStore | None
    error: NbchatError | None


def path_of_notebook() -> str | None:
    """Return the path of the notebook that this kernel was started for; `None` outside a Jupyter server.

    A Jupyter server sets it in `JPY_SESSION_NAME`, VS Code in a variable of the user's namespace.
    """
    from IPython import get_ipython  # noqa: PLC0415 - used in kernels only

    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if getattr(shell, "kernel", None) is None:
        return None
    names = (os.environ.get("JPY_SESSION_NAME"), shell.user_ns.get("__vsc_ipynb_file__"))
    for name in names:
        if isinstance(name, str) and name.endswith(".ipynb"):
            # A kernel runs in its notebook's folder; older servers set a path relative to their root.
            return name if Path(name).is_absolute() else str(Path.cwd() / Path(name).name)
    return _place_of_kernel(shell.kernel) if names[0] else None


def _place_of_kernel(kernel: Any) -> str | None:  # noqa: ANN401 - an ipykernel
    """Return a placeholder path for a kernel whose Jupyter server does not set the notebook's name.

    nbclassic sets only the folder, and a console has no file. The path is derived from the connection file,
    which survives restarts of the kernel, so the journal is found again.
    """
    connection = getattr(getattr(kernel, "parent", None), "abs_connection_file", None)
    return str(Path(connection).with_suffix(".ipynb")) if isinstance(connection, str) else None


class Notebook:
    """Restores a registry from its notebook, and keeps the notebook's metadata up to date.

    Methods must be called on the engine's thread unless their docstring names another.
    """

    def __init__(self, engine: Engine, path: str, *, journal: bool = True) -> None:
        self.path = path
        self.id = ""
        self.transcripts = Transcripts(engine)
        self.blocked: SnapshotError | None = None
        """The error because of which the metadata must not be overwritten."""
        self._engine = engine
        self._journal = journal
        self._wire: WireServer | None = None
        self._pieces: dict[tuple[str, str], dict[int, str]] = {}
        self._page_there = threading.Event()
        self._answered = threading.Event()
        self._stored: str | None = None
        self._page_path = ""
        self._paths: dict[str, str] = {}
        self._restored = False
        self._version = 0
        self._acked = 0
        self._mute: set[str] = set()
        self._said: object = None
        self._dirty = False
        self._timer: asyncio.TimerHandle | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._making = False
        self._last_bytes = 0
        self._id_is_saved = False
        self.saving = Saving(state="saving")

    # Restoring

    def restore(self, connect: Callable[[], Hub]) -> None:
        """Restore the sessions of the notebook and its journal. Blocks the caller's thread.

        Parameters
        ----------
        connect
            Creates the widget that connects to pages.
        """
        try:
            metadata = self._from_page(connect)
            if metadata is None and not self._answered.is_set():
                metadata = self._from_file()
            self._begin(metadata)
        except Exception:
            # Errors in saved conversations must not prevent new ones.
            logger.exception("the notebook's conversations could not be restored")
        finally:
            self._engine.loop.call(self._follow)

    def _from_page(self, connect: Callable[[], Hub]) -> Snapshot | None:
        try:
            connect()
        except Exception:
            logger.debug("no page can be reached", exc_info=True)
            return None
        if not self._page_there.wait(PAGE_S) or not self._answered.wait(STORED_S):
            return None
        return self._read(self._stored)

    def _from_file(self) -> Snapshot | None:
        try:
            value = saved_in(Path(self.path))
        except (OSError, NbchatError) as error:
            logger.debug("the notebook's file could not be read: %s", error)
            return None
        return self._read(value)

    def _read(self, value: object) -> Snapshot | None:
        """Return the snapshot in the metadata. Metadata that cannot be read are never overwritten."""
        try:
            data = loads(value) if isinstance(value, str) else value
            return None if data is None else parse(data)
        except SnapshotError as error:
            logger.warning("the chats in the notebook's metadata could not be read: %s", error)
            self.blocked = error
            if isinstance(error, SnapshotTooNew):
                return _readable(value)
            return None

    def _begin(self, metadata: Snapshot | None) -> None:
        if self._page_path and Path(self._page_path).name != Path(self.path).name:
            # Renamed since the kernel was started: the environment has the old name, the page the new one.
            renamed = Path(self.path).with_name(Path(self._page_path).name)
            self.path = str(renamed) if renamed.exists() else self.path
        known: dict[str, Settings] = {}
        opened, stored = self._open_journal(metadata, known)
        engine = self._engine

        def begin() -> None:
            engine.snapshots.notebook_id = self.id
            engine.snapshots.place = places.digest(self.path)
            journal = None
            if opened is not None:
                notebook_id = self.id
                journal = engine.open_journal(
                    opened.store,
                    error=opened.error,
                    reopen=lambda: _opened(notebook_id, 0.0),
                    on_status=self._on_status,
                    on_reopened=lambda snapshot: self._merge(snapshot, snapshot),
                )
            engine.snapshots.restore(stored, *([metadata] if metadata is not None else []), known=known)
            self._on_status(journal.status if journal is not None else None)
            engine.eviction.trim()

        engine.loop.call(begin)

    # Identity and journal

    def _open_journal(
        self, metadata: Snapshot | None, known: dict[str, Settings]
    ) -> tuple[_Opened | None, Snapshot]:
        """Choose the notebook's identity, and open its journal.

        A copied notebook gets a new identity. A renamed notebook keeps its identity.
        """
        claimed = metadata.notebook_id if metadata is not None and places.is_id(metadata.notebook_id) else ""
        if not self._journal:
            self.id = claimed or new_id("n-")
            return None, Snapshot()
        store, error = _open(claimed) if claimed else (None, None)
        if store is not None and self._is_copy(store, claimed):
            known.update(_settings(read_back(store.read())))
            store.close()
            store, claimed = None, ""
        elif isinstance(error, StoreBusy) and metadata and metadata.place != places.digest(self.path):
            error, claimed = None, ""  # another kernel has opened the original notebook
        self.id = claimed
        if not claimed:
            self.id = places.noted(self.path) or new_id("n-")
            places.note(self.path, self.id)
            store, error = _open(self.id)
        if error is not None:
            logger.warning("the journal could not be opened: %s", error)
        snapshot = Snapshot()
        if store is not None:
            snapshot = read_back(store.read())
            for note in (*store.damage, *snapshot.notes):
                logger.warning("journal: %s", note)
            known.update(_settings(snapshot))
            with contextlib.suppress(NbchatError):
                store.remember("path", self.path)
        return _Opened(store, error), snapshot

    def _is_copy(self, store: SqliteStore, notebook_id: str) -> bool:
        home = store.recall("path")
        if not home or os.path.realpath(home) == os.path.realpath(self.path):
            return False
        return _carries(home, notebook_id)

    def _look_where_it_is(self, page: str, path: str) -> None:
        """Detect that the notebook was renamed, or saved as another one, while the kernel is running."""
        before = self._paths.get(page)
        if not path or not before or path == before:
            return
        self._paths[page] = path
        if self.path.endswith(before):
            old, new = self.path, self.path.removesuffix(before) + path
        elif Path(self.path).name == Path(before).name:
            old, new = self.path, str(Path(self.path).with_name(Path(path).name))
        else:
            return  # the page shows a notebook other than the one that the kernel was started for
        self._engine.loop.spawn(self._move(old, new), name="nbchat-notebook-moved")

    async def _move(self, old: str, new: str) -> None:
        self.path = new
        stays = await asyncio.to_thread(_carries, old, self.id)
        journal = self._engine.journal
        if stays:
            # Saved as another notebook: the original keeps the conversations so far, and its journal.
            if journal is not None:
                with contextlib.suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(SETTLE_S):
                        await journal.settled("")
                self._stop_journal()
            self.id = new_id("n-")
            self._id_is_saved = False
            if self._journal:
                await asyncio.to_thread(places.note, new, self.id)
                self._start_journal()
        elif journal is not None and journal.store is not None:
            with contextlib.suppress(NbchatError):
                await asyncio.to_thread(journal.store.remember, "path", new)
        snapshots = self._engine.snapshots
        snapshots.notebook_id, snapshots.place = self.id, places.digest(new)
        self._dirty, self._said = True, None
        self._plan(0.0)

    # Messages of pages

    def connected(self, wire: WireServer) -> None:
        """Use this wire server in place of an earlier one."""
        self._wire = wire
        wire.saving = self.saving
        self._mute.clear()

    def on_hello(self, page: str) -> None:
        """Record that a page has connected."""
        self._mute.discard(page)
        self._page_there.set()

    def on_stored(self, message: Stored) -> None:
        """Receive a piece of a page's stored state."""
        if not 0 < message.of <= MAX_PIECES or not 0 <= message.piece < message.of:
            return
        self._page_there.set()
        key = (message.page, message.id)
        pieces = self._pieces.setdefault(key, {})
        pieces[message.piece] = message.text
        while len(self._pieces) > 8:  # noqa: PLR2004 - pages that disconnected before the last piece
            self._pieces.pop(next(iter(self._pieces)))
        if len(pieces) < message.of:
            return
        del self._pieces[key]
        text = "".join(pieces[i] for i in range(message.of))
        self._paths[message.page] = message.path
        if self._restored or self._answered.is_set():
            self._engine.loop.spawn(self._late(text, message.page), name="nbchat-late-page")
        else:
            self._stored, self._page_path = text, message.path
            self._answered.set()

    async def _late(self, text: str, page: str) -> None:
        """Merge the stored state of a page that answered late, or of another page."""
        try:
            snapshot = await asyncio.to_thread(lambda: None if text == "null" else parse(text))
        except SnapshotError as error:
            logger.warning("the chats in a page's metadata could not be read: %s", error)
            self.blocked = error
            self._tell(self.saving)
            return
        if snapshot is not None:
            known = _settings(self._engine.snapshots.take())
            self._merge(snapshot, None, known)
        if page == self._writer():
            self._dirty, self._said = True, None
            self._plan(0.0)

    def _merge(
        self, snapshot: Snapshot, journal: Snapshot | None, known: dict[str, Settings] | None = None
    ) -> None:
        trusted = _settings(journal) if journal is not None else known or {}
        self._engine.snapshots.restore(snapshot, known=trusted)

    # Save status

    def _on_status(self, status: SaveStatus | None) -> None:
        if status is None:
            saving = Saving(state="off")
        else:
            error = status.error.info if status.error is not None else None
            state = cast("Any", status.state)
            saving = Saving(state=state, error=error)
        if saving.state == "saving" and self.saving.state == "saved":
            return  # avoids flicker while answers stream; a write that takes over a second is reported
        self._tell(saving)

    def _tell(self, saving: Saving) -> None:
        if self.blocked is not None and saving.error is None:
            saving = Saving(state="unsaved", error=self.blocked.info)
        self.saving = saving
        if self._wire is not None:
            self._wire.saving = saving
            self._wire.say(saving)

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook. Can be called on any thread."""
        if on == self._journal:
            return
        self._journal = on
        if self._restored:
            self._engine.loop.call(self._start_journal if on else self._stop_journal)

    def _stop_journal(self) -> None:
        journal, self._engine.journal = self._engine.journal, None
        if journal is not None:
            journal.close()
        self._tell(Saving(state="off"))

    def _start_journal(self) -> None:
        notebook_id = self.id
        journal = self._engine.open_journal(
            None, reopen=lambda: _opened(notebook_id, 0.0), on_status=self._on_status
        )
        for session in self._engine.sessions:
            journal.write_whole(session.id)

    # Checkpoints

    def _follow(self) -> None:
        self._restored = True
        self._engine.readers.add(self._news)
        self._engine.checkpoints.add(self._now)
        self._dirty = True
        self._plan(SETTLED_S)

    def _now(self) -> None:
        self._dirty = True
        self._plan(0.0)

    def _news(self, session: LiveSession) -> None:
        if session.state.temporary:
            return
        self._dirty = True
        self._plan(self._pause(settled=session.state.live is None))

    def _pause(self, *, settled: bool) -> float:
        """Return the time until the next checkpoint."""
        return SETTLED_S if settled else max(STREAMING_S, self._last_bytes / BYTES_PER_S)

    def _plan(self, delay_s: float) -> None:
        if self._making:
            return
        loop = self._engine.loop.aio
        at = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._checkpoint)

    def _writer(self) -> str | None:
        """Return the page that writes: where the user last acted, else the one that connected last."""
        if self._wire is None:
            return None
        pages = [page for page in self._wire.pages if page not in self._mute]
        if self._wire.last_actor in pages:
            return self._wire.last_actor
        return pages[-1] if pages else None

    def _checkpoint(self) -> None:
        self._timer = None
        if not self._dirty or self._making:
            return
        if self.blocked is not None or self._writer() is None:
            if all(session.is_idle for session in self._engine.sessions):
                self._engine.loop.spawn(self.transcripts.display(), name="nbchat-transcripts")
            return
        self._dirty, self._making = False, True
        task = self._engine.loop.spawn(self._make_checkpoint(), name="nbchat-checkpoint")
        task.add_done_callback(self._made)

    def _made(self, task: asyncio.Task[bool]) -> None:
        # A callback, because a task that is cancelled before its first step runs no code of its own.
        self._making = False
        self._dirty = self._dirty or task.cancelled()
        if self._dirty:
            broken = task.cancelled() or task.exception() is not None
            self._plan(self._pause(settled=broken or task.result()))

    async def _make_checkpoint(self) -> bool:
        """Send the state to the page that writes. Return whether it contains no live run."""
        snapshots = self._engine.snapshots
        snapshot = snapshots.take()
        settled = all(one.state.live is None for one in snapshot.sessions)
        said = (
            tuple((one.state.id, one.state.seq, tuple(one.clock.items())) for one in snapshot.sessions),
            tuple(snapshot.deleted),
            self._writer(),
        )
        if said == self._said:
            return settled
        limit = _max_metadata()
        body = await asyncio.to_thread(snapshots.encode, snapshot, limit)
        self._said, self._last_bytes = said, len(body)
        writer = self._writer()
        transcripts = await self.transcripts.news(writer) if writer is not None else {}
        self._version += 1
        if self._wire is not None and writer is not None:
            self._last_bytes += sum(len(text) for b in transcripts.values() for text in b.values())
            metadata = cast("Any", msgspec.Raw(body))
            self._wire.say(
                Checkpoint(
                    to=writer,
                    version=self._version,
                    metadata=metadata,
                    transcripts=transcripts,
                    settled=settled,
                )
            )
            self._wait_for_ack(writer)
        return settled

    def _wait_for_ack(self, page: str) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        version = self._version

        def look() -> None:
            self._ack_timer = None
            if self._acked < version:
                # The page is closed or shows no notebook. Try another page.
                self._mute.add(page)
                self.transcripts.lost(page)
                self._dirty, self._said = True, None
                self._plan(0.0)

        self._ack_timer = self._engine.loop.aio.call_later(ACK_S, look)

    def on_want_checkpoint(self, message: WantCheckpoint) -> None:
        """Handle a page's acknowledgement of a checkpoint, or its request for one."""
        if message.epoch != self._engine.epoch or self._wire is None:
            return
        self._mute.discard(message.page)
        self._look_where_it_is(message.page, message.path)
        if message.version >= self._version > 0:
            self._acked = max(self._acked, message.version)
            self._check_id_is_saved()
        else:
            # The user saves in this page, and its notebook is out of date.
            self._wire.last_actor = message.page
            self._dirty, self._said = True, None
        if self._dirty:
            self._plan(0.0)

    def _check_id_is_saved(self) -> None:
        """Delete the note of the id by path when the saved file contains the id."""
        if self._id_is_saved or not self._journal:
            return

        def look() -> None:
            if _carries(self.path, self.id):
                self._id_is_saved = True
                places.forget_note(self.path)

        loop = self._engine.loop.aio
        loop.call_later(2.0, lambda: loop.run_in_executor(None, look))


def _carries(path: str, notebook_id: str) -> bool:
    """Return whether the notebook at `path` has this id."""
    try:
        value = saved_in(Path(path))
    except (OSError, NbchatError):
        return False
    return isinstance(value, dict) and value.get("notebook_id") == notebook_id


def _opened(notebook_id: str, busy_s: float = 1.0) -> SqliteStore:
    return SqliteStore(places.journal(notebook_id), busy_s=busy_s)


def _open(notebook_id: str) -> tuple[SqliteStore | None, NbchatError | None]:
    try:
        return _opened(notebook_id), None
    except NbchatError as error:
        return None, error


def _settings(snapshot: Snapshot) -> dict[str, Settings]:
    return {saved.state.id: saved.state.settings for saved in snapshot.sessions}


def _readable(value: object) -> Snapshot | None:
    """Return the readable part of a snapshot that a newer nbchat wrote; it is never written back."""
    data = loads(value) if isinstance(value, str) else value
    with contextlib.suppress(SnapshotError):
        return parse(data, newer=True)
    return None


def _max_metadata() -> int:
    with contextlib.suppress(KeyError, ValueError):
        return max(int(os.environ["NBCHAT_MAX_METADATA"]), 16_384)
    return MAX_METADATA
