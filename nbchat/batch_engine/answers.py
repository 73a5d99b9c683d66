"""`Answers`: the record of a batch, with which it can be resumed, and `Limiter`: the rate of its requests.

`AnswerFile` is the record of one process at a time, in a file. `SharedAnswers` is one that several processes
use at the same time, on a server of Redis or Valkey.

A prompt is recorded before it is sent. One that was sent and has no outcome, while its process is gone, is
*unknown*: it may have been answered, and is not sent again unless the caller asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from nbchat.core.errors import ErrorInfo, KernelGone, from_info
from nbchat.core.messages import Usage
from nbchat.core.run import RunState
from nbchat.core.values import convert
from nbchat.engine.one_shot import Answer

if TYPE_CHECKING:
    from nbchat.batch_engine.rate_limiter import Limiter

_COUNTS: Final = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")


class News(Struct, frozen=True, kw_only=True):
    """The state of a prompt that another process had."""

    answer: Answer | None = None
    """Its outcome; `None`: it is free."""
    is_unknown: bool = False
    """The process is gone, and the prompt may have been answered."""


class Answers(Protocol):
    """The record of a batch. For use from any thread; methods block.

    Each method that writes returns when the record is stored, and raises `StoreError` if it cannot be.
    """

    is_shared: bool
    """Other processes may send prompts of this batch at the same time."""

    def find(self, keys: Sequence[str]) -> Mapping[str, Answer]:
        """Return the recorded answers, and the unknown prompts as answers with the error `KernelGone`.

        Their index is 0.
        """
        ...

    def news(self) -> Sequence[tuple[str, News]]:
        """Return what has happened to prompts of other processes since the last call, by key."""
        ...

    def claim(self, key: str, *, again: bool) -> bool:
        """Reserve a prompt for this process; False if another one has it, or has its outcome.

        Parameters
        ----------
        again
            An unknown prompt may be claimed.
        """
        ...

    def asked(self, key: str) -> bool:
        """Record that a claimed prompt is about to be sent; False if it is no longer claimed."""
        ...

    def answering(self, key: str, response_id: str) -> None:
        """Record the id under which the server keeps an answer that has begun."""
        ...

    def reading_on(self, key: str) -> AbstractContextManager[None]:
        """Mark a kept answer as this batch's while it is read, so that `close` ends it."""
        ...

    def unanswered(self, key: str) -> None:
        """Record that a prompt has no answer and may be sent again, by this process until it has failed."""
        ...

    def failed(self, key: str, answer: Answer) -> None:
        """Record that an unanswered prompt will not be sent again by this batch."""
        ...

    def keep(self, key: str, answer: Answer) -> None:
        """Record an answer."""
        ...

    def limiter(self, profile: str, per_minute: float | None) -> Limiter:
        """Return the limiter of all requests to a provider that use this record."""
        ...

    def close(self, *, is_abandoned: bool = False) -> None:
        """Release the prompts that are claimed.

        Parameters
        ----------
        is_abandoned
            Prompts in progress are unknown from now on. `False`: they may be sent again.
        """
        ...


class Place(Protocol):
    """A place for the record of a batch."""

    def open(self) -> Answers:
        """Open the record; it is created if it does not exist.

        Raises
        ------
        ValueError
            If there is something else; it is left unchanged.
        StoreBusy
            If another batch has opened a record that is not shared.
        StoreError
            If it cannot be read or written.
        """
        ...

    def delete(self) -> None:
        """Delete the record, if there is one."""
        ...


def unknown(times: int, response_id: str | None) -> Answer:
    """Return the outcome of a prompt that was in progress when its process ended."""
    return Answer(
        index=0,
        state=RunState.INTERRUPTED,
        error=KernelGone(
            "the process ended while this prompt was in progress; it may have been answered.",
            hint="nbchat.map(…, retry_interrupted=True) asks it again.",
        ),
        attempts=times,
        response_id=response_id,
    )


def record_of(answer: Answer) -> dict[str, Any]:
    """Return an outcome as a JSON value."""
    usage = answer.usage
    record: dict[str, Any] = {
        "text": answer.text,
        "state": None if answer.state is None else str(answer.state),
        "model": answer.model,
        "server": answer.server,
        "from_cache": answer.from_cache,
        "finish_reason": answer.finish_reason,
        "usage": None if usage is None else {name: getattr(usage, name) for name in _COUNTS},
        "time_to_first_token_s": answer.time_to_first_token_s,
        "started_at": answer.started_at,
        "duration_s": answer.duration_s,
        "attempts": answer.attempts,
    }
    if answer.error is not None:
        record["error"] = answer.error.info
    return record


def answer_of(record: Mapping[str, Any]) -> Answer:
    """Return the outcome that `record_of` made a JSON value of, with the index 0."""
    counts, error = record.get("usage"), record.get("error")
    state = record.get("state", RunState.COMPLETED)
    return Answer(
        index=0,
        text=str(record.get("text", "")),
        state=None if state is None else RunState(state),
        error=None if error is None else from_info(convert(ErrorInfo, error)),
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
