"""`cache=True`: an equal question is answered from the cache, and shown as such."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import nbchat
from nbchat.core.messages import Usage
from nbchat.core.structured import SCHEMA
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import ImageDelta, Notice, ReasoningDelta, Request, SourceDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import PAUSE, ScriptedProvider, Step
from tests.batch.limited_server import LimitedServer
from tests.engines import drain_callbacks, engine_of, kernel_engine_of
from tests.waiting import wait_for

QUESTION = "Which rivers cross Paris?"

Client = Callable[..., OpenAIProvider]


class Cacheable(ScriptedProvider):
    """A scripted provider whose answers may be cached."""

    cache_scope = "scripted"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of this test's cache, which does not exist yet."""
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path / "journals"))
    monkeypatch.setattr("nbchat.engine.run_cache.STORE_S", 60)  # the next question finds the answer
    return tmp_path / "journals" / "cache"


@pytest.fixture
def server() -> Iterator[LimitedServer]:
    """Return a server that counts the questions, and answers in capitals."""
    with LimitedServer() as running:
        yield running


@pytest.fixture
def client(registry: SessionRegistry, server: LimitedServer) -> Iterator[Client]:
    """Return a function that makes a client of the server."""
    with ExitStack() as stack:

        def make(**options: Any) -> OpenAIProvider:
            provider = OpenAIProvider(**{"base_url": server.base_url, "api_key": "any", **options})
            stack.callback(lambda: kernel_engine_of(registry).loop.run(provider.aclose()))
            return provider

        yield make


def test_an_equal_question_does_not_reach_the_server(
    registry: SessionRegistry, server: LimitedServer, client: Client
) -> None:
    """A second session with an equal question gets the same answer, and the server is asked once."""
    first, second = (registry.create(name, model="m", provider=client()) for name in ("one", "two"))
    asked = first.send(QUESTION, cache=True).wait(120)
    cached = second.send(QUESTION, cache=True).wait(120)
    assert server.asked[QUESTION] == 1
    assert (asked.from_cache, cached.from_cache) == (False, True)
    assert asked.text == cached.text == QUESTION.upper()
    assert cached.state == "completed"
    assert second.messages[-1].finish_reason == "stop"
    assert second.messages[-1].notices == ()


def test_a_whole_conversation_is_cached(
    registry: SessionRegistry, server: LimitedServer, client: Client
) -> None:
    """The later questions of an equal conversation are answered from the cache too."""
    for name in ("one", "two"):
        session = registry.create(name, model="m", provider=client())
        for prompt in ("Seine?", "Rhône?", "Loire?"):
            assert session.ask(prompt, cache=True, timeout=120).text == prompt.upper()
    assert sum(server.asked.values()) == 3


def test_a_cached_answer_is_counted_once(
    registry: SessionRegistry, server: LimitedServer, client: Client
) -> None:
    """An answer from the cache has no tokens and costs nothing; the first answer keeps its own."""
    session = registry.create("geo", model="m", provider=client())
    session.ask(QUESTION, cache=True, timeout=120)
    used = session.usage
    assert used == Usage(input_tokens=3, output_tokens=2)
    other = registry.create("other", model="m", provider=client())
    cached = other.send(QUESTION, cache=True).wait(120)
    assert cached.usage is None
    assert cached.cost == other.cost == 0
    assert (session.usage, other.usage) == (used, Usage())
    assert server.asked[QUESTION] == 1


def test_a_cached_answer_is_an_ordinary_run(registry: SessionRegistry) -> None:
    """An answer from the cache is streamed with reasoning, images and sources, and callbacks see the run."""
    source = nbchat.Source(title="Seine", url="https://example.org")
    image = ImageDelta("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "dot.gif")
    provider = Cacheable(ReasoningDelta("Hm…"), "The Seine. " * 1000, image, SourceDelta(source))
    first = registry.create("one", model="m", provider=provider)
    first.ask(QUESTION, cache=True, timeout=120)
    second = registry.create("two", model="m", provider=provider)
    states: list[str | None] = []
    deltas: list[str] = []
    for event in ("transition", "end"):
        second.on(event, lambda notification: states.append(notification.state))
    second.on("delta", lambda event: deltas.append(event.text))
    answer = second.ask(QUESTION, cache=True, timeout=120)
    assert drain_callbacks(registry)
    assert [part.text for part in answer.parts] == [part.text for part in first.messages[-1].parts]
    assert [part.type for part in answer.parts] == ["reasoning", "text", "image"]
    assert answer.sources == (source,)
    assert "".join(deltas) == "Hm…" + "The Seine. " * 1000
    assert states == ["connecting", "streaming", "completed"]
    assert len(provider.requests) == 1


def test_without_cache_nothing_is_kept(
    registry: SessionRegistry, server: LimitedServer, client: Client, folder: Path
) -> None:
    """Answers of questions without `cache=True` are not stored, and such questions are always sent."""
    session = registry.create("one", model="m", provider=client())
    session.ask(QUESTION, timeout=120)
    assert not folder.exists()
    registry.create("two", model="m", provider=client()).ask(QUESTION, cache=True, timeout=120)
    run = registry.create("three", model="m", provider=client()).send(QUESTION).wait(120)
    assert not run.from_cache
    assert server.asked[QUESTION] == 3


DIFFERENCES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "model": ({"model": "other"}, {}),
    "instructions": ({"instructions": "Answer briefly."}, {}),
    "parameters of the session": ({"params": {"temperature": 0.5}}, {}),
    "parameters of the question": ({}, {"temperature": 0.5}),
    "schema": ({}, {"schema": {"type": "object"}}),
    "attachment": ({}, {"attachments": [("a.txt", "text")]}),
    "context": ({}, {"context": {"x": 1}}),
}


def test_a_header_of_the_request_counts_unless_it_is_a_credential(registry: SessionRegistry) -> None:
    """Requests with different values of a header are different; the value of a credential does not count."""
    provider = Cacheable("The Seine.")

    def ask(**headers: str) -> bool:
        session = registry.create(model="m", provider=provider)
        return session.send("?", cache=True, params={"extra_headers": headers}).wait(120).from_cache

    assert [ask(deployment=name, token=name) for name in ("blue", "green", "blue")] == [False, False, True]
    assert ask(deployment="blue", token="another")
    assert len(provider.requests) == 2


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_different_request_is_sent(registry: SessionRegistry, difference: str) -> None:
    """A request that differs in anything that its answer depends on is sent."""
    provider = Cacheable('{"river": "Seine"}')
    settings, options = DIFFERENCES[difference]
    registry.create("one", model="m", provider=provider).ask(QUESTION, cache=True, timeout=120)
    assert len(provider.requests) == 1
    other = registry.create("two", **{"model": "m", **settings}, provider=provider)
    assert not other.send(QUESTION, cache=True, **options).wait(120).from_cache
    assert len(provider.requests) == 2
    again = registry.create("three", **{"model": "m", **settings}, provider=provider)
    assert again.send(QUESTION, cache=True, **options).wait(120).from_cache


def test_servers_do_not_share_answers(
    registry: SessionRegistry, server: LimitedServer, client: Client
) -> None:
    """Answers of another server, API name or header of the same model are not used; another key's are."""
    with LimitedServer() as other:
        clients = [
            client(),
            client(base_url=other.base_url),
            client(name="named"),
            client(headers={"X-Deployment": "blue"}),
        ]
        for number, provider in enumerate(clients):
            session = registry.create(f"session {number}", model="m", provider=provider)
            assert not session.send(QUESTION, cache=True).wait(120).from_cache
        assert (server.asked[QUESTION], other.asked[QUESTION]) == (3, 1)
    same = registry.create("same", model="m", provider=client(api_key="another"))
    assert same.send(QUESTION, cache=True).wait(120).from_cache


def test_only_completed_answers_are_kept(
    registry: SessionRegistry, server: LimitedServer, client: Client, folder: Path
) -> None:
    """An answer that was stopped in the middle is not stored, and the next equal question is sent."""
    server.hold_after(0)
    session = registry.create("geo", model="m", provider=client())
    run = session.send(QUESTION, cache=True)
    wait_for(lambda: run.text != "", "the text")
    run.stop()
    assert run.wait(120).state == "stopped"
    server.hold_after(None)
    assert not folder.exists()
    assert not session.retry().wait(120).from_cache
    assert server.asked[QUESTION] == 2
    other = registry.create("other", model="m", provider=client())
    assert other.send(QUESTION, cache=True).wait(120).from_cache


@pytest.mark.parametrize(
    ("steps", "finish"),
    [
        (("The Sei",), "length"),
        (("The Sei",), None),
        (("The Seine.", Notice("A field was not sent.", shown=True)), "stop"),
        ((), "stop"),
    ],
    ids=["truncated", "cut off", "notice", "empty"],
)
def test_irregular_answers_are_not_kept(
    registry: SessionRegistry, folder: Path, steps: tuple[Step, ...], finish: str | None
) -> None:
    """An answer that is truncated, cut off, empty or has a notice is not stored."""
    provider = Cacheable(*steps, finish=finish)
    registry.create("one", model="m", provider=provider).send(QUESTION, cache=True).wait(120)
    assert not folder.exists()


def test_regenerate_asks_the_server_and_replaces_the_answer(registry: SessionRegistry) -> None:
    """`regenerate` always sends, and its answer is the one that later equal questions get."""
    answers = iter(["first", "second"])
    provider = Cacheable(lambda _request: [next(answers)])
    session = registry.create("one", model="m", provider=provider)
    session.ask(QUESTION, cache=True, timeout=120)
    again = session.regenerate().wait(120)
    assert (again.text, again.from_cache) == ("second", False)
    other = registry.create("two", model="m", provider=provider).send(QUESTION, cache=True).wait(120)
    assert (other.text, other.from_cache) == ("second", True)


def test_a_corrected_answer_is_kept(registry: SessionRegistry) -> None:
    """For a question with a schema the corrected answer is stored; the one that does not match is not."""

    def script(request: Request) -> list[Step]:
        return ["nothing" if len(request.messages) == 1 else '{"river": "Seine"}']

    schema = {"type": "object", "properties": {"river": {"type": "string"}}, "required": ["river"]}
    provider = Cacheable(script)
    for name, requests in (("one", 2), ("two", 2)):
        session = registry.create(name, model="m", provider=provider)
        answer = session.ask(QUESTION, schema=schema, cache=True, timeout=120)
        assert answer.data == {"river": "Seine"}
        assert len(provider.requests) == requests
    assert SCHEMA not in provider.requests[0].params


def test_requests_with_tools_are_not_cached(
    registry: SessionRegistry, server: LimitedServer, client: Client, folder: Path
) -> None:
    """A question of a session with tools is sent each time, and a notice of the answer gives the reason."""

    @nbchat.tool(ask=False)
    def level() -> int:
        """Return the water level."""
        return 3

    for name in ("one", "two"):
        session = registry.create(name, model="m", provider=client(), tools=[level])
        session.ask(QUESTION, cache=True, timeout=120)
        assert session.messages[-1].notices == ("The cache was not used: the request has tools.",)
    assert server.asked[QUESTION] == 2
    assert not folder.exists()


def test_a_provider_without_an_identity_is_not_cached(registry: SessionRegistry, folder: Path) -> None:
    """Answers of a provider object without `cache_scope` are not stored, and a notice gives the reason."""
    provider = ScriptedProvider("The Seine.")
    session = registry.create("geo", model="m", provider=provider)
    answer = session.ask(QUESTION, cache=True, timeout=120)
    assert answer.notices == ("The cache was not used: it does not support the provider 'scripted'.",)
    assert not folder.exists()


def test_private_mode_has_no_cache(registry: SessionRegistry, folder: Path) -> None:
    """While nothing may be written outside the notebook, answers are not stored, and a notice tells so."""
    engine_of(registry).is_private = True
    session = registry.create("geo", model="m", provider=Cacheable("The Seine."))
    answer = session.ask(QUESTION, cache=True, timeout=120)
    assert answer.notices == ("The cache was not used: nothing is written outside the notebook.",)
    assert not folder.exists()


def test_the_file_holds_no_credentials_and_no_question(
    registry: SessionRegistry, server: LimitedServer, client: Client, folder: Path
) -> None:
    """Keys, secret headers, passwords in the URL and the question are not in the files of the cache."""
    secrets = ("canary-key", "canary-header", "canary-password", "canary-extra")
    url = server.base_url.replace("http://", "http://user:canary-password@")
    provider = client(base_url=url, api_key="canary-key", headers={"X-Api-Key": "canary-header"})
    session = registry.create("geo", model="m", provider=provider)
    session.ask("Seine?", cache=True, timeout=120, params={"extra_headers": {"X-Token": "canary-extra"}})
    files = list(folder.iterdir())
    assert files
    for path in files:
        contents = path.read_bytes()
        assert b"SEINE?" in contents
        assert b"Seine?" not in contents
        assert not any(secret.encode() in contents for secret in secrets)


def test_a_retried_answer_may_come_from_the_cache(registry: SessionRegistry) -> None:
    """`retry` of a question that was asked with `cache=True` uses the cache as the question did."""
    slow = Cacheable("The Sei", PAUSE)
    session = registry.create("one", model="m", provider=slow)
    run = session.send(QUESTION, cache=True)
    wait_for(lambda: run.text != "", "the text")
    run.stop()
    run.wait(120)
    registry.create("two", model="m", provider=Cacheable("The Seine.")).ask(QUESTION, cache=True, timeout=120)
    again = session.retry().wait(120)
    assert (again.text, again.from_cache) == ("The Seine.", True)


def test_a_snapshot_has_the_origin_of_an_answer(registry: SessionRegistry) -> None:
    """`run.from_cache` survives a snapshot."""
    provider = Cacheable("The Seine.")
    for name in ("one", "two"):
        registry.create(name, model="m", provider=provider).ask(QUESTION, cache=True, timeout=120)
    saved = registry.snapshot()
    other = SessionRegistry()
    try:
        other.restore(saved)
        assert [other[name].runs[-1].from_cache for name in ("one", "two")] == [False, True]
        assert other["two"].cost == 0
    finally:
        other.shutdown()


def test_clear_cache_removes_all_answers(registry: SessionRegistry) -> None:
    """After `nbchat.clear_cache()` an equal question is sent again."""
    provider = Cacheable("The Seine.")
    registry.create("one", model="m", provider=provider).ask(QUESTION, cache=True, timeout=120)
    assert nbchat.clear_cache() == 1
    other = registry.create("two", model="m", provider=provider)
    assert not other.send(QUESTION, cache=True).wait(120).from_cache
    assert len(provider.requests) == 2


def test_cache_is_an_argument_and_not_a_parameter(registry: SessionRegistry) -> None:
    """`cache` must be a bool, and is refused where no question is asked."""
    session = registry.create("geo", model="m", provider=Cacheable("The Seine."))
    with pytest.raises(TypeError, match="cache must be True or False"):
        session.send(QUESTION, cache="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"it is an argument of send\(\), ask\(\) and map\(\)"):
        nbchat.session("other", cache=True)
    with pytest.raises(ValueError, match="use cache=True"):
        session.send(QUESTION, params={"nbchat_cache": True})
