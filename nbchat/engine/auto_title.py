"""Titles that the model makes, where the user wants them: `nbchat.config(titles="model")`.

After the first answer of a session that nobody has named, its model is asked once, apart from the
conversation: nothing of it is in the transcript, and a name that the user gives meanwhile stays.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from nbchat.core.errors import SessionGone
from nbchat.core.events import Settings
from nbchat.core.recovery import in_force
from nbchat.core.run import RunRecord, RunState
from nbchat.core.text import cut
from nbchat.engine.logs import about

if TYPE_CHECKING:
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.registry import SessionRegistry

logger = logging.getLogger("nbchat")

PROMPT: Final = """\
Give the conversation below a title of at most six words, in its own language. \
Answer with the title alone: no quotation marks, no full stop.

<question>
{question}
</question>
<answer>
{answer}
</answer>"""

QUOTED: Final = 2000
"""Characters of the question, and of the answer, that the model gets to read."""

MAX_TITLE: Final = 80
"""Characters of a title that a model makes."""

_QUOTES: Final = r"\"'`\u00ab\u00bb\u2018\u2019\u201c\u201d\u300c\u300d"
_AROUND: Final = re.compile(rf"^(?:[\s#*_.{_QUOTES}]|title:)+|[\s*_.{_QUOTES}]+$", re.IGNORECASE)


class AutoTitle:
    """Asks for titles. Only for the engine's thread."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry

    def consider(self, conversation: LiveSession, run: RunRecord) -> None:
        """Hear that a run is over; ask for a title where one is wanted and there is none."""
        state, sources = conversation.state, self._registry.sources
        if (
            sources.defaults.titles != "model"
            or run.state is not RunState.COMPLETED
            or sum(other.state is RunState.COMPLETED for other in state.runs) > 1
            or not _is_nameless(conversation)
            or (sources.is_demo and conversation.provider is None)  # it knows of nbchat alone
        ):
            return
        self._registry.engine.spawn(self._ask(conversation, run), name=f"nbchat-title-{state.id}")

    async def _ask(self, conversation: LiveSession, run: RunRecord) -> None:
        state = conversation.state
        question = state.messages.get(run.prompt_id or "")
        answer = state.messages.get(run.message_id)
        if question is None or answer is None:
            return
        settings = in_force(state.settings)
        from nbchat.batch.runner import Answer, BatchRunner  # noqa: PLC0415 - only where titles are wanted

        given: list[Answer] = []
        await BatchRunner(
            self._registry,
            [(0, PROMPT.format(question=cut(question.text, QUOTED), answer=cut(answer.text, QUOTED)))],
            settings=Settings(model=settings.model, provider=settings.provider),
            provider=conversation.provider,
            concurrency=1,
            per_minute=None,
            attempts=1,
            deliver=given.append,
        ).run()
        if given[0].error is not None:
            logger.info(
                "session %s got no title: %s", state.id, given[0].error, extra=about(session_id=state.id)
            )
        elif (title := made(given[0].text)) and _is_nameless(conversation):
            try:
                conversation.configure(title=title)
            except SessionGone:
                return


def made(answer: str) -> str:
    """Return the title in a model's answer: its first line with words in it, without decoration."""
    for line in answer.splitlines():
        title = " ".join(_AROUND.sub("", line).split())
        if title:
            return cut(title, MAX_TITLE, "…")
    return ""


def _is_nameless(conversation: LiveSession) -> bool:
    state = conversation.state
    return not (state.settings.title or state.temporary or state.deleted)
