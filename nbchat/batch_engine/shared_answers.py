"""`SharedAnswers`: the record of a batch that several processes send, on a server of Redis or Valkey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from nbchat.batch_engine.answers import News, answer_of, record_of, unknown
from nbchat.core.errors import StoreError
from nbchat.core.values import DecodeError, decode_json, encode_json
from nbchat.engine.one_shot import Answer
from nbchat.stores import redis_batch
from nbchat.stores.redis_batch import Outcome, RedisBatch

LATE_S: Final = 0.25
"""Age of a turn after which it is not used, so that requests do not come closer together than turns."""


class SharedPlace:
    """A batch on a server. Implements `Place`.

    Parameters
    ----------
    url, name, batch, joins
        As for `RedisBatch`.
    """

    def __init__(self, url: str, name: str, batch: str = "", *, joins: bool = False) -> None:
        self._place = (url, name, batch)
        self._joins = joins

    def _opened(self) -> RedisBatch:
        return RedisBatch(*self._place, joins=self._joins, lease_s=redis_batch.LEASE_S)

    def open(self) -> SharedAnswers:
        """Connect with the server."""
        return SharedAnswers(self._opened())

    def delete(self) -> None:
        """Delete the batch."""
        self._opened().delete()


class SharedAnswers:
    """The record of a batch on a server. Implements `Answers`."""

    is_shared = True

    def __init__(self, batch: RedisBatch) -> None:
        self._batch = batch

    def find(self, keys: Sequence[str]) -> Mapping[str, Answer]:
        """Return the recorded answers, and the unknown prompts."""
        found = {key: _answer(outcome) for key, outcome in self._batch.read(keys).items()}
        return {key: answer for key, answer in found.items() if answer is not None}

    def news(self) -> Sequence[tuple[str, News]]:
        """Return what has happened to prompts of other processes since the last call."""
        return [
            (outcome.key, News(answer=_answer(outcome), is_unknown=outcome.times > 0))
            for outcome in self._batch.news()
        ]

    def claim(self, key: str, *, again: bool) -> bool:
        """Reserve a prompt for this process."""
        return self._batch.claim(key, again=again)

    def asked(self, key: str) -> bool:
        """Record that a claimed prompt is about to be sent."""
        return self._batch.sent(key)

    def answering(self, key: str, response_id: str) -> None:
        """Record the id under which the server keeps an answer that has begun."""
        self._batch.answering(key, response_id)

    def reading_on(self, _key: str) -> AbstractContextManager[None]:
        """Return a context that does nothing: several processes may read a kept answer."""
        return nullcontext()

    def unanswered(self, key: str) -> None:
        """Record that a prompt has no answer; this process may send it again."""
        self._batch.unanswered(key)

    def failed(self, key: str, answer: Answer) -> None:
        """Record a failure; the other processes report it too."""
        self._batch.keep(key, encode_json(record_of(answer)), is_answer=False)

    def keep(self, key: str, answer: Answer) -> None:
        """Record an answer."""
        self._batch.keep(key, encode_json(record_of(answer)), is_answer=True)

    def limiter(self, profile: str, per_minute: float | None) -> SharedLimiter:
        """Return the limiter of all processes with batches of this name."""
        return SharedLimiter(self._batch, profile, per_minute)

    def close(self, *, is_abandoned: bool = False) -> None:
        """Release the prompts of this process."""
        self._batch.close(is_abandoned=is_abandoned)


class SharedLimiter:
    """Spaces the requests of several processes evenly. Implements `Limiter`.

    The server grants a turn to one process at a time, and none while a model server has asked to wait. With
    different rates, each process keeps its own distance after a request.
    """

    def __init__(self, batch: RedisBatch, profile: str, per_minute: float | None) -> None:
        self._batch = batch
        self._profile = profile
        self._interval_s = 60.0 / per_minute if per_minute else 0.0
        self._turn = asyncio.Lock()

    async def close_for(self, seconds: float) -> None:
        """Hold all requests of all processes for this time."""
        await asyncio.to_thread(self._batch.close_gate, self._profile, seconds)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for this caller's turn, which lasts as long as the `with` block."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            while True:
                started = loop.time()
                wait_s = await asyncio.to_thread(self._batch.take_turn, self._profile, self._interval_s)
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                elif loop.time() - started < LATE_S or not self._interval_s:
                    break
            yield


def _answer(outcome: Outcome) -> Answer | None:
    if outcome.body is None:
        return unknown(outcome.times, outcome.response_id) if outcome.times else None
    try:
        record: Mapping[str, Any] = decode_json(dict[str, Any], outcome.body)
        return answer_of(record)
    except (DecodeError, ValueError, TypeError):
        return Answer(
            index=0,
            error=StoreError("the recorded answer is damaged.", hint="Use another name after # in journal=."),
        )
