"""The SQLite store: damage, other processes, full and read-only disks."""

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbchat.core.errors import SnapshotTooNew, StoreBusy, StoreError, StoreFull, StoreReadOnly
from nbchat.core.transcript import SessionState
from nbchat.core.values import decode
from nbchat.engine.journal_reader import read_back
from nbchat.stores.base import Base, Stretch
from nbchat.stores.sqlite import SqliteStore


def filled(path: Path, sessions: int = 5, events: int = 20) -> dict[str, bytes]:
    """Write some sessions, and return the whole text of each."""
    store = SqliteStore(path)
    texts = {}
    for number in range(sessions):
        key = f"s-{number}"
        dice = random.Random(number)
        bodies = [b'["%d %d %s"]' % (number, i, dice.randbytes(200).hex().encode()) for i in range(events)]
        store.write([Base(session_id=key, seq=0, body=b'{"id": "%d"}' % number)])
        for i, body in enumerate(bodies):
            store.write([Stretch(session_id=key, first_seq=i + 1, count=1, epoch="k-1", body=body)])
        texts[key] = b"".join(bodies)
    store.close()
    return texts


def holds(store: SqliteStore) -> dict[str, bytes]:
    """Return the stored text of each session."""
    return {key: b"".join([s.body for s in kept.stretches]) for key, kept in store.read().sessions.items()}


def test_a_second_process_finds_it_busy_and_harms_nothing(tmp_path: Path) -> None:
    """A second kernel on a notebook gets `StoreBusy`, and the first continues."""
    path = tmp_path / "n-1.sqlite"
    first = SqliteStore(path)
    first.write([Base(session_id="s-1", seq=1, body=b"{}")])
    code = (
        "import sys; from pathlib import Path; from nbchat.stores.sqlite import SqliteStore\n"
        "SqliteStore(Path(sys.argv[1]), busy_s=0.05)"
    )

    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )

    assert "StoreBusy" in other.stderr
    first.write([Base(session_id="s-1", seq=2, body=b"{}")])
    assert first.read_session("s-1").base == Base(session_id="s-1", seq=2, body=b"{}")
    first.close()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "journals").glob("*.sqlite")), ids=lambda p: p.stem
)
def test_journals_of_earlier_releases_are_read(path: Path, tmp_path: Path) -> None:
    """A journal file of an earlier release gives the same sessions as in that release."""
    store = SqliteStore(Path(shutil.copy(path, tmp_path)))
    read = read_back(store.read())
    store.close()

    assert (read.notes, store.damage) == ((), ())
    assert [stone.id for stone in read.deleted] == ["s-gone"]
    frozen = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert {saved.state.id: saved.state for saved in read.sessions} == {
        session_id: decode(SessionState, state) for session_id, state in frozen.items()
    }


def test_a_closed_store_can_be_taken_by_another(tmp_path: Path) -> None:
    """Closing a store releases its lock."""
    first = SqliteStore(tmp_path / "a.sqlite")
    with pytest.raises(StoreBusy):
        SqliteStore(tmp_path / "a.sqlite", busy_s=0.01)
    first.close()
    SqliteStore(tmp_path / "a.sqlite", busy_s=0.01).close()


def test_other_users_cannot_read_it(tmp_path: Path) -> None:
    """Other users can read neither the folder nor the file."""
    path = tmp_path / "journals" / "a.sqlite"
    SqliteStore(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """On a full disk nothing of a batch is written, and it can be written later."""
    store = SqliteStore(tmp_path / "a.sqlite")
    store.write([Base(session_id="s-1", seq=1, body=b"{}")])
    connection = store._connected()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    large = [
        Base(session_id="s-1", seq=2, body=b"new"),
        Base(session_id="s-2", seq=1, body=random.Random(1).randbytes(100_000)),
    ]

    with pytest.raises(StoreFull):
        store.write(large)
    assert store.read_session("s-1").base == Base(session_id="s-1", seq=1, body=b"{}")

    connection.execute("PRAGMA max_page_count=1000000")
    store.write(large)
    assert store.read_session("s-1").base == Base(session_id="s-1", seq=2, body=b"new")
    store.close()


def test_a_folder_that_is_a_file_is_read_only(tmp_path: Path) -> None:
    """If the folder cannot be created, the error is `StoreReadOnly`."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreReadOnly):
        SqliteStore(tmp_path / "file" / "a.sqlite")


NOBODY = 65534
"""Id of the unprivileged user as which tests run by the superuser check permissions."""

OPEN_AS_A_USER = """
import os, sys
from pathlib import Path
from nbchat.core.errors import StoreError
from nbchat.stores.sqlite import SqliteStore
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    SqliteStore(Path(sys.argv[1])).close()
except StoreError as error:
    print(error.code)
else:
    print("opened")
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that an unprivileged user owns if the tests run as superuser."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
        folder.chmod(0o700)


def opened_as_a_user(path: Path) -> str:
    """Open a store in an unprivileged process; return the error's code, or `opened`."""
    command = [sys.executable, "-c", OPEN_AS_A_USER, str(path), str(NOBODY)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_read_only_file_is_reported(shared: Path) -> None:
    """A file that is not writable is refused and not changed."""
    path = shared / "a.sqlite"
    filled(path, 1, 1)
    before = path.read_bytes()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    assert opened_as_a_user(path) == "opened"
    path.chmod(0o400)

    assert opened_as_a_user(path) == "store_read_only"
    assert path.read_bytes() == before


def test_a_read_only_folder_is_reported(shared: Path) -> None:
    """If no file can be created, the error is `store_read_only`."""
    shared.chmod(0o500)

    assert opened_as_a_user(shared / "a.sqlite") == "store_read_only"
    assert list(shared.iterdir()) == []


def test_a_file_that_is_not_a_database_is_moved_away(tmp_path: Path) -> None:
    """A file that is not a database is kept unchanged under another name."""
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"not a database at all, " * 400)
    (tmp_path / "a.sqlite-journal").write_bytes(bytes(512))  # as a shared store leaves it

    store = SqliteStore(path)

    assert store.damage
    assert store.read().sessions == {}
    assert (tmp_path / "a.sqlite.damaged-1-journal").read_bytes() == bytes(512)
    assert (tmp_path / "a.sqlite.damaged-1").read_bytes().startswith(b"not a database at all")
    store.close()


def test_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    """A file from a newer nbchat is refused and not changed."""
    path = tmp_path / "a.sqlite"
    filled(path, 1, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(SnapshotTooNew):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_every_flipped_bit_is_found_or_harmless(tmp_path: Path, soak: bool) -> None:
    """With any bit flipped, a session reads as a prefix of its text, and any loss is reported."""
    path = tmp_path / "a.sqlite"
    texts = filled(path)
    good = path.read_bytes()
    dice = random.Random(1)
    for _ in range(3000 if soak else 300):
        for left in tmp_path.glob("a.sqlite*"):
            left.unlink()
        flipped = bytearray(good)
        at = dice.randrange(len(flipped))
        flipped[at] ^= 1 << dice.randrange(8)
        path.write_bytes(flipped)
        try:
            store = SqliteStore(path)
        except (SnapshotTooNew, StoreError):
            assert path.read_bytes() == bytes(flipped)  # refused and not changed
            continue
        found = holds(store)
        for key, text in found.items():
            if key in texts:
                assert texts[key].startswith(text)
            else:
                assert text == b""
        if found != texts:
            assert store.damage, "something is missing, and nothing was said"
            assert (tmp_path / "a.sqlite.damaged-1").read_bytes() == bytes(flipped)
        store.close()


def test_every_truncation_is_found(tmp_path: Path) -> None:
    """A truncated file gives the data that it still holds, and is reported as damaged."""
    path = tmp_path / "a.sqlite"
    texts = filled(path, 3, 10)
    good = path.read_bytes()
    for length in range(1, len(good), 1499):
        for left in tmp_path.glob("a.sqlite*"):
            left.unlink()
        path.write_bytes(good[:length])
        store = SqliteStore(path)
        assert store.damage
        assert all(texts[key].startswith(text) for key, text in holds(store).items())
        store.close()


def test_a_forked_child_leaves_the_parents_file_alone(tmp_path: Path) -> None:
    """A forked child cannot write, and its normal exit does not affect its parent's file."""
    code = """
import os, sys
from pathlib import Path
from nbchat.core.errors import StoreError
from nbchat.stores.base import Base
from nbchat.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.write([Base(session_id="s-1", seq=1, body=b"{}")])
if os.fork() == 0:
    try:
        store.write([])
    except StoreError:
        sys.exit(0)
    sys.exit(9)
_, status = os.wait()
store.write([Base(session_id="s-1", seq=2, body=b"{}")])
print(os.waitstatus_to_exitcode(status), store.read_session("s-1").base.seq)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.sqlite")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "2"]
    again = SqliteStore(tmp_path / "a.sqlite")
    assert again.damage == ()
    assert again.read_session("s-1").base == Base(session_id="s-1", seq=2, body=b"{}")
    again.close()
