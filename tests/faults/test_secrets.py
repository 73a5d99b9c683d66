"""Secrets and sinks: keys of every shape, and every place where one could be visible."""

import asyncio
import copy
import importlib
import io
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nbchat
from nbchat.core import errors
from nbchat.core.redact import redact
from nbchat.core.secret import Secret
from nbchat.core.values import encode_json
from nbchat.engine.logs import Redacting
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import ScriptedProvider
from nbchat.wire.server import WireServer
from tests.engines import drain_callbacks, engine_of, live
from tests.faults.invariants import slots
from tests.waiting import wait_for

SHAPES = {
    "openai": "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF",
    "openai project": "sk-proj-AbCdEf0123456789_AbCdEf0123456789-xyz",
    "anthropic": "sk-ant-api03-AbCdEf0123456789AbCdEf0123456789",
    "google": "AIzaSyA0123456789abcdefghijklmnopqrstuv",
    "groq": "gsk_0123456789abcdefghijklmnopqrstuvwxyzABCD",
    "hugging face": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "xai": "xai-0123456789abcdefghijklmnopqrstuvwxyz",
    "github": "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB",
    "github fine": "github_pat_11ABCDEFG0123456789_abcdefghijklmnop",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "without a shape": "correct-horse-battery-staple-4711",
}
"""The last one is found only by its value, while it is in use."""


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a key that is in use: the one in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", request.param)
    return str(request.param)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return the output of a handler on the root logger."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("nbchat")
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    ours.setLevel(level)


@contextmanager
def serving(registry: SessionRegistry, answer: Callable[[str], bytes]) -> Iterator[str]:
    """Answer requests on the registry's loop; yield the URL of the API.

    A client of another process can connect too, whose server had this port before: clients of kernels try
    again for a long time. What is no request has no effect.

    Parameters
    ----------
    answer
        Takes the head of a request, and returns the response.
    """
    handlers: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            writer.write(answer((await reader.readuntil(b"\r\n\r\n")).decode()))
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            handlers.discard(task)
            writer.close()

    loop = engine_of(registry).loop
    server = loop.run(asyncio.start_server(handle, "127.0.0.1", 0), 10)

    def end() -> None:
        server.close()
        for task in handlers:
            task.cancel()

    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call(end)


def refusal(head: str) -> bytes:
    """Return a response with 401 that echoes the key in the body and in a header, as some servers do."""
    sent = next(line for line in head.splitlines() if line.lower().startswith("authorization:"))
    key = sent.split()[-1]
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}})
    return (
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n"
        f"x-request-id: req_{key}\r\nx-echo: {sent}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()


@pytest.fixture
def refusing(registry: SessionRegistry) -> Iterator[str]:
    """Return the URL of a server that refuses each key."""
    with serving(registry, refusal) as url:
        yield url


@pytest.fixture
def echoing(registry: SessionRegistry) -> Iterator[tuple[str, list[str]]]:
    """Return the URL of a server that rejects requests with their heads, and the heads so far."""
    seen: list[str] = []

    def echo(head: str) -> bytes:
        seen.append(head)
        body = json.dumps({"error": {"message": head}})
        return (
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()

    with serving(registry, echo) as url:
        yield url, seen


@pytest.mark.parametrize("typed", SHAPES.values(), ids=SHAPES.keys())
def test_a_key_typed_into_a_page_is_seen_nowhere(
    registry: SessionRegistry, log: io.StringIO, refusing: str, typed: str
) -> None:
    """A key typed into a page is sent to its server only; no packet, snapshot, log or error contains it."""
    packets: list[bytes] = []
    wire = engine_of(registry).loop.call(
        WireServer, engine_of(registry), lambda _content, buffers: packets.extend(buffers)
    )
    connect = {
        "type": "connect",
        "page": "p",
        "epoch": engine_of(registry).epoch,
        "base_url": refusing,
        "api_key": typed,
    }
    answered = []
    for action in ("models", "test", "use"):
        wire.receive({**connect, "id": f"ask_{action}", "action": action, "model": "m"})
        answered.append(f'"ask_{action}"'.encode())
    # Messages that are not in the protocol are logged as refused.
    wire.receive({**connect, "id": "ask_4", "action": typed})
    wire.receive({**connect, "id": "ask_5", "action": "use", "model": 1})
    wait_for(lambda: all(one in b"".join(packets) for one in answered), "the answers")
    wait_for(lambda: registry.stats()["wire_errors"] == 2, "the refusals")
    run = registry.create("a title").send("question").wait(20)
    assert type(run.error) is errors.AuthenticationFailed
    sources = engine_of(registry).providers
    sinks = {
        "repr": repr([registry, run, run.error, sources.defaults, nbchat.config()]),
        "vars": repr([vars(registry), vars(sources), vars(sources.defaults), vars(wire)]),
        "traceback": "".join(traceback.format_exception(run.error)),
        "wire": b"".join(packets).decode(),
        "snapshot": json.dumps(registry.snapshot()),
        "log": log.getvalue(),
    }
    assert [name for name, text in sinks.items() if typed in text] == []
    engine_of(registry).loop.call(wire.close)


def test_a_key_is_seen_nowhere(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, log: io.StringIO, refusing: str, key: str
) -> None:
    """If a server refuses the key and echoes it, no sink contains it, whatever its shape."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    provider = OpenAIProvider(refusing)
    packets: list[bytes] = []
    wire = engine_of(registry).loop.call(
        WireServer, engine_of(registry), lambda _content, buffers: packets.extend(buffers)
    )
    session = registry.create("a title", provider=provider, model="m")
    told: list[Any] = []
    registry.on("end", told.append)
    run = session.send("question").wait(20)
    assert type(run.error) is errors.AuthenticationFailed
    assert drain_callbacks(registry)
    wait_for(lambda: b"authentication_failed" in b"".join(packets), "the page was told")

    sinks = {
        "repr": repr([registry, session, run, provider, run.error, run.message, told]),
        "str": str([registry, session, run, provider, str(run.error)]),
        "vars": repr([vars(provider), vars(session), vars(registry), vars(engine_of(registry).providers)]),
        "error": repr(encode_json(run.error.info)),
        "traceback": "".join(traceback.format_exception(run.error)),
        "wire": b"".join(packets).decode(),
        "snapshot": json.dumps(registry.snapshot()),
        "events": repr(live(session).record.log.read_from(0)),
        "stats": repr(registry.stats()),
        "log": log.getvalue(),
        "markdown": session.export("md"),
        "html": session.export("html"),
        "jsonl": session.export("jsonl"),
    }
    for sink, text in sinks.items():
        assert key not in text, sink
        assert key[4:] not in text, f"{sink} shows most of it"
    engine_of(registry).loop.call(wire.close)
    engine_of(registry).loop.run(provider.aclose(), 10)
    assert slots(registry) == (0, 0)


def test_a_header_of_the_params_is_sent_and_seen_nowhere(
    registry: SessionRegistry, log: io.StringIO, echoing: tuple[str, list[str]], key: str
) -> None:
    """The value of an extra header reaches the server and no sink."""
    url, seen = echoing
    provider = OpenAIProvider(url, api_key="another-key")
    packets: list[bytes] = []
    wire = engine_of(registry).loop.call(
        WireServer, engine_of(registry), lambda _content, buffers: packets.extend(buffers)
    )
    params = {"extra_headers": {"X-Team": key, "Authorization": f"Bearer {key}"}, "extra_query": {"key": key}}
    session = registry.create("a title", provider=provider, model="m", params=params)
    run = session.send("question").wait(20)
    assert type(run.error) is errors.RequestRejected
    assert seen[0].count(key) == 3
    wait_for(lambda: b"request_rejected" in b"".join(packets), "the page was told")
    snapshot = registry.snapshot()
    sinks = {
        "repr": repr([session, run, run.error, run.request, session.params, session.snapshot()]),
        "error": f"{encode_json(run.error.info)!r}{''.join(traceback.format_exception(run.error))}",
        "wire": b"".join(packets).decode(),
        "snapshot": json.dumps(snapshot),
        "events": repr(live(session).record.log.read_from(0)),
        "log": log.getvalue(),
        "markdown": session.export("md"),
        "jsonl": session.export("jsonl"),
    }
    for sink, text in sinks.items():
        assert key not in text, sink
    assert '"X-Team": "[secret ' in json.dumps(snapshot)
    engine_of(registry).loop.call(wire.close)
    engine_of(registry).loop.run(provider.aclose(), 10)


def test_a_key_in_an_exception_is_not_logged(registry: SessionRegistry, log: io.StringIO, key: str) -> None:
    """A key in an exception of a provider or a callback appears neither in the log nor in the page."""
    session = registry.create(provider=ScriptedProvider("x", RuntimeError(f"Authorization: Bearer {key}")))

    def careless(_event: object) -> None:
        raise ValueError(f"could not post with api_key={key}")

    session.on("end", careless)
    run = session.send("?").wait(10)
    assert drain_callbacks(registry)
    logged = log.getvalue()
    assert "RuntimeError" in logged
    assert "CallbackError" in logged
    assert key not in logged
    assert key not in repr(run.error)
    assert key not in json.dumps(registry.snapshot())
    assert key not in repr(live(session).record.log.read_from(0))


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_nothing_that_holds_a_key_is_copied_out(registry: SessionRegistry, take: Any, key: str) -> None:
    """Pickling a live object is refused with a clear error that contains no secret."""
    provider = OpenAIProvider("http://127.0.0.1:9/v1", api_key=key)
    session = registry.create(provider=provider)
    for thing in (registry, session, Secret(key)):
        with pytest.raises(errors.PicklingRefused) as refused:
            take(thing)
        assert key not in str(refused.value)


def test_the_log_is_redacted_by_shape_and_by_value(log: io.StringIO) -> None:
    """Messages, arguments and tracebacks are redacted, also of a shapeless secret while it is in use."""
    logger = logging.getLogger("nbchat")
    held = Secret("plain words only")
    for shape, secret in SHAPES.items():
        if shape != "without a shape":
            logger.warning("sent %s", secret, extra={"nbchat": {"run_id": "r-1"}})
            logger.warning("sent %(key)s", {"key": secret})
    logger.warning("it is %s", held.reveal())
    logger.warning("%d of them", "not a number")
    try:
        {}[SHAPES["openai"]]
    except KeyError:
        logger.exception("it broke")
    text = log.getvalue()
    assert "KeyError" in text
    assert "plain words only" not in text
    for shape, secret in SHAPES.items():
        if shape != "without a shape":
            assert secret not in text, shape


def test_every_module_logs_where_secrets_are_taken_out() -> None:
    """Every module logs through `nbchat`, whose filter redacts secrets; another logger would bypass it."""
    files = sorted(Path(nbchat.__file__).parent.rglob("*.py"))
    # A handler that writes nothing is added to loggers of libraries.
    named = re.findall(
        r"getLogger\(([^()]*)\)(?!\.addHandler\(logging\.NullHandler)",
        "\n".join(file.read_text() for file in files),
    )
    assert len(named) > 10
    assert set(named) == {'"nbchat"', '"httpx2"', '"nbchat.websockets"'}
    for name, module in {
        "httpx2": "nbchat.providers.transport",
        "nbchat.websockets": "nbchat.service.websocket",
    }.items():
        importlib.import_module(module)
        assert logging.getLogger(name).filters
        assert named.count(f'"{name}"') == 1


def test_log_records_have_the_id_of_the_run(
    registry: SessionRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler for structured logs gets the run's id as an attribute of the record."""
    run = registry.create(provider=ScriptedProvider("x", ZeroDivisionError())).send("?").wait(10)
    crash = next(record for record in caplog.records if "crashed" in record.getMessage())
    assert crash.nbchat == {"run_id": run.id}  # type: ignore[attr-defined]
    assert sum(isinstance(one, Redacting) for one in logging.getLogger("nbchat").filters) == 1


def test_redacting_twice_changes_nothing() -> None:
    """Redacting again changes nothing, and text without secrets is unchanged."""
    for secret in SHAPES.values():
        once = redact(f"a {secret} b", [SHAPES["without a shape"]])
        assert secret not in once
        assert redact(once, [SHAPES["without a shape"]]) == once
    plain = "The sky-high task is risk-free; basic authentication."
    assert redact(plain) is plain
