"""`chat_models` selects the chat models in a server's list of models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_OTHER_NAMES: Final = re.compile(
    r"""
    embed | rerank | moderation | whisper | transcribe | speech | realtime | dall-e | gpt-image | diffusion
    | (?:^|[-_/.:]) (?: tts | stt | asr | ocr | sora | imagen | veo ) (?:$|[-_/.:0-9])
    | (?:^|[-_/.:]) (?: bge | gte | e5 | minilm | clip ) (?:$|[-_/.:0-9])
    | ^(?: babbage | davinci ) -
    | -instruct-\d{4}$ | ^gpt-audio | -audio-preview
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Models for embeddings, ranking, moderation, speech and images, and OpenAI's completion models."""

_CHAT_TYPES: Final = frozenset(
    {"", "model", "chat", "language", "llm", "vlm", "code", "base", "text-generation"}
)
"""Values of `type`, a field that some servers send for each model."""


def chat_models(listed: Sequence[object]) -> tuple[str, ...]:
    """Return the ids of the chat models in the list of `/models`, in its order; all ids if there is none."""
    ids = {
        entry["id"]: _is_chat(entry)
        for entry in listed
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str) and entry["id"]
    }
    return tuple(name for name, chats in ids.items() if chats) or tuple(ids)


def _is_chat(entry: Mapping[str, object]) -> bool:
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, Mapping) and isinstance(capabilities.get("completion_chat"), bool):
        return bool(capabilities["completion_chat"])
    kind = entry.get("type")
    if isinstance(kind, str) and kind.lower() not in _CHAT_TYPES:
        return False
    return _OTHER_NAMES.search(str(entry["id"])) is None
