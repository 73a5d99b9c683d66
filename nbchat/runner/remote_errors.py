"""`info_of` converts an exception into a value that can be raised at the other end of the link."""

from __future__ import annotations

from nbchat.core.errors import ErrorInfo, NbchatError, WireError
from nbchat.core.redact import redact
from nbchat.core.values import DecodeError


def info_of(error: BaseException) -> ErrorInfo:
    """Return an exception as a value for the other side."""
    if isinstance(error, NbchatError):
        return error.info
    if isinstance(error, DecodeError):
        return WireError(f"the link carried something that is not in its protocol: {error}.").info
    return ErrorInfo(code="nbchat_error", message=redact(f"{type(error).__name__}: {error}")[:300])
