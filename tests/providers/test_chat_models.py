"""Filter the list of a server's models to those that can chat."""

import pytest

from nbchat.providers.chat_models import chat_models


@pytest.mark.parametrize(
    "name",
    [
        *(
            "gpt-5",
            "gpt-4o-mini",
            "o3",
            "chatgpt-4o-latest",
            "claude-sonnet-4-5",
            "gemini-2.5-flash",
            "qwen3:8b",
        ),
        *(
            "llama3.2:latest",
            "deepseek-reasoner",
            "mistral-small",
            "meta-llama/Llama-3.3-70B-Instruct",
            "phi4",
        ),
        *("nbchat-tour", "azure/gpt-4.1", "openai/gpt-oss-120b", "granite-code", "gemma-3-27b-it", "sonar"),
    ],
)
def test_a_chat_model_is_listed(name: str) -> None:
    """Chat models stay in the list, whatever their server calls them."""
    assert chat_models([{"id": "text-embedding-3-small"}, {"id": name}]) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "text-embedding-3-large",
            "nomic-embed-text",
            "mxbai-embed-large:latest",
            "BAAI/bge-m3",
            "all-minilm",
        ),
        *(
            "whisper-1",
            "tts-1-hd",
            "gpt-4o-mini-tts",
            "gpt-4o-transcribe",
            "gpt-4o-realtime-preview",
            "dall-e-3",
        ),
        *("gpt-image-1", "omni-moderation-latest", "davinci-002", "gpt-3.5-turbo-instruct-0914", "sora-2"),
        *("gpt-4o-audio-preview", "rerank-v3.5", "stable-diffusion-xl", "intfloat/e5-large", "gpt-audio"),
    ],
)
def test_another_model_is_hidden(name: str) -> None:
    """Models for embeddings, speech, pictures, ranking and moderation are left out."""
    assert chat_models([{"id": name}, {"id": "gpt-5"}]) == ("gpt-5",)


def test_a_server_s_own_word_counts() -> None:
    """The type or capabilities that a server gives for a model take precedence over the model's name."""
    entries = [
        {"id": "a", "type": "embedding"},
        {"id": "b", "type": "chat"},
        {"id": "c", "capabilities": {"completion_chat": False}},
        {"id": "my-embed-chat", "capabilities": {"completion_chat": True}},
        {"id": 3},
        "not an entry",
    ]
    assert chat_models(entries) == ("b", "my-embed-chat")


def test_a_server_without_chat_models_lists_all() -> None:
    """If no model seems to be a chat model, all are listed, so that one can be chosen."""
    assert chat_models([{"id": "embed-a"}, {"id": "whisper"}]) == ("embed-a", "whisper")
