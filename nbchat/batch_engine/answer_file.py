"""`AnswerFile`: records the prompts and answers of a batch as JSON lines, so that it can be resumed.

A prompt is recorded before it is sent (`asked`). If the server keeps answers, the response id follows
(`answering`), and then the answer, or the fact that there is none (`unanswered`). A prompt with `asked` but
no outcome was in progress when the process was killed, or when a runner ended, and may have been answered. It
is reported when the file is opened again, so that it is not sent twice by mistake.

Lines are only appended, so a killed process leaves at most one broken line, the last one. It is removed when
the file is opened again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from nbchat.batch_engine.answers import News, answer_of, record_of, unknown
from nbchat.batch_engine.rate_limiter import RateLimiter
from nbchat.core.errors import StoreBusy, StoreError
from nbchat.core.values import DecodeError, decode_json, encode_sorted
from nbchat.engine.one_shot import Answer

if sys.platform != "win32":
    import fcntl

HEADER: Final[Mapping[str, str | int]] = {"nbchat": "answers", "version": 1}


def keys(prompts: Iterable[str], settings: Mapping[str, Any]) -> list[str]:
    """Return the key of each prompt's answer: a hash of everything that the answer depends on.

    Equal prompts are distinguished by their order, so that each one is sent.
    """
    base = encode_sorted(dict(settings))
    seen: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        text = hashlib.sha256(base + b"\0" + prompt.encode("utf-8", "surrogatepass")).hexdigest()
        found.append(f"{text}-{seen[text]}" if seen[text] else text)
        seen[text] += 1
    return found


class FilePlace:
    """A file for the record of a batch. Implements `Place`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> AnswerFile:
        """Open the file, for this batch only."""
        return AnswerFile(self._path)

    def delete(self) -> None:
        """Delete the file, if there is one."""
        self._path.unlink(missing_ok=True)


class AnswerFile:
    """Records the prompts and answers of one batch in a file. Implements `Answers`.

    Parameters
    ----------
    path
        Created if it does not exist, readable by its owner only.

    Raises
    ------
    ValueError
        If the file is not an answer file; it is left unchanged.
    StoreBusy
        If another batch is writing to it, in this process or another one.
    StoreError
        If it cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.is_shared: bool = False
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._times: Counter[str] = Counter()
        """Number of times each prompt was sent."""
        self._open: set[str] = set()
        """Prompts that were sent and have no recorded outcome."""
        self._responses: dict[str, str] = {}
        """Response ids under which the server may have kept their answers."""
        self._mine: set[str] = set()
        """Those of `_open` that were sent by this object."""
        self._lock = threading.Lock()
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
        except OSError as error:
            raise StoreError(f"the answers cannot be kept in {str(path)!r}: {error.strerror}.") from error
        try:
            self._claim()
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._answers)

    def close(self, *, is_abandoned: bool = False) -> None:
        """Close the file. Prompts in progress are recorded as unanswered, unless the batch was abandoned."""
        with suppress(OSError, StoreError):
            for key in () if is_abandoned else sorted(self._mine):
                self.unanswered(key)
            os.fsync(self._file.fileno())
        with self._lock:
            self._file.close()

    def _claim(self) -> None:
        """Lock the file until it is closed or the process ends, even if it is killed."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(
                f"another batch is writing to {str(self._path)!r}.",
                hint="Wait for its end, or give this one a journal of its own.",
            ) from None
        except OSError:
            return  # a file system without locks

    def _load(self) -> None:
        whole = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    break
                record = _parse(line)
                if number == 0:
                    if record != HEADER:
                        raise ValueError(
                            f"{str(self._path)!r} holds no answers of nbchat.map; choose another file, "
                            "or remove it."
                        )
                elif record is not None:
                    self._take(record)
                whole += len(line)
            rest = line if whole == 0 and self._path.stat().st_size else b""
        if rest and not msgspec.json.encode(HEADER).startswith(rest):
            raise ValueError(f"{str(self._path)!r} holds no answers of nbchat.map; choose another file.")
        self._file.truncate(whole)
        self._file.seek(whole)
        if whole == 0:
            self._write(HEADER)

    def _take(self, record: Mapping[str, Any]) -> None:
        """Apply one line of an earlier batch."""
        if isinstance(key := record.get("asked"), str):
            self._times[key] += 1
            self._open.add(key)
            self._responses.pop(key, None)
        elif isinstance(key := record.get("answering"), str):
            self._responses[key] = str(record.get("response_id"))
        elif isinstance(key := record.get("unanswered"), str):
            self._open.discard(key)
        elif isinstance(key := record.get("key"), str):
            self._open.discard(key)
            self._answers[key] = record

    def find(self, keys: Sequence[str]) -> Mapping[str, Answer]:
        """Return the recorded answers, and the unknown prompts."""
        found = {}
        for key in keys:
            if key in self._open:
                found[key] = unknown(self._times[key], self._responses.get(key))
            elif key in self._answers:
                found[key] = answer_of(self._answers[key])
        return found

    def news(self) -> Sequence[tuple[str, News]]:
        """Return nothing: no other process writes to the file."""
        return ()

    def claim(self, _key: str, *, again: bool) -> bool:  # noqa: ARG002 - as `Answers`
        """Return True: no other process writes to the file."""
        return True

    def asked(self, key: str) -> bool:
        """Record that a prompt is about to be sent; the record is on disk when this returns."""
        self._mine.add(key)
        self._write({"asked": key})
        return True

    def answering(self, key: str, response_id: str) -> None:
        """Record the id under which the server keeps an answer that has begun."""
        self._write({"answering": key, "response_id": response_id})

    @contextmanager
    def reading_on(self, key: str) -> Iterator[None]:
        """Mark a kept answer as this batch's while it is read, so that `close` ends it."""
        self._mine.add(key)
        yield
        self._mine.discard(key)  # not if cancelled: the response was then cancelled at the server too

    def unanswered(self, key: str) -> None:
        """Record that a prompt has no answer and may be sent again."""
        self._mine.discard(key)
        self._write({"unanswered": key})

    def failed(self, key: str, answer: Answer) -> None:
        """Do nothing: the next call sends a prompt again that has failed."""

    def keep(self, key: str, answer: Answer) -> None:
        """Record an answer; it is on disk when this returns."""
        self._mine.discard(key)
        self._write({"key": key, **record_of(answer)})

    def limiter(self, _profile: str, per_minute: float | None) -> RateLimiter:
        """Return a limiter of this process, since no other one writes to the file."""
        return RateLimiter(per_minute)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = msgspec.json.encode(record) + b"\n"
        reason = None
        with self._lock:
            try:
                if self._file.write(line) < len(line):
                    reason = os.strerror(errno.ENOSPC)
            except OSError as error:
                reason = error.strerror
        if reason is not None:
            raise StoreError(f"the journal {str(self._path)!r} could not be written: {reason}.")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = decode_json(Any, line)
    except DecodeError:
        return None
    return record if isinstance(record, dict) else None
