"""`refused_questions`: finds the questions of a transcript that a server refused for their content.

Such a question would cause every later request to be refused, so it is omitted from later requests. The rule
depends only on the records of the runs: it needs no additional state and survives saving.
`js/src/state/refusals.ts` has the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nbchat.core.errors import AuthenticationFailed, ConfigError, ConnectFailed, ContextTooLong, ModelNotFound
from nbchat.core.messages import Message
from nbchat.core.run import RunRecord, RunState
from nbchat.core.transcript import SessionState

_OTHER_STATUSES: Final = frozenset({401, 403, 404, 408, 409, 429})
"""Statuses of the 4xx class that do not concern the content of a question."""

_OTHER_CODES: Final = frozenset(
    error.code for error in (AuthenticationFailed, ConfigError, ConnectFailed, ModelNotFound)
)
"""Errors about the key, the model or the network, regardless of the status."""


def refused_questions(state: SessionState, path: Sequence[Message]) -> frozenset[str]:
    """Return the ids of the user's messages in `path` that later requests omit.

    Parameters
    ----------
    path
        Messages of one conversation, oldest first. The run of the answer that follows a question decides; if
        the answer was discarded, the last run of the question does.
    """
    runs = {run.id: run for run in state.runs}
    asked: dict[str, RunRecord] = {}
    for run in state.runs:
        if (question := run.prompt_id or run.parent_id) is not None:
            asked[question] = run
    refused = set()
    for index, message in enumerate(path):
        if message.role != "user":
            continue
        following = path[index + 1] if index + 1 < len(path) else None
        if following is None or following.role != "assistant":
            last = asked.get(message.id)
        else:
            last = None if following.parts else runs.get(following.run_id or "")
        if last is not None and is_refusal(last):
            refused.add(message.id)
    return frozenset(refused)


def is_refusal(run: RunRecord) -> bool:
    """Return whether a server refused a run's question for its content, before any text.

    These are statuses 400, 413, 422 and others of 4xx that do not concern the key, the model or the load. A
    context that is too long and a content filter count regardless of how the server reports them.
    """
    if run.state is RunState.INCOMPLETE:
        return run.finish_reason == "content_filter" and run.characters == 0
    error = run.error
    if run.state is not RunState.FAILED or error is None or error.code in _OTHER_CODES:
        return False
    status = error.http_status
    return error.code == ContextTooLong.code or (
        status is not None and 400 <= status < 500 and status not in _OTHER_STATUSES  # noqa: PLR2004 - HTTP
    )
