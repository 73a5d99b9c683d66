"""`AutoTitle`: asks the model for a title if this is enabled by `nbchat.config(titles="model")`.

After the first answer of a session without a title, its model is asked once, outside of the conversation.
The request is not in the transcript, and a title that the user sets in the meantime is kept.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from nbchat.core.errors import SessionGone
from nbchat.core.events import Settings
from nbchat.core.recovery import in_force
from nbchat.core.run import RunRecord, RunState
from nbchat.core.settings import patch
from nbchat.core.text import cut
from nbchat.engine.logs import about
from nbchat.engine.one_shot import OneShot

if TYPE_CHECKING:
    from nbchat.engine.base import EngineBase
    from nbchat.engine.live_session import LiveSession
    from nbchat.engine.provider_resolver import ProviderResolver

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
"""Characters of the question, and of the answer, that are sent to the model."""

MAX_TITLE: Final = 80
"""Maximum characters of a generated title."""

_QUOTES: Final = r"\"'`\u00ab\u00bb\u2018\u2019\u201c\u201d\u300c\u300d"
_AROUND: Final = re.compile(rf"^(?:[\s#*_.{_QUOTES}]|title:)+|[\s*_.{_QUOTES}]+$", re.IGNORECASE)


class AutoTitle:
    """Requests titles from models. Only for the engine's loop."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine

    def consider(self, session: LiveSession, run: RunRecord) -> None:
        """Request a title after the end of a run, if this is enabled and there is none."""
        state, providers = session.state, self._engine.providers_of(session.id, run.id)
        if (
            providers.defaults.titles != "model"
            or run.state is not RunState.COMPLETED
            or sum(other.state is RunState.COMPLETED for other in state.runs) > 1
            or not _is_nameless(session)
            or (providers.is_demo and session.provider is None)  # its answers are about nbchat only
        ):
            return
        self._engine.loop.spawn(self._ask(session, run, providers), name=f"nbchat-title-{state.id}")

    async def _ask(self, session: LiveSession, run: RunRecord, providers: ProviderResolver) -> None:
        state = session.state
        question = state.messages.get(run.prompt_id or "")
        answer = state.messages.get(run.message_id)
        if question is None or answer is None:
            return
        settings = in_force(state.settings)
        asked_with = Settings(model=settings.model, provider=settings.provider)
        prompt = PROMPT.format(question=cut(question.text, QUOTED), answer=cut(answer.text, QUOTED))
        one_shot = OneShot(self._engine, asked_with, session.provider, providers=providers)
        made = await one_shot.ask(0, prompt)
        if made.error is not None:
            logger.info("session %s got no title: %s", state.id, made.error, extra=about(session_id=state.id))
        elif (title := title_in(made.text)) and _is_nameless(session):
            with suppress(SessionGone):
                session.configure(patch(title=title), session.state.settings.changed_by)


def title_in(answer: str) -> str:
    """Return the title in a model's answer: its first line with words in it, without decoration."""
    for line in answer.splitlines():
        title = " ".join(_AROUND.sub("", line).split())
        if title:
            return cut(title, MAX_TITLE, "…")
    return ""


def _is_nameless(session: LiveSession) -> bool:
    state = session.state
    return not (state.settings.title or state.temporary or state.deleted)
