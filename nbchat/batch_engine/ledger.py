"""`Ledger`: the record of a batch, as its engine uses it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from nbchat.batch_engine.answers import News

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import Answers
    from nbchat.engine.one_shot import Answer


class Ledger:
    """Writes the record of a batch on the engine: in order, and never on the engine's thread.

    Parameters
    ----------
    answers
        The record. It must stay open while this object is used.
    names
        The key of each prompt, by index.
    """

    def __init__(self, answers: Answers, names: Mapping[int, str]) -> None:
        self._answers = answers
        self._indexes = {name: index for index, name in names.items()}
        self._names = names
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "nbchat-answers")

    def close(self) -> None:
        """Finish pending writes, and start no new ones."""
        self._writer.shutdown()

    @property
    def is_shared(self) -> bool:
        """True if other processes may send prompts of this batch."""
        return self._answers.is_shared

    async def news(self) -> list[tuple[int, News]]:
        """Return what has happened to prompts of other processes since the last call, by index.

        Raises
        ------
        StoreError
            If they could not be read.
        """
        found = []
        for key, news in await self._write(self._answers.news):
            index = self._indexes.get(key)
            if index is not None:
                answer = None if news.answer is None else replace(news.answer, index=index)
                found.append((index, News(answer=answer, is_unknown=news.is_unknown)))
        return found

    async def claim(self, index: int, *, again: bool) -> bool:
        """Reserve a prompt for this process; False if another one has it, or has its outcome.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        return bool(await self._write(partial(self._answers.claim, again=again), self._names[index]))

    async def asking(self, index: int) -> bool:
        """Record that a prompt is about to be sent; False if it is no longer claimed.

        Raises
        ------
        StoreError
            If it could not be written; the prompt must not be sent.
        """
        return bool(await self._write(self._answers.asked, self._names[index]))

    async def answering(self, index: int, response_id: str) -> None:
        """Record the id under which the server keeps an answer that has begun.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        await self._write(self._answers.answering, self._names[index], response_id)

    def reading_on(self, index: int) -> AbstractContextManager[None]:
        """Mark a kept answer as this batch's while it is read, so that `close` ends it."""
        return self._answers.reading_on(self._names[index])

    async def over(self, answer: Answer) -> None:
        """Record the outcome of a prompt: its answer, or that it has none.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        name = self._names[answer.index]
        if answer.error is None:
            await self._write(self._answers.keep, name, answer)
        else:
            await self._write(self._answers.unanswered, name)

    async def failed(self, answer: Answer) -> None:
        """Record that a prompt will not be sent again by this batch.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        await self._write(self._answers.failed, self._names[answer.index], answer)

    async def _write(self, write: Callable[..., Any], *what: object) -> Any:  # noqa: ANN401 - its value
        try:
            writing = asyncio.get_running_loop().run_in_executor(self._writer, write, *what)
        except RuntimeError:  # shut down: the batch has ended, and this task is about to be cancelled
            raise asyncio.CancelledError from None
        return await writing
