"""`NotebookIdentity`: the path of the kernel's notebook, its id, and the journal that has this id.

A copied notebook gets a new identity. A renamed notebook keeps its identity.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.errors import NbchatError, StoreBusy
from nbchat.core.ids import new_id
from nbchat.core.saved import Snapshot
from nbchat.engine.journal_reader import read_back
from nbchat.engine.leased_store import LeasedStore
from nbchat.export.reading import saved_in
from nbchat.stores import places
from nbchat.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState

logger = logging.getLogger("nbchat")


@dataclass(frozen=True, slots=True)
class OpenedJournal:
    """The journal's store, or the reason why it could not be opened, and its contents."""

    store: SqliteStore | LeasedStore | None
    error: NbchatError | None
    snapshot: Snapshot


CLAIM_S: Final = 20.0
"""Longest wait for an engine that still runs the notebook's sessions, so that it can finish its answers."""


class NotebookIdentity:
    """The path and the id of a notebook. The methods read and write files, so they may block.

    Parameters
    ----------
    token
        Epoch of an engine that shares the journal with others; `None` to open the journal alone.
    """

    def __init__(self, path: str, token: str | None = None) -> None:
        self.path = path
        self._token = token
        self.id = ""
        self.is_saved = False
        """True if the saved file contains the id."""

    def __repr__(self) -> str:
        """Return the path."""
        return f"<NotebookIdentity of {self.path!r}>"

    @property
    def place(self) -> str:
        """A hash of the path, as it is saved in the metadata."""
        return places.digest(self.path)

    def correct_path(self, shown: str) -> None:
        """Adopt the name that a page shows, if the notebook was renamed since the kernel was started.

        After a rename, the environment has the old name and the page has the new one.
        """
        if shown and Path(shown).name != Path(self.path).name:
            renamed = Path(self.path).with_name(Path(shown).name)
            self.path = str(renamed) if renamed.exists() else self.path

    def path_after_rename(self, before: str, now: str) -> str | None:
        """Return the new path of this notebook when a page shows `now` after `before`.

        Returns
        -------
        `None` if the page shows a notebook other than the one that the kernel was started for.
        """
        if self.path.endswith(before):
            return self.path.removesuffix(before) + now
        if Path(self.path).name == Path(before).name:
            return str(Path(self.path).with_name(Path(now).name))
        return None

    def choose(self, metadata: Snapshot | None) -> None:
        """Choose the id in the metadata, or a new one, without opening a journal."""
        self.id = _claimed(metadata) or new_id("n-")

    def choose_with_journal(self, metadata: Snapshot | None, known: dict[str, SessionState]) -> OpenedJournal:
        """Choose the id, and open its journal.

        Parameters
        ----------
        metadata
            The snapshot in the notebook's metadata.
        known
            Receives the sessions in the journals that belong to this user.
        """
        claimed = _claimed(metadata)
        may_be_copy = metadata is not None and metadata.place != self.place
        store, error = self._open(claimed, 0.0 if may_be_copy else CLAIM_S) if claimed else (None, None)
        if store is not None and self._is_copy(store, claimed):
            known.update(states_in(read_back(store.read())))
            store.close()
            store, claimed = None, ""
        elif isinstance(error, StoreBusy) and may_be_copy:
            error, claimed = None, ""  # another kernel has opened the original notebook
        self.id = claimed
        if not claimed:
            self.id = places.noted(self.path) or new_id("n-")
            places.note(self.path, self.id)
            store, error = self._open(self.id, CLAIM_S)
        if error is not None:
            logger.warning("the journal could not be opened: %s", error)
        snapshot = Snapshot()
        if store is not None:
            snapshot = read_back(store.read())
            for note in snapshot.notes:
                logger.warning("journal: %s", note)
            known.update(states_in(snapshot))
            with contextlib.suppress(NbchatError):
                store.remember("path", self.path)
        return OpenedJournal(store, error, snapshot)

    def _open(
        self, notebook_id: str, claim_s: float
    ) -> tuple[SqliteStore | LeasedStore | None, NbchatError | None]:
        try:
            return open_journal(notebook_id, self._token, claim_s=claim_s), None
        except NbchatError as error:
            return None, error

    def opener(self) -> Callable[[], SqliteStore | LeasedStore]:
        """Return a function that opens the journal of the present id, without waiting for other processes."""
        notebook_id, token = self.id, self._token
        return lambda: open_journal(notebook_id, token, busy_s=0.0)

    def renew(self) -> None:
        """Choose a new id: the original notebook keeps the old one."""
        self.id = new_id("n-")
        self.is_saved = False

    def is_carried_by(self, path: str) -> bool:
        """Return whether the notebook at `path` was saved with this id."""
        return carries(path, self.id)

    def forget_note_if_saved(self) -> None:
        """Delete the note of the id by path when the saved file contains the id."""
        if not self.is_saved and self.is_carried_by(self.path):
            self.is_saved = True
            places.forget_note(self.path)

    def _is_copy(self, store: SqliteStore | LeasedStore, notebook_id: str) -> bool:
        home = store.recall("path")
        if not home or os.path.realpath(home) == os.path.realpath(self.path):
            return False
        return carries(home, notebook_id)


def path_of_notebook() -> str | None:
    """Return the path of the notebook that this kernel was started for; `None` outside a Jupyter server.

    A Jupyter server sets it in `JPY_SESSION_NAME`, VS Code in a variable of the user's namespace. A server
    that VS Code uses has a temporary name for each session, so VS Code's variable has precedence.
    """
    from IPython import get_ipython  # noqa: PLC0415 - used in kernels only

    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if getattr(shell, "kernel", None) is None:
        return None
    from_server = os.environ.get("JPY_SESSION_NAME")
    for name in (shell.user_ns.get("__vsc_ipynb_file__"), from_server):
        if isinstance(name, str) and name.endswith(".ipynb"):
            # A kernel runs in its notebook's folder; older servers set a path relative to their root.
            return name if Path(name).is_absolute() else str(Path.cwd() / Path(name).name)
    return _place_of_kernel(shell.kernel) if from_server else None


def _place_of_kernel(kernel: Any) -> str | None:  # noqa: ANN401 - an ipykernel
    """Return a placeholder path for a kernel whose Jupyter server does not set the notebook's name.

    nbclassic sets only the folder, and a console has no file. The path is derived from the connection file,
    which survives restarts of the kernel, so the journal is found again.
    """
    connection = getattr(getattr(kernel, "parent", None), "abs_connection_file", None)
    return str(Path(connection).with_suffix(".ipynb")) if isinstance(connection, str) else None


def open_journal(
    notebook_id: str, token: str | None, *, busy_s: float = 1.0, claim_s: float = 0.0
) -> SqliteStore | LeasedStore:
    """Open the journal of a notebook, alone or as the holder of its lease.

    Raises
    ------
    NbchatError
        As `SqliteStore` and `LeasedStore`, which waits for the lease for `claim_s`.
    """
    store = SqliteStore(places.journal(notebook_id), busy_s=busy_s, shared=token is not None)
    for note in store.damage:
        logger.warning("journal: %s", note)
    return store if token is None else LeasedStore(store, token, claim_s)


def states_in(snapshot: Snapshot) -> dict[str, SessionState]:
    """Return the sessions in a snapshot, by id."""
    return {saved.state.id: saved.state for saved in snapshot.sessions}


def _claimed(metadata: Snapshot | None) -> str:
    return metadata.notebook_id if metadata is not None and places.is_id(metadata.notebook_id) else ""


def carries(path: str, notebook_id: str) -> bool:
    """Return whether the notebook at `path` was saved with this id."""
    return id_in(path) == notebook_id


def id_in(path: str) -> str:
    """Return the id with which the notebook at `path` was saved, or an empty string."""
    try:
        value = saved_in(Path(path))
    except (OSError, NbchatError):
        return ""
    found = value.get("notebook_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and places.is_id(found) else ""
