"""What a provider is: one method that streams, and the values that cross it.

The engine owns clocks, retries, pausing and stopping. A provider opens the connection, decodes, and
translates foreign errors into `nbchat.core.errors.ProviderError`, once, at its edge.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from msgspec import Struct, field

from nbchat.core.messages import Message, Source, Usage

EMPTY: Final = "The model's answer is empty."
"""Notice of an answer that is complete and holds nothing."""


class Timeouts(Struct, frozen=True, kw_only=True):
    """Limits that only the provider can keep, in seconds; the engine keeps all the others."""

    connect_s: float = 10.0
    """For the connection: name, TCP, TLS."""


class Request(Struct, frozen=True, kw_only=True):
    """Everything a provider may look at. Immutable: what the user changes later changes nothing here."""

    messages: tuple[Message, ...]
    """The context, oldest first, ending with the user's message (or, with `prefill`, the partial answer)."""
    model: str | None = None
    """None: the provider chooses, and says which by `Answering`."""
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the request, as `temperature`; names as in the OpenAI API."""
    session_id: str = ""
    run_id: str = ""
    prefill: bool = False
    """The last message is the beginning of the answer; go on from its last character."""
    resume_id: str | None = None
    """Id of a background response to read on from, instead of asking again."""
    resume_after: int = 0
    """Sequence number of the last event of that response that was read."""
    timeouts: Timeouts = Timeouts()


class TextDelta(Struct, frozen=True):
    """Text to append to the answer."""

    text: str


class ReasoningDelta(Struct, frozen=True):
    """Text to append to what the model thinks aloud."""

    text: str


class ToolCallDelta(Struct, frozen=True):
    """A piece of a tool call. Calls are told apart by `index`; `id` and `name` may come late or in pieces."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Answering(Struct, frozen=True):
    """Who answers: comes at most a few times, at the beginning."""

    model: str | None = None
    response_id: str | None = None
    """Set where the server can resume this response (Responses API in the background)."""
    sequence: int = 0
    """Sequence number up to which the response was read."""


class UsageDelta(Struct, frozen=True):
    """What the answer took; a later one replaces an earlier one."""

    usage: Usage


class Finish(Struct, frozen=True):
    """The server said that the answer is over, and why. Without it no run completes."""

    reason: str
    """As the server said it: `stop`, `length`, `content_filter`, `tool_calls`, or its own word."""


class Notice(Struct, frozen=True):
    """Something odd that was survived: a bad event skipped, a second choice ignored."""

    text: str
    shown: bool = False
    """The reader of the answer has to know it: it is kept with the message. Else it is for the log."""


class ImageDelta(Struct, frozen=True):
    """A whole image that the model made, as a `data:` URL."""

    url: str
    name: str = ""


class SourceDelta(Struct, frozen=True):
    """A source that the answer cites; the order is that of its numbers."""

    source: Source


Delta = (
    TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | ImageDelta
    | SourceDelta
    | Answering
    | UsageDelta
    | Finish
    | Notice
)


@runtime_checkable
class Provider(Protocol):
    """A source of answers. Nothing about a request is kept on `self`, so any number of runs share one."""

    @property
    def name(self) -> str:
        """What the page shows: `demo`, or the server's host."""
        ...

    @property
    def can_prefill(self) -> bool:
        """The server goes on from a partial answer when the last message is the assistant's."""
        ...

    @property
    def can_resume(self) -> bool:
        """The server keeps a response and can be read on from where the connection broke."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Ask, and yield what comes, until `Finish` or the end of the stream.

        Closing the iterator, or cancelling the task that reads it, closes the connection at once.

        Raises
        ------
        ProviderError
            Anything that went wrong; `retryable` says whether asking again may help.
        """
        ...

    async def models(self) -> Sequence[str]:
        """Return the ids of the models the server lists, in its order."""
        ...

    async def aclose(self) -> None:
        """Close what is kept open between runs (idle connections); the provider can be used again."""
        ...


@runtime_checkable
class Cancels(Protocol):
    """What a provider has besides, whose responses go on without a reader."""

    async def cancel(self, response_id: str) -> None:
        """End a response at the server; called after the user stopped the run that read it.

        Raises
        ------
        ProviderError
            The server could not be told.
        """
        ...
