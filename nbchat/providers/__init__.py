"""Model providers. A `Provider` turns a `Request` into a stream of `Delta`s; it keeps no request state."""

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
