"""The file of cached answers: what it returns, its size, damage, and use by several processes."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nbchat.core.cached import CachedAnswer
from nbchat.core.messages import ImagePart, ReasoningPart, Source, TextPart
from nbchat.stores.answer_cache import AnswerCache

DAY_S = 24 * 3600.0
LIMIT = 1_000_000


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the cache."""
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> AnswerCache:
    """Return a cache whose file and folder do not exist yet."""
    return AnswerCache(tmp_path / "cache" / "answers.sqlite", clock)


def answer(text: str = "The Seine.", tokens: int = 10) -> CachedAnswer:
    """Return an answer."""
    return CachedAnswer(parts=(TextPart(text=text),), model="m", finish_reason="stop", tokens=tokens)


def large(tokens: int = 10) -> CachedAnswer:
    """Return an answer of which about a dozen fit within the limit."""
    return answer("x" * 80_000, tokens)


def test_an_answer_is_returned_as_it_was_stored(cache: AnswerCache) -> None:
    """An answer is found under its own key only, with all its parts, in any number of reads."""
    stored = CachedAnswer(
        parts=(
            ReasoningPart(text="Hm…", seconds=1.5),
            TextPart(text="The Seine. 世界 👩‍👩‍👧"),
            ImagePart(text="data:image/gif;base64,R0lGODlhAQABAAAAACw=", name="dot.gif"),
        ),
        model="m",
        finish_reason="stop",
        sources=(Source(title="Seine", url="https://example.org"),),
        tokens=12,
    )
    assert cache.get("key") is None
    assert cache.put("key", stored, LIMIT)
    assert [cache.get("key"), cache.get("key")] == [stored, stored]
    assert cache.get("other") is None
    assert cache.put("key", answer("The Rhône."), LIMIT)
    assert cache.get("key") == answer("The Rhône.")


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes")
def test_only_the_user_can_read_the_file(cache: AnswerCache) -> None:
    """Neither the file nor its folder can be read by other users."""
    cache.put("key", answer(), LIMIT)
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700


def test_reading_creates_no_file(cache: AnswerCache) -> None:
    """A cache that has never been written to does not exist on disk."""
    assert cache.get("key") is None
    assert cache.clear() == 0
    assert not cache.path.parent.exists()


def test_clearing_removes_all_answers(cache: AnswerCache) -> None:
    """`clear` returns the number of answers, and their text is no longer in the file."""
    for number in range(3):
        cache.put(str(number), answer("The Seine. " * 2000), LIMIT)
    assert cache.clear() == 3
    assert cache.clear() == 0
    assert cache.get("0") is None
    assert b"Seine" not in cache.path.read_bytes()


def test_the_file_stays_within_its_limit(cache: AnswerCache) -> None:
    """However many answers are stored, the file stays within the limit, and the latest answer is in it."""
    for number in range(40):
        assert cache.put(str(number), large(), LIMIT)
        assert cache.path.stat().st_size <= LIMIT
        assert cache.get(str(number)) is not None
    kept = [number for number in range(40) if cache.get(str(number)) is not None]
    assert 5 <= len(kept) < 40


def test_an_answer_that_is_too_large_is_not_stored(cache: AnswerCache) -> None:
    """An answer of more than a tenth of the limit would displace too many others, so it is not stored."""
    cache.put("small", answer(), LIMIT)
    assert not cache.put("huge", answer("x" * (LIMIT // 5)), LIMIT)
    assert cache.get("huge") is None
    assert cache.get("small") == answer()


def test_answers_that_are_used_often_stay(cache: AnswerCache) -> None:
    """Of equally old answers with equal costs, those that were used are removed last."""
    for number in range(8):
        cache.put(f"used {number}", large(), LIMIT)
        cache.get(f"used {number}")
    for number in range(30):
        cache.put(f"unused {number}", large(), LIMIT)
    assert all(cache.get(f"used {number}") for number in range(8))


def test_answers_that_cost_much_stay(cache: AnswerCache) -> None:
    """Of equally old and equally used answers, those that cost the most tokens are removed last."""
    for number in range(8):
        cache.put(f"costly {number}", large(tokens=10_000), LIMIT)
    for number in range(30):
        cache.put(f"cheap {number}", large(tokens=10), LIMIT)
    assert all(cache.get(f"costly {number}") for number in range(8))


def test_old_answers_are_removed_first(cache: AnswerCache, clock: Clock) -> None:
    """Of answers with equal costs and uses, only those whose last use is longest ago are removed."""
    for number in range(4):
        cache.put(f"old {number}", large(), LIMIT)
    clock.now += 365 * DAY_S
    for number in range(10):
        cache.put(f"new {number}", large(), LIMIT)
    assert sum(cache.get(f"old {number}") is not None for number in range(4)) < 4
    assert all(cache.get(f"new {number}") for number in range(10))


@pytest.mark.parametrize("contents", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_replaced(cache: AnswerCache, contents: bytes) -> None:
    """A file that is not a database is removed, and the next answer is stored in a new one."""
    cache.path.parent.mkdir()
    cache.path.write_bytes(contents)
    assert cache.get("key") is None
    assert cache.put("key", answer(), LIMIT)
    assert cache.get("key") == answer()


def test_a_changed_row_counts_as_missing(cache: AnswerCache) -> None:
    """An answer whose bytes were changed, or that is under a key of another one, is not returned."""
    cache.put("first", answer("The Seine."), LIMIT)
    cache.put("second", answer("The Rhône."), LIMIT)
    with closing(sqlite3.connect(cache.path)) as connection, connection:
        connection.execute("UPDATE answers SET body = replace(body, 'Seine', 'Somme') WHERE key = 'first'")
        connection.execute("UPDATE answers SET key = 'third' WHERE key = 'second'")
    assert cache.get("first") is None
    assert cache.get("third") is None


def test_a_file_that_cannot_be_written_raises_nothing(cache: AnswerCache) -> None:
    """Reading and writing through a path that cannot exist return that nothing is there."""
    cache.path.parent.write_text("a file in place of the folder")
    assert cache.get("key") is None
    assert not cache.put("key", answer(), LIMIT)


WORK = """
import sys
from pathlib import Path
from nbchat.core.cached import CachedAnswer
from nbchat.core.messages import TextPart
from nbchat.stores.answer_cache import AnswerCache

cache = AnswerCache(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    key = f"{sys.argv[2]} {number}"
    stored = CachedAnswer(parts=(TextPart(text=key),), model="m", finish_reason="stop")
    while not cache.put(key, stored, 10_000_000):
        pass  # another process held the file for too long
    cache.get(key)
print("done", flush=True)
"""


def test_several_processes_use_the_file_at_once(cache: AnswerCache) -> None:
    """Processes that write at the same time lose no answer, and each one reads those of the others."""
    command = [sys.executable, "-c", WORK, str(cache.path)]
    workers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()
    assert outputs == ["done\n"] * 3
    for name in ("a", "b", "c"):
        for number in range(30):
            found = cache.get(f"{name} {number}")
            assert found is not None
            assert found.parts == (TextPart(text=f"{name} {number}"),)
