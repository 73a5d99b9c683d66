"""Where answers come from. A provider turns a `Request` into a stream of `Delta`s, and keeps nothing."""

from nbchat.providers.base import (
    Answering,
    Delta,
    Finish,
    Notice,
    Provider,
    ReasoningDelta,
    Request,
    TextDelta,
    Timeouts,
    ToolCallDelta,
    UsageDelta,
)

__all__ = [
    "Answering",
    "Delta",
    "Finish",
    "Notice",
    "Provider",
    "ReasoningDelta",
    "Request",
    "TextDelta",
    "Timeouts",
    "ToolCallDelta",
    "UsageDelta",
]
