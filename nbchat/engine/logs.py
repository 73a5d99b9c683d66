"""The logger of all modules. What goes through it holds no secret, tracebacks included.

Records carry what they are about as `record.nbchat`, a mapping with `session_id` and `run_id` where there
are any, for handlers that write structured logs.
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import Final

from nbchat.core.redact import redact
from nbchat.core.secret import in_use


class Redacting(logging.Filter):
    """Takes secrets out of a record: by shape, and by value those that are in use."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it always passes."""
        secrets = [os.environ.get("OPENAI_API_KEY", ""), *in_use()]
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a message that does not fit its arguments
            text = str(record.msg)
        record.msg, record.args = redact(text, secrets), None
        if record.exc_info:
            lines = traceback.format_exception(*record.exc_info)
            # Formatters print this text; without the exception none of them prints it anew.
            record.exc_text, record.exc_info = redact("".join(lines).rstrip(), secrets), None
        if not hasattr(record, "nbchat"):
            record.nbchat = {}
        return True


logger: Final = logging.getLogger("nbchat")
"""What every module logs to."""

if not any(type(one).__name__ == Redacting.__name__ for one in logger.filters):  # also after a reload
    logger.addFilter(Redacting())


def about(**what: str) -> dict[str, dict[str, str]]:
    """Return `extra` for a log call that says what it is about."""
    return {"nbchat": what}
