"""`RunOutcome`: collects finish reason, usage, sources and notices of a run, and makes its last event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import (
    EmptyResponse,
    ErrorInfo,
    LimitExceeded,
    NbchatError,
    PauseExpired,
    StreamTruncated,
)
from nbchat.core.events import EndEvent, RunCompleted, RunFailed, RunIncomplete, RunInterrupted, RunStopped
from nbchat.core.redact import redact
from nbchat.core.text import clean
from nbchat.providers.base import EMPTY

if TYPE_CHECKING:
    from nbchat.core.messages import Source, Usage

LOOKED_AT: Final = 20_000
"""Characters of an error's text that are searched for secrets; the displayed text is far shorter."""

MAX_SOURCES: Final = 200
"""Maximum number of sources kept per answer."""

MAX_NOTICES: Final = 20
"""Maximum number of notices kept per answer."""

EARLY: Final = frozenset({"length", "max_tokens", "max_output_tokens", "content_filter"})
"""Finish reasons of a model that stopped before it was done."""

CALLS: Final = frozenset({"tool_calls", "function_call"})
"""Finish reasons of a model that called a tool instead of answering."""


class RunOutcome:
    """Collects how a run ends. Only for the engine's thread."""

    def __init__(self) -> None:
        self.finish: str | None = None
        """The server's finish reason."""
        self._usage: Usage | None = None
        self._earlier: Usage | None = None
        """Sum of the usage of earlier rounds."""
        # Dictionaries used as ordered sets.
        self._sources: dict[Source, None] = {}
        self._notices: dict[str, None] = {}

    @property
    def is_whole(self) -> bool:
        """True if the model finished an answer."""
        return self.finish is not None and self.finish not in EARLY | CALLS

    @property
    def usage(self) -> Usage | None:
        """The usage of all rounds, as far as the server reported it."""
        return _sum(self._earlier, self._usage)

    def received(self, usage: Usage | None) -> None:
        """Set the usage of this round; a later value replaces an earlier one."""
        self._usage = usage

    def next_round(self) -> None:
        """Continue with another round: its finish reason counts, and its usage is added."""
        self.finish = None
        self._earlier, self._usage = self.usage, None

    def source(self, source: Source) -> None:
        """Add a source, up to `MAX_SOURCES`."""
        if len(self._sources) < MAX_SOURCES:
            self._sources[source] = None

    def notice(self, text: str) -> None:
        """Add a notice for the reader of the answer, up to `MAX_NOTICES`."""
        if len(self._notices) < MAX_NOTICES:
            self._notices[shown(text, 400)] = None

    def add(self, earlier: RunOutcome, *, whole: bool) -> None:
        """Add an earlier round of the same run: its usage, and if it is the `whole` answer all of it."""
        self._earlier = _sum(earlier.usage, self._earlier)
        if whole:
            self.finish = earlier.finish
            self._sources = {**earlier._sources, **self._sources}
            self._notices = {**earlier._notices, **self._notices}

    def end(
        self,
        run_id: str,
        cause: NbchatError | None,
        *,
        has_content: bool,
        characters: int,
        is_stopped: bool,
        may_add_nothing: bool,
        from_outside: bool,
    ) -> tuple[EndEvent, NbchatError | None]:
        """Return the event that ends the run, and its error.

        A finish reason completes a run, regardless of anything after it; without one no run completes.

        Parameters
        ----------
        cause
            The error that ended the stream, or the user's stop; `None` if the stream ended.
        has_content
            The run has content, in any round.
        characters
            Characters that the model wrote, in all rounds.
        is_stopped
            The user stopped the run.
        may_add_nothing
            An answer without content is not an error.
        from_outside
            The run was ended because of something else than its stream.
        """
        at, usage = now(), self.usage
        sources, notices = tuple(self._sources), tuple(self._notices)
        if self.finish is not None and not isinstance(cause, LimitExceeded):
            paid = usage is not None and bool(usage.output_tokens)
            is_answered = has_content or notices or paid
            if not (is_answered or may_add_nothing or self.finish in EARLY):
                empty = EmptyResponse("the server finished without an answer.")
                return RunFailed(run_id=run_id, at=at, error=safe(empty.info), usage=usage), None
            kind = RunIncomplete if self.finish in EARLY else RunCompleted
            if kind is RunCompleted and not (has_content or notices or may_add_nothing):
                notices = (EMPTY,)
            end = kind(
                run_id=run_id,
                at=at,
                finish_reason=self.finish,
                usage=usage,
                sources=sources,
                notices=notices,
            )
            return end, None
        if is_stopped:
            return RunStopped(run_id=run_id, at=at, usage=usage, sources=sources, notices=notices), None
        if cause is None:
            cause = (
                StreamTruncated("the stream ended without a finish reason.")
                if has_content
                else EmptyResponse("the server's stream ended without an answer.")
            )
        info = safe(replace(cause.info, partial_chars=characters))
        if has_content or from_outside or isinstance(cause, PauseExpired):
            end_event = RunInterrupted(
                run_id=run_id, at=at, error=info, usage=usage, sources=sources, notices=notices
            )
            return end_event, cause
        return RunFailed(run_id=run_id, at=at, error=info, usage=usage), cause


def _sum(first: Usage | None, second: Usage | None) -> Usage | None:
    return second if first is None else first if second is None else first + second


def no_match(problem: str) -> str:
    """Return the notice for an answer that does not match its schema."""
    return f"The answer does not match the schema: {problem}"


def safe(info: ErrorInfo) -> ErrorInfo:
    """Return the error without secrets, shortened for display."""
    return replace(info, message=shown(info.message, 600), hint=shown(info.hint, 400))


def shown(text: str, length: int) -> str:
    """Return the beginning of a text without secrets; the rest of a huge text is ignored."""
    return clean(redact(text[:LOOKED_AT]))[:length]
