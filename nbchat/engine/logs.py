"""`logger`: the logger of all modules. It removes secrets from records, tracebacks included.

Records have an attribute `nbchat`, a mapping with `session_id` and `run_id` if known, for handlers that
write structured logs.
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import Final

from nbchat.core.redact import redact
from nbchat.core.secret import in_use


class Redacting(logging.Filter):
    """Removes secrets from records: by their form, and those in use by their value."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record; always return True."""
        secrets = [os.environ.get("OPENAI_API_KEY", ""), *in_use()]
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a message that does not fit its arguments
            text = str(record.msg)
        record.msg, record.args = redact(text, secrets), None
        if record.exc_info:
            lines = traceback.format_exception(*record.exc_info)
            # Formatters print this text; without the exception they cannot format it again.
            record.exc_text, record.exc_info = redact("".join(lines).rstrip(), secrets), None
        if not hasattr(record, "nbchat"):
            record.nbchat = {}
        return True


logger: Final = logging.getLogger("nbchat")
"""The logger of every module."""

if not any(type(one).__name__ == Redacting.__name__ for one in logger.filters):  # also after a reload
    logger.addFilter(Redacting())


def about(**what: str) -> dict[str, dict[str, str]]:
    """Return `extra` for a log call, with the ids that the record concerns."""
    return {"nbchat": what}
