"""The file by which a batch goes on from where it stopped: one line of JSON for each answer.

Lines are only ever appended, so a process that is killed leaves at most one broken line, the last,
which is cut off by whoever opens the file next.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from nbchat.core.errors import StoreError
from nbchat.core.messages import Usage
from nbchat.core.run import RunState
from nbchat.runtime.batch import Answer

if TYPE_CHECKING:
    from types import TracebackType

HEADER: Final = {"nbchat": "answers", "version": 1}

_COUNTS: Final = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")


def keys(prompts: Iterable[str], settings: Mapping[str, Any]) -> list[str]:
    """Return what each prompt's answer is found by: a hash of all that the answer depends on.

    Equal prompts are told apart by their order, so that each is asked.
    """
    base = orjson.dumps(dict(settings), option=orjson.OPT_SORT_KEYS)
    seen: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        text = hashlib.sha256(base + b"\0" + prompt.encode("utf-8", "surrogatepass")).hexdigest()
        found.append(f"{text}-{seen[text]}" if seen[text] else text)
        seen[text] += 1
    return found


class AnswerFile:
    """Answers that were given, in a file of one's own. For one thread at a time.

    Parameters
    ----------
    path
        Made when it is not there, for its owner's eyes only.

    Raises
    ------
    ValueError
        The file is something else; it is left as it is.
    StoreError
        It cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._answers: dict[str, Mapping[str, Any]] = {}
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
        except OSError as error:
            raise StoreError(f"the answers cannot be kept in {str(path)!r}: {error.strerror}.") from error
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()

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
                elif record is not None and isinstance(record.get("key"), str):
                    self._answers[record["key"]] = record
                whole += len(line)
            rest = line if whole == 0 and self._path.stat().st_size else b""
        if rest and not orjson.dumps(HEADER).startswith(rest):
            raise ValueError(f"{str(self._path)!r} holds no answers of nbchat.map; choose another file.")
        self._file.truncate(whole)
        self._file.seek(whole)
        if whole == 0:
            self._write(HEADER)

    def find(self, key: str, index: int) -> Answer | None:
        """Return an answer that was given before, or None."""
        record = self._answers.get(key)
        if record is None:
            return None
        counts = record.get("usage")
        return Answer(
            index=index,
            text=str(record.get("text", "")),
            state=RunState(record.get("state", RunState.COMPLETED)),
            model=record.get("model"),
            finish_reason=record.get("finish_reason"),
            usage=Usage(**{name: counts.get(name) for name in _COUNTS}) if counts else None,
            time_to_first_token_s=record.get("time_to_first_token_s"),
            duration_s=record.get("duration_s"),
            attempts=int(record.get("attempts", 1)),
        )

    def keep(self, key: str, answer: Answer) -> None:
        """Write an answer down; when this returns, it outlives the process."""
        self._write(
            {
                "key": key,
                "text": answer.text,
                "state": str(answer.state),
                "model": answer.model,
                "finish_reason": answer.finish_reason,
                "usage": None
                if answer.usage is None
                else {name: getattr(answer.usage, name) for name in _COUNTS},
                "time_to_first_token_s": answer.time_to_first_token_s,
                "duration_s": answer.duration_s,
                "attempts": answer.attempts,
            }
        )

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            self._file.write(orjson.dumps(record) + b"\n")
        except OSError as error:
            raise StoreError(
                f"an answer could not be written to {str(self._path)!r}: {error.strerror}."
            ) from error


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
