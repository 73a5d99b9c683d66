"""`RunCache`: takes the answer of one run from the cache of answers, or adds it to the cache.

1. Only a completed answer without notices is added, and only if it consists of text, reasoning and images.
2. The key contains everything that the answer depends on, and no credentials.
3. A cache that cannot be read or written never changes the outcome of a run.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from nbchat.core.cached import CachedAnswer
from nbchat.core.errors import ConfigError
from nbchat.core.events import EndedByModel, EndEvent, RunCompleted
from nbchat.core.extras import Find, is_credential, read
from nbchat.core.messages import ImagePart, Message, ReasoningPart, TextPart
from nbchat.core.redact import without_references
from nbchat.core.values import encode_json, encode_sorted
from nbchat.core.version import VERSION
from nbchat.engine import lookup
from nbchat.providers.base import (
    Answering,
    Delta,
    Finish,
    ImageDelta,
    Provider,
    ReasoningDelta,
    Request,
    SourceDelta,
    TextDelta,
    cache_scope_of,
)
from nbchat.stores.answer_cache import AnswerCache

if TYPE_CHECKING:
    from nbchat.core.messages import Part
    from nbchat.core.transcript import SessionState

STORE_S: Final = 1.0
"""Maximum seconds for which the cache may delay the announcement of an end."""

PIECE: Final = 2000
"""Characters of a delta of a cached answer."""

_VOLATILE: Final = ("seconds", "started_at")
"""Fields of parts that are not sent."""


class SendsNothing:
    """A provider without a server: answers of this process only."""

    can_prefill = False
    can_resume = False

    async def models(self) -> Sequence[str]:
        """Return no models."""
        return ()

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class Replay(SendsNothing):
    """A provider that streams one answer from the cache."""

    def __init__(self, name: str, answer: CachedAnswer) -> None:
        self.name = name
        self._answer = answer

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Yield the answer in pieces."""
        yield Answering(self._answer.model or request.model)
        for part in self._answer.parts:
            if isinstance(part, ImagePart):
                yield ImageDelta(part.text, part.name)
                continue
            delta: type[TextDelta | ReasoningDelta] = (
                TextDelta if isinstance(part, TextPart) else ReasoningDelta
            )
            for start in range(0, len(part.text), PIECE):
                yield delta(part.text[start : start + PIECE])
        for source in self._answer.sources:
            yield SourceDelta(source)
        yield Finish(self._answer.finish_reason)


class RunCache:
    """The use of the cache by one run. Only for the engine's loop.

    Parameters
    ----------
    first
        The run's first request; a later one asks for a correction of its answer.
    cache
        The cache; `None` if nothing may be written outside the notebook.
    reads
        The answer may come from the cache. If not, the new answer replaces the cached one.
    """

    def __init__(self, first: Request, cache: AnswerCache | None, *, reads: bool) -> None:
        self._first = first
        self._cache = cache
        self._reads = reads
        self._key: str | None = None
        self._source: tuple[str | None, ...] = ()
        """The provider and the model that the key is for."""
        self._is_found = False
        self._notice = ""
        if first.tools:
            self._notice = "The cache was not used: the request has tools."
        elif cache is None:
            self._notice = "The cache was not used: nothing is written outside the notebook."

    async def provider(
        self, provider: Provider, asked: Request, request: Request, credential: Find
    ) -> Provider:
        """Return the provider for an attempt: `provider`, or one that streams the cached answer.

        Parameters
        ----------
        asked
            The request of the run, before a model was chosen for it.
        request
            The request to send.
        credential
            Returns the credential of a reference in its params.
        """
        self._is_found = False
        if self._notice or self._cache is None:
            return provider
        scope = cache_scope_of(provider)
        source = (provider.name, scope, request.model)
        if asked is not self._first:
            if source != self._source:  # the corrected answer is not of the server that the key names
                self._key = None
            return provider
        self._key, self._source = None, source
        if scope is None:
            self._notice = f"The cache was not used: it does not support the provider {provider.name!r}."
            return provider
        find = partial(self._find, self._cache, (provider.name, scope), request, credential)
        self._key, answer = await asyncio.to_thread(find)
        if self._key is None:
            self._notice = "The cache was not used: a header of the request is not available."
        if answer is None:
            return provider
        self._is_found = True
        return Replay(provider.name, answer)

    def _find(
        self, cache: AnswerCache, source: tuple[str, str], request: Request, credential: Find
    ) -> tuple[str | None, CachedAnswer | None]:
        try:
            key = key_of(source, request, credential)
        except ConfigError:  # a reference to a value of another kernel
            return None, None
        return key, cache.get(key) if self._reads else None

    def noted(self, end: EndEvent) -> EndEvent:
        """Return the end of the run, with a notice if the cache could not be used."""
        if not self._notice or not isinstance(end, EndedByModel):
            return end
        return replace(end, notices=(*end.notices, self._notice))

    async def keep(self, state: SessionState, end: EndEvent, max_bytes: int) -> None:
        """Add the answer to the cache if it is complete; wait at most `STORE_S`."""
        key, cache, run = self._key, self._cache, state.run(end.run_id)
        if key is None or cache is None or self._is_found or run is None:
            return
        if not isinstance(end, RunCompleted) or end.notices:
            return
        parts = lookup.own_part_of_answer(state, run).parts
        whole = tuple(part for part in parts if isinstance(part, TextPart | ReasoningPart | ImagePart))
        if not whole or len(whole) < len(parts):
            return
        tokens = 0 if end.usage is None else end.usage.total_tokens
        answer = CachedAnswer(
            parts=whole,
            model=run.model,
            finish_reason=end.finish_reason,
            sources=end.sources,
            tokens=tokens or sum(len(part.text) for part in whole) // 4,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(STORE_S):
                await asyncio.to_thread(cache.put, key, answer, max_bytes)


def key_of(source: tuple[str, str], request: Request, credential: Find) -> str:
    """Return the hash of everything that the answer to a request depends on.

    Parameters
    ----------
    source
        The provider's name and its `cache_scope`.
    credential
        Returns the credential of a reference in the request's params.

    Raises
    ------
    ConfigError
        If a header of the request was set in another kernel, and its value was not saved.
    """
    headers = read(request.params, credential).headers
    contents = {
        "version": VERSION,
        "provider": source,
        "model": request.model,
        "instructions": request.instructions,
        "params": without_references(request.params),
        "headers": {name.lower(): value for name, value in headers.items() if not is_credential(name)},
        "schema": request.schema,
        "messages": [[message.role, _sent(message)] for message in request.messages],
    }
    try:
        text = encode_sorted(contents)
    except (TypeError, ValueError, RecursionError):  # half of a surrogate pair in a parameter
        text = encode_json(contents)
    return hashlib.sha256(text).hexdigest()


def _sent(message: Message) -> list[dict[str, Any]]:
    return [_content(part) for part in message.parts if not isinstance(part, ReasoningPart)]


def _content(part: Part) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(part)
    return {name: value for name, value in fields.items() if name not in _VOLATILE}
