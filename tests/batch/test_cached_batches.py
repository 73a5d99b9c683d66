"""`cache=True` of `nbchat.map`, `nbchat.ask` and `nbchat.get_completion`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import nbchat
from nbchat.core.messages import Usage
from nbchat.providers.openai import OpenAIProvider
from tests.batch.limited_server import LimitedServer
from tests.engines import engine_of

PROMPTS = [f"prompt {n}" for n in range(12)]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path / "journals"))
    monkeypatch.setattr("nbchat.engine.run_cache.STORE_S", 60)  # the next question finds the answer


@pytest.fixture
def server() -> Iterator[LimitedServer]:
    """Return a server that counts the prompts, and answers in capitals."""
    with LimitedServer() as running:
        yield running


@pytest.fixture
def provider(server: LimitedServer) -> Iterator[OpenAIProvider]:
    """Return the client of the server."""
    made = OpenAIProvider(base_url=server.base_url, api_key="any")
    yield made
    engine_of(nbchat.registry).loop.run(made.aclose())


def test_a_second_batch_sends_nothing(server: LimitedServer, provider: OpenAIProvider) -> None:
    """An equal batch is answered from the cache, without tokens and at no cost, also at a low rate limit."""
    settings = {"model": "m", "provider": provider, "progress": False, "cache": True}
    first = nbchat.map(PROMPTS, **settings)  # type: ignore[arg-type]
    second = nbchat.map(PROMPTS, rpm=0.001, **settings)  # type: ignore[arg-type]
    assert sum(server.asked.values()) == len(PROMPTS)
    assert first.texts == second.texts == [prompt.upper() for prompt in PROMPTS]
    assert [result.from_cache for result in (*first, *second)] == [False] * 12 + [True] * 12
    assert (first.usage.total_tokens, second.usage) == (5 * 12, Usage())
    assert second.cost == 0


def test_only_new_prompts_are_sent(server: LimitedServer, provider: OpenAIProvider) -> None:
    """Of a batch with some known prompts, only the others are sent."""
    nbchat.map(PROMPTS[:5], model="m", provider=provider, progress=False, cache=True)
    results = nbchat.map(PROMPTS, model="m", provider=provider, progress=False, cache=True)
    assert [result.from_cache for result in results] == [True] * 5 + [False] * 7
    assert set(server.asked.values()) == {1}
    assert [result.attempts for result in results] == [1] * 12


def test_a_journal_has_the_answers_from_the_cache(
    server: LimitedServer, provider: OpenAIProvider, tmp_path: Path
) -> None:
    """Answers from the cache are written to the journal, which is used with and without `cache=True`."""
    nbchat.map(PROMPTS, model="m", provider=provider, progress=False, cache=True)
    path = tmp_path / "answers.jsonl"
    for cache, restored in ((True, False), (True, True), (False, True)):
        results = nbchat.map(PROMPTS, model="m", provider=provider, progress=False, cache=cache, journal=path)
        assert {result.restored for result in results} == {restored}
        assert all(result.from_cache for result in results)
    assert set(server.asked.values()) == {1}


def test_one_off_questions_use_the_cache(server: LimitedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nbchat.ask`, `nbchat.get_completion`, batches and sessions share one cache."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    assert nbchat.ask("Seine", model="m", cache=True).text == "SEINE"
    assert nbchat.get_completion("Seine", model="m", cache=True) == "SEINE"
    assert nbchat.get_completion("Seine", model="m", cache=True, thread_id="cached") == "SEINE"
    assert nbchat.map(["Seine"], model="m", cache=True, progress=False)[0].from_cache
    assert server.asked["Seine"] == 1
    assert nbchat.ask("Seine", model="m").text == "SEINE"
    assert server.asked["Seine"] == 2
