"""`to_jsonl` writes conversations in the JSON Lines format for fine-tuning, one on each line."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nbchat.core.refusals import refused_questions
from nbchat.core.text import clean
from nbchat.core.transcript import SessionState


def to_jsonl(states: Sequence[SessionState]) -> str:
    """Return each conversation as `{"messages": [{"role": …, "content": …}, …]}`.

    Questions that a server refused are omitted, as in later requests.
    """
    lines = []
    for state in states:
        messages = []
        if state.settings.instructions:
            messages.append({"role": "system", "content": clean(state.settings.instructions)})
        refused = refused_questions(state, state.path)
        messages += [
            {"role": message.role, "content": clean(text)}
            for message in state.path
            if message.id not in refused and (text := message.text_with_files)
        ]
        lines.append(json.dumps({"messages": messages}, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)
