"""`info_of` describes any error to a page."""

import logging

from nbchat.core.errors import ErrorInfo, NbchatError
from nbchat.core.redact import redact

logger = logging.getLogger("nbchat")


def info_of(error: Exception, doing: str) -> ErrorInfo:
    """Return the description of an error. An error that nbchat does not define is logged first.

    Parameters
    ----------
    error
        The error that is being handled.
    doing
        The sentence for the log.
    """
    if isinstance(error, NbchatError):
        return error.info
    logger.error("%s", doing, exc_info=error)
    return ErrorInfo(code="nbchat_error", message=redact(f"{type(error).__name__}: {error}")[:300])
