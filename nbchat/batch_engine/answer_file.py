"""`AnswerFile`: records the prompts and answers of a batch as JSON lines, so that it can be resumed.

A prompt is recorded before it is sent (`asked`). If the server keeps answers, the response id follows
(`answering`), and then the answer, or the fact that there is none (`unanswered`). A prompt with `asked` but
no outcome was in progress when the process was killed, and may have been answered. It is reported when the
file is opened again, so that it is not sent twice by mistake.

Lines are only appended, so a killed process leaves at most one broken line, the last one. It is removed when
the file is opened again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import hashlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from nbchat.core.errors import KernelGone, StoreBusy, StoreError
from nbchat.core.messages import Usage
from nbchat.core.run import RunState
from nbchat.core.values import DecodeError, decode_json, encode_sorted
from nbchat.engine.one_shot import Answer

if sys.platform != "win32":
    import fcntl

HEADER: Final[Mapping[str, str | int]] = {"nbchat": "answers", "version": 1}

_COUNTS: Final = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")


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


class AnswerFile:
    """Records the prompts and answers of one batch in a file. For use from any thread.

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

    def close(self) -> None:
        """Close the file. Prompts in progress were cancelled, so they are recorded as unanswered."""
        with suppress(OSError, StoreError):
            for key in sorted(self._mine):
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

    def find(self, key: str, index: int) -> Answer | None:
        """Return the recorded outcome of a prompt.

        Returns
        -------
        The answer. If the process was killed while the prompt was in progress, an answer with the error
        `KernelGone` and the id under which the server may have kept it. `None` if the prompt was never sent
        or has no answer.
        """
        if key in self._open:
            return Answer(
                index=index,
                state=RunState.INTERRUPTED,
                error=KernelGone(
                    "the process was killed while this prompt was in progress; it may have been answered.",
                    hint="nbchat.map(…, retry_interrupted=True) asks it again.",
                ),
                attempts=self._times[key],
                response_id=self._responses.get(key),
            )
        record = self._answers.get(key)
        if record is None:
            return None
        counts = record.get("usage")
        return Answer(
            index=index,
            text=str(record.get("text", "")),
            state=RunState(record.get("state", RunState.COMPLETED)),
            model=record.get("model"),
            server=record.get("server"),
            from_cache=bool(record.get("from_cache")),
            finish_reason=record.get("finish_reason"),
            usage=Usage(**{name: counts.get(name) for name in _COUNTS}) if counts else None,
            time_to_first_token_s=record.get("time_to_first_token_s"),
            started_at=record.get("started_at"),
            duration_s=record.get("duration_s"),
            attempts=int(record.get("attempts", 1)),
        )

    def asked(self, key: str) -> None:
        """Record that a prompt is about to be sent; the record is on disk when this returns."""
        self._mine.add(key)
        self._write({"asked": key})

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

    def keep(self, key: str, answer: Answer) -> None:
        """Record an answer; it is on disk when this returns."""
        self._mine.discard(key)
        self._write(
            {
                "key": key,
                "text": answer.text,
                "state": str(answer.state),
                "model": answer.model,
                "server": answer.server,
                "from_cache": answer.from_cache,
                "finish_reason": answer.finish_reason,
                "usage": None
                if answer.usage is None
                else {name: getattr(answer.usage, name) for name in _COUNTS},
                "time_to_first_token_s": answer.time_to_first_token_s,
                "started_at": answer.started_at,
                "duration_s": answer.duration_s,
                "attempts": answer.attempts,
            }
        )

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


class Ledger:
    """Writes to an `AnswerFile` for a batch on the engine: in order, and never on the engine's thread.

    Parameters
    ----------
    file
        Must stay open while this object is used.
    names
        The key of each prompt, by index.
    """

    def __init__(self, file: AnswerFile, names: Mapping[int, str]) -> None:
        self._file = file
        self._names = names
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "nbchat-answers")

    def close(self) -> None:
        """Finish pending writes, and start no new ones."""
        self._writer.shutdown()

    async def asking(self, index: int) -> None:
        """Record that a prompt is about to be sent.

        Raises
        ------
        StoreError
            If it could not be written; the prompt must not be sent.
        """
        await self._write(self._file.asked, self._names[index])

    async def answering(self, index: int, response_id: str) -> None:
        """Record the id under which the server keeps an answer that has begun.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        await self._write(self._file.answering, self._names[index], response_id)

    def reading_on(self, index: int) -> AbstractContextManager[None]:
        """Mark a kept answer as this batch's while it is read, so that `close` ends it."""
        return self._file.reading_on(self._names[index])

    async def over(self, answer: Answer) -> None:
        """Record the outcome of a prompt: its answer, or that it has none.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        name = self._names[answer.index]
        if answer.error is None:
            await self._write(self._file.keep, name, answer)
        else:
            await self._write(self._file.unanswered, name)

    async def _write(self, write: Callable[..., None], *what: object) -> None:
        try:
            writing = asyncio.get_running_loop().run_in_executor(self._writer, write, *what)
        except RuntimeError:  # shut down: the batch has ended, and this task is about to be cancelled
            raise asyncio.CancelledError from None
        await writing


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = decode_json(Any, line)
    except DecodeError:
        return None
    return record if isinstance(record, dict) else None
