"""`RunSpan`: the OpenTelemetry span of one run, without text, titles and keys.

There is one only if the process has imported the API of OpenTelemetry, as a process that exports spans has;
nbchat does not import it. The names are those of the semantic conventions for generative AI.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from nbchat.core.clock import now
from nbchat.core.run import RunState
from nbchat.core.version import VERSION
from nbchat.engine.run_cache import SendsNothing
from nbchat.providers.base import protocol_of, server_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from nbchat.core.run import RunRecord
    from nbchat.providers.base import Provider, Request

logger = logging.getLogger("nbchat")

API: Final = "opentelemetry.trace"
"""The module without which there are no spans."""

OPERATION: Final = "chat"


class RunSpan:
    """The span of one run, from its first request to its end. Only for the engine's loop."""

    def __init__(self) -> None:
        self._span: Span | None = None
        self._sent_at = 0.0

    def sent(self, provider: Provider, request: Request) -> None:
        """Start the span, unless this request is a later one of the run or is not sent."""
        if self._span is not None or sys.modules.get(API) is None or isinstance(provider, SendsNothing):
            return
        try:
            self._span = _started(provider, request)
            self._sent_at = now()
        except Exception:  # of a part that was added to OpenTelemetry
            logger.debug("run %s: its span could not be started", request.run_id, exc_info=True)

    def ended(self, run: RunRecord) -> None:
        """End the span with the outcome of the run. On a thread, since this may export it."""
        if self._span is not None:
            with suppress(RuntimeError):  # no thread can be started
                asyncio.get_running_loop().run_in_executor(None, _end, self._span, run, self._sent_at)


def _started(provider: Provider, request: Request) -> Span:
    from opentelemetry.context import Context  # noqa: PLC0415 - the process has imported it already
    from opentelemetry.trace import SpanKind, get_tracer  # noqa: PLC0415

    attributes = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": protocol_of(provider),
        "gen_ai.request.model": request.model,
        "gen_ai.conversation.id": request.session_id,
        "server.address": server_of(provider),
    }
    return get_tracer("nbchat", VERSION).start_span(
        f"{OPERATION} {request.model or ''}".strip(),
        # Without a parent: this loop has the context of any of the callers.
        context=Context(),
        kind=SpanKind.CLIENT,
        attributes={name: value for name, value in attributes.items() if value},
    )


def _end(span: Span, run: RunRecord, sent_at: float) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - the process has imported it already

    try:
        found: dict[str, AttributeValue | None] = {
            "gen_ai.response.model": run.model,
            "gen_ai.response.finish_reasons": None if run.finish_reason is None else (run.finish_reason,),
            "gen_ai.usage.input_tokens": None if run.usage is None else run.usage.input_tokens,
            "gen_ai.usage.output_tokens": None if run.usage is None else run.usage.output_tokens,
            "nbchat.run.state": str(run.state),
        }
        if run.first_delta_at is not None:
            found["gen_ai.response.time_to_first_chunk"] = max(run.first_delta_at - sent_at, 0.0)
        if run.error is not None and run.state in (RunState.FAILED, RunState.INTERRUPTED):
            found["error.type"] = run.error.code
            span.set_status(StatusCode.ERROR)  # without the message, which may quote an answer
        span.set_attributes({name: value for name, value in found.items() if value is not None})
        span.end()
    except Exception:  # of a part that was added to OpenTelemetry
        logger.debug("run %s: its span could not be ended", run.id, exc_info=True)
