"""`Round`: one request of a run and its answer. A run has several rounds if the model calls tools."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nbchat.core.errors import LimitExceeded, ProviderError
from nbchat.core.messages import Usage
from nbchat.engine.answer_builder import AnswerBuilder, as_name, as_source, as_text
from nbchat.engine.logs import about
from nbchat.engine.run_outcome import shown
from nbchat.providers.base import (
    Answering,
    Cancels,
    Delta,
    Finish,
    ImageDelta,
    Notice,
    ReasoningDelta,
    Request,
    SourceDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)

if TYPE_CHECKING:
    import asyncio

    from nbchat.core.events import Event
    from nbchat.engine.deadlines import Deadlines
    from nbchat.engine.limits import Limits
    from nbchat.engine.run_outcome import RunOutcome

logger = logging.getLogger("nbchat")

MAX_IMAGE_CHARS: Final = 12_000_000
"""Maximum characters of one generated image as a `data:` URL: 9 MB."""


class Round:
    """Collects the content of one round. Only for the engine's loop.

    Parameters
    ----------
    request
        The request, repeated by each attempt.
    first_part
        Number of parts that the answer already has.
    used
        Characters that the model wrote in earlier rounds.
    characters_left
        Characters that may still be added to the session.
    taken
        Ids of calls that are in use in the answer; calls without a unique id get one. `None`: ids stay as the
        server sent them, since no tool is executed.
    exceeded
        Called when a limit is reached.
    """

    def __init__(
        self,
        run_id: str,
        request: Request,
        first_part: int,
        *,
        outcome: RunOutcome,
        clock: Deadlines,
        limits: Limits,
        used: int,
        characters_left: int,
        taken: set[str] | None,
        emit: Callable[[Event], object],
        loop: asyncio.AbstractEventLoop,
        exceeded: Callable[[LimitExceeded], object],
    ) -> None:
        self.request: Request = request
        self.first_part: int = first_part
        self.builder: AnswerBuilder = AnswerBuilder(run_id, first_part, emit, loop, taken)
        self.outcome: RunOutcome = outcome
        self.text: list[str] = []
        """The text, if it has to match a schema."""
        self._run_id = run_id
        self._clock = clock
        self._limits = limits
        self._used = used
        self._left = characters_left
        self._exceeded = exceeded

    @property
    def size(self) -> int:
        """Characters of the content, images included."""
        return self.builder.accepted + self.builder.image_chars

    def accept(self, delta: Delta) -> None:
        """Add a delta.

        Raises
        ------
        TypeError
            If it is not a delta. Providers may be third-party code: a value of the wrong type is refused
            here, before it is in the log.
        """
        if isinstance(delta, TextDelta | ReasoningDelta | ToolCallDelta):
            self._add(delta)
        elif isinstance(delta, Finish):
            self.outcome.finish = as_name(delta.reason)
            self._clock.finished()
        elif isinstance(delta, UsageDelta):
            self.outcome.received(delta.usage if isinstance(delta.usage, Usage) else None)
        elif isinstance(delta, Answering):
            self.builder.answering(delta)
        elif isinstance(delta, Notice):
            text = shown(as_text(delta.text), 200)
            logger.info("run %s: %s", self._run_id, text, extra=about(run_id=self._run_id))
            if delta.shown:
                self.outcome.notice(text)
        elif isinstance(delta, SourceDelta):
            self.outcome.source(as_source(delta.source))
        elif isinstance(delta, ImageDelta):
            self._add_image(delta)
        else:
            raise TypeError(f"a provider yields deltas, not {type(delta).__name__}")

    def _add_image(self, delta: ImageDelta) -> None:
        left = self._left - self.size
        if not self.builder.add_image(as_text(delta.url), as_name(delta.name), min(left, MAX_IMAGE_CHARS)):
            self.accept(Notice("An image is not shown: it is larger than the limit.", shown=True))
            return
        self._clock.content()

    def _add(self, delta: TextDelta | ReasoningDelta | ToolCallDelta) -> None:
        builder = self.builder
        before = builder.deltas
        answer, session = self._limits.answer_chars - self._used, self._left - builder.image_chars
        dropped = builder.add(delta, min(answer, session) - builder.accepted)
        if self.request.schema is not None and isinstance(delta, TextDelta):
            self.text.append(delta.text)
        if dropped:
            limit = "answer_chars" if answer <= session else "session_chars"
            self._exceeded(
                LimitExceeded(
                    f"the answer reached {self._used + builder.accepted:,} characters, the limit for it.",
                    hint=f"What has arrived is kept. Raise registry.limits.{limit} to allow more.",
                )
            )
        if builder.deltas == before:
            return
        if not self._clock.had_content:
            builder.flush()
        self._clock.content()


async def cancel_response(provider: Cancels, response_id: str, run_id: str) -> None:
    """Cancel a response at the server; the run is over even if this fails."""
    try:
        await provider.cancel(response_id)
    except ProviderError as error:
        logger.info("run %s: cancelling at its server failed: %s", run_id, error, extra=about(run_id=run_id))
