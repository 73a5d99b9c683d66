"""OpenAIProvider: servers, keys, connections, requests and errors."""

import asyncio
import copy
import gc
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nbchat.core import errors
from nbchat.core.messages import Message, TextPart
from nbchat.providers.base import Answering, Provider, Request, TextDelta, Timeouts
from nbchat.providers.openai import OpenAIProvider
from tests.providers.conftest import ask, hear
from tests.providers.fault_server import ECHOED_KEY, TEXT, TLS, FaultServer, chunk, event, fault, say

OPEN_FILES = Path("/proc/self/fd")
KEY = "sk-proj-live-0123456789-abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Set a key in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return KEY


def closed_port() -> int:
    """Return a port of loopback without a listener."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_it_is_a_provider() -> None:
    """`OpenAIProvider` implements the `Provider` protocol."""
    assert isinstance(OpenAIProvider(), Provider)


def test_importing_it_is_cheap() -> None:
    """Neither the openai client nor an HTTP library is imported before the first run."""
    code = (
        "import sys, nbchat.providers.openai as _; print({'openai', 'httpx2', 'pydantic'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Servers and keys


async def test_the_environment_is_read_at_each_run(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key or URL that is set in a later cell is used by the next run of the same provider."""
    provider = OpenAIProvider()
    first = await hear(provider, ask("ok"))
    assert isinstance(first.error, errors.AuthenticationFailed)
    assert "OPENAI_API_KEY" in str(first.error)
    monkeypatch.setenv("OPENAI_BASE_URL", f" {server.base_url}/ ")
    for value in ("one-key", "other-key"):
        monkeypatch.setenv("OPENAI_API_KEY", f"{value}\n")
        assert (await hear(provider, ask("ok"))).text == TEXT
        assert server.requests[-1].headers["authorization"] == f"Bearer {value}"
    assert provider.name == f"127.0.0.1:{server.port}"
    assert server.connections == 1
    await provider.aclose()


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({}, "Bearer none"),
        ({"api_key": "mine"}, "Bearer mine"),
        ({"api_key": lambda: "asked-for"}, "Bearer asked-for"),
        ({"api_key": "mine", "headers": {"authorization": "Token x"}}, "Token x"),
    ],
)
async def test_the_key_comes_from_where_it_is_given(
    arguments: dict[str, Any], sent: str, server: FaultServer
) -> None:
    """Arguments take precedence over the environment; a local server needs no key."""
    provider = OpenAIProvider(server.base_url, **arguments)
    assert (await hear(provider, ask("ok"))).error is None
    assert server.requests[-1].headers["authorization"] == sent
    await provider.aclose()


async def test_the_function_that_gives_the_key_does_not_hold_the_loop(server: FaultServer) -> None:
    """A function that returns the key is called in a thread, at each run."""
    threads = []

    def give() -> str:
        threads.append(threading.current_thread())
        return "k"

    provider = OpenAIProvider(server.base_url, give)
    await hear(provider, ask("ok"))
    await hear(provider, ask("ok"))
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    await provider.aclose()


def fail() -> str:
    """Raise, as a locked keyring does."""
    raise LookupError(KEY)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"api_key": "sk with spaces"}, errors.AuthenticationFailed),
        ({"api_key": "sk-ключ"}, errors.AuthenticationFailed),
        ({"api_key": fail}, errors.AuthenticationFailed),
        ({"api_key": lambda: 5}, errors.ConfigError),
        ({"base_url": "localhost:8000/v1"}, errors.ConfigError),
        ({"base_url": "ftp://localhost/v1"}, errors.ConfigError),
        ({"base_url": "http://"}, errors.ConfigError),
        ({"base_url": "http://h:99999/v1"}, errors.ConfigError),
        ({"base_url": "http://[::1/v1"}, errors.ConfigError),
        ({"base_url": "http://h/v1#a"}, errors.ConfigError),
        ({"base_url": "http://user:hunter22@h/v1#a"}, errors.ConfigError),
        ({"base_url": "user:hunter22@h.example/v1"}, errors.ConfigError),
        ({"base_url": "https://api.openai.com/v1"}, errors.AuthenticationFailed),
    ],
)
async def test_invalid_settings_are_reported_before_anything_is_sent(
    arguments: dict[str, Any], error: type[errors.ProviderError]
) -> None:
    """An invalid setting raises an error with a hint and without the secrets in its value."""
    heard = await hear(OpenAIProvider(**arguments), ask("ok"))
    assert type(heard.error) is error
    assert heard.error.hint
    assert heard.error.retryable is False
    assert "hunter22" not in str(heard.error)
    assert "spaces" not in str(heard.error)


def test_an_unknown_api_is_refused_at_once() -> None:
    """A wrong `api` argument raises in the constructor."""
    with pytest.raises(errors.ConfigError, match="'auto', 'chat' or 'responses'"):
        OpenAIProvider(api="completions")  # type: ignore[arg-type]


# Failed connections


async def test_a_refused_connection_is_reported() -> None:
    """If no program listens on the port, the error names the server and the refused connection."""
    port = closed_port()
    error = (await hear(OpenAIProvider(f"http://127.0.0.1:{port}/v1"), ask("ok"))).error
    assert type(error) is errors.ConnectFailed
    assert str(error).startswith(f"127.0.0.1:{port} refused the connection")
    assert (error.stage, error.retryable) == ("connect", True)


async def test_an_unknown_host_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """If DNS does not resolve the host, the error names it."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = (await hear(OpenAIProvider("http://models.example/v1"), ask("ok"))).error
    assert type(error) is errors.ConnectFailed
    assert "the name models.example is not known" in str(error)


@pytest.mark.parametrize(("certificate", "reason"), [("own.pem", "self-signed"), ("expired.pem", "expired")])
async def test_certificates_are_checked(
    certificate: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrusted or expired certificate ends the connection; no setting disables the check."""
    if reason == "expired":
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / certificate))
    async with FaultServer(certificate) as server:
        error = (await hear(OpenAIProvider(server.base_url), ask("ok"))).error
        assert server.requests == []
    assert type(error) is errors.ConnectFailed
    assert "certificate is not valid" in str(error)
    assert reason in str(error)
    assert error.retryable is False


async def test_a_certificate_of_ones_own_is_trusted_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`SSL_CERT_FILE`, read at each run like the rest of the environment, makes a private server trusted."""
    async with FaultServer("own.pem") as server:
        provider = OpenAIProvider(server.base_url)
        assert (await hear(provider, ask("ok"))).error is not None
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "own.pem"))
        assert (await hear(provider, ask("ok"))).text == TEXT
        await provider.aclose()


async def test_a_server_without_tls_is_reported(server: FaultServer) -> None:
    """The error for a plain server behind an https URL differs from that for a broken server."""
    url = server.base_url.replace("http:", "https:")
    error = (await hear(OpenAIProvider(url), ask("ok", timeouts=Timeouts(connect_s=0.3)))).error
    assert type(error) is errors.ConnectFailed
    assert "TLS" in str(error) or "within the time limit" in str(error)


@pytest.mark.parametrize(
    ("variable", "scheme"), [("HTTP_PROXY", "http"), ("https_proxy", "https"), ("ALL_PROXY", "http")]
)
async def test_a_dead_proxy_is_named_by_its_variable(
    variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names the variable and never contains its value."""
    monkeypatch.setenv(variable, f"http://user:hunter22@127.0.0.1:{closed_port()}")
    error = (await hear(OpenAIProvider(f"{scheme}://models.example/v1"), ask("ok"))).error
    assert type(error) is errors.ConnectFailed
    assert variable in error.hint
    assert error.retryable is False
    assert "hunter22" not in f"{error}{error.__cause__}"


@pytest.mark.parametrize("value", ["ftp://x", "socks5://127.0.0.1:1", "http://:@:"])
async def test_an_invalid_proxy_is_named_by_its_variable(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an invalid proxy names the variable, without its value."""
    monkeypatch.setenv("HTTP_PROXY", value)
    error = (await hear(OpenAIProvider("http://models.example/v1"), ask("ok"))).error
    assert type(error) is errors.ConnectFailed
    assert str(error).startswith("HTTP_PROXY ")
    assert value not in str(error)
    assert error.retryable is False


async def test_a_proxy_that_requires_a_password_is_reported(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 407 is a failed connection, and is not retried."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    provider = OpenAIProvider("http://models.example/v1")
    error = (await hear(provider, ask("status-407"))).error
    assert type(error) is errors.ConnectFailed
    assert "HTTP_PROXY" in error.hint
    assert server.requests[-1].target.startswith("http://models.example/")
    await provider.aclose()


# Secrets


async def test_the_key_is_in_nothing_that_is_shown(key: str, server: FaultServer) -> None:
    """The key is in no representation of the provider or of its attributes, and in no error or its causes."""

    @fault("echo", "section 5", error=errors.RequestRejected)
    async def _(wire: Any) -> None:
        await wire.refuse("400 Bad Request", {"error": {"message": f"{wire.seen.headers} {key}"}})

    opening = {"X-Api-Key": "no-known-shape-1", "Authorization": f"Bearer {key}"}
    for arguments in ({}, {"api_key": key}, {"headers": opening}):
        provider = OpenAIProvider(server.base_url, **arguments)  # type: ignore[arg-type]
        heard = await hear(provider, ask("echo"))
        assert heard.error is not None
        shown = "".join(traceback.format_exception(heard.error))
        shown += f"{provider!r}{vars(provider)}{heard.error.info}"
        shown += "".join([f"{vars(client)}" for client in provider._clients.values()])
        assert key[8:20] not in shown
        assert "no-known-shape-1" not in shown
        await provider.aclose()


async def test_a_user_in_the_url_is_not_shown(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    """User and password in a base URL are used, and are in no name, message or log."""
    caplog.set_level("DEBUG")
    url = server.base_url.replace("://", "://someone:hunter22@")
    provider = OpenAIProvider(url)
    heard = await hear(provider, ask("status-500"))
    assert "hunter22" not in f"{heard.error}{provider!r}{vars(provider)}{provider.name}"
    assert provider.name == f"127.0.0.1:{server.port}"
    assert server.requests[-1].headers["authorization"] == "Basic c29tZW9uZTpodW50ZXIyMg=="
    assert "hunter22" not in caplog.text
    await provider.aclose()


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_provider_is_not_pickled(act: Any) -> None:
    """Pickling is refused, because a pickle would contain connections and keys."""
    with pytest.raises(errors.PicklingRefused):
        act(OpenAIProvider(api_key=KEY))


# Connections


async def test_connections_are_used_again(server: FaultServer, provider: OpenAIProvider) -> None:
    """Consecutive runs share a connection, also after an error status."""
    for model in ("ok", "status-429", "with-length", "ok", "whole-json", "gzip"):
        await hear(provider, ask(model))
    assert server.connections == 1


async def test_runs_side_by_side_share_nothing_but_the_provider(
    server: FaultServer, provider: OpenAIProvider
) -> None:
    """A hundred concurrent streams each get their own answer."""
    models = ["ok", "status-500", "no-finish", "byte-by-byte"] * 25
    all_heard = await asyncio.gather(*(hear(provider, ask(model, str(i))) for i, model in enumerate(models)))
    assert [heard.text for heard in all_heard] == [TEXT, "", TEXT, TEXT] * 25
    assert {r.body["messages"][-1]["content"] for r in server.requests} == {str(i) for i in range(100)}


async def test_a_provider_serves_several_loops(provider: OpenAIProvider) -> None:
    """Loops in other threads use one provider concurrently; closing it there closes nothing here."""

    async def listen() -> str:
        text = (await hear(provider, ask("byte-by-byte"))).text
        await provider.aclose()
        return text

    assert (await hear(provider, ask("ok"))).text == TEXT
    assert await asyncio.gather(*(asyncio.to_thread(asyncio.run, listen()) for _ in range(3))) == [TEXT] * 3
    assert len(provider._clients) == 1


async def test_a_closed_provider_can_be_used_again(server: FaultServer, provider: OpenAIProvider) -> None:
    """Closing a provider only closes its idle connections."""
    await hear(provider, ask("ok"))
    await provider.aclose()
    await server.until(lambda s: s.open == 0)
    assert (await hear(provider, ask("ok"))).text == TEXT


async def test_a_closed_kept_connection_is_not_reused(server: FaultServer, provider: OpenAIProvider) -> None:
    """A kept connection that the server has closed is not used."""
    await hear(provider, ask("ok"))
    for task in server.tasks:
        task.cancel()
    await server.until(lambda s: s.open == 0)
    assert (await hear(provider, ask("ok"))).text == TEXT


@contextmanager
def open_files() -> Iterator[None]:
    """Assert that no more files are open afterwards than before."""
    gc.collect()  # garbage of earlier tests would be closed in between
    before = len(list(OPEN_FILES.iterdir()))
    yield
    gc.collect()
    assert len(list(OPEN_FILES.iterdir())) <= before


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="file descriptors are counted in /proc")
async def test_nothing_is_left_open(server: FaultServer, provider: OpenAIProvider) -> None:
    """After many streams of all kinds, finished or abandoned, no socket and no task is left."""
    await hear(provider, ask("ok"))
    await provider.aclose()
    await server.until(lambda s: s.open == 0)
    tasks = asyncio.all_tasks()
    with open_files():
        for _ in range(10):
            for model in ("ok", "reset", "status-500", "gzip-lie", "no-finish"):
                await hear(provider, ask(model))
            async with aclosing(provider.stream(ask("endless"))) as stream:
                async for delta in stream:
                    if isinstance(delta, TextDelta):
                        break
        await provider.aclose()
        await server.until(lambda s: s.open == 0)
    assert asyncio.all_tasks() <= tasks


# Requests


async def test_usage_is_requested_and_parameters_are_sent(
    server: FaultServer, provider: OpenAIProvider
) -> None:
    """Parameters are sent by their names, known to the client or not; the context is the request's."""
    messages = (
        Message(id="1", role="user", parts=(TextPart(text="a"),)),
        Message(id="2", role="assistant", parts=(TextPart(text="b"),)),
        Message(id="3", role="user", parts=(TextPart(text="ü\ud800"),)),
    )
    params = {"temperature": 0.5, "top_k": 3, "extra_body": {"min_p": 0.1}, "stream": False, "seed": None}
    await hear(provider, Request(messages=messages, model="ok", instructions="Be brief.", params=params))
    assert server.requests[-1].body == {
        "model": "ok",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "ü\ufffd"},
        ],
    }


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, "\ud800"])
async def test_parameters_that_are_not_json_are_reported(
    value: object, server: FaultServer, provider: OpenAIProvider
) -> None:
    """Parameters that cannot be written as JSON raise an error, and nothing is sent."""
    error = (await hear(provider, ask("ok", params={"temperature": value}))).error
    assert type(error) is errors.RequestRejected
    assert "params" in error.hint
    assert server.requests == []


QUIRKS = [
    ({}, "Unknown parameter: 'stream_options'.", "stream_options", None),
    ({"max_tokens": 5}, "Use 'max_completion_tokens' instead.", "max_tokens", "max_completion_tokens"),
    ({"max_completion_tokens": 5}, "Extra: max_completion_tokens", "max_completion_tokens", "max_tokens"),
]
"""Parameters, the server's error, the field it refers to, and the field it accepts instead."""


@pytest.mark.parametrize("quirk", QUIRKS)
async def test_a_field_that_is_refused_is_left_out(
    quirk: tuple[dict[str, Any], str, str, str | None], server: FaultServer, provider: OpenAIProvider
) -> None:
    """A request is retried once without the field that the server rejects, and the result is cached."""
    params, message, refused, instead = quirk

    @fault("quirk", "provider-facts")
    async def _(wire: Any) -> None:
        if refused in wire.seen.body:
            await wire.refuse("400 Bad Request", {"error": {"message": message}})
        else:
            await wire.stream(say(TEXT), chunk(None, "stop"))

    for requests in (2, 3):
        heard = await hear(provider, ask("quirk", params=params))
        assert (heard.text, heard.error) == (TEXT, None)
        assert len(server.requests) == requests
    body = server.requests[-1].body
    assert refused not in body
    assert instead is None or body[instead] == 5


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_server_that_refuses_everything_is_asked_no_more_than_needed(
    name: str, server: FaultServer, provider: OpenAIProvider
) -> None:
    """If a server keeps rejecting the same fields, the requests end after each field was tried once."""

    @fault("stubborn", "quirk")
    async def _(wire: Any) -> None:
        message = "stream_options max_tokens max_completion_tokens background store"
        await wire.refuse("400 Bad Request", {"error": {"message": message}})

    heard = await hear(provider, ask("stubborn", params={name: 5}))
    assert type(heard.error) is errors.RequestRejected
    assert len(server.requests) <= 4


async def test_the_first_listed_model_answers_where_none_is_named(
    server: FaultServer, provider: OpenAIProvider
) -> None:
    """Without a model, the server's first one is used and reported."""
    models = await provider.models()
    heard = await hear(provider, ask(None))
    assert heard.deltas[0] == Answering(models[0])
    assert server.requests[-1].model == models[0]


async def test_a_response_without_models_is_reported() -> None:
    """An answer that is not a list of models is reported as such."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n<h1>!</h1")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as plain:
        provider = OpenAIProvider(f"http://127.0.0.1:{plain.sockets[0].getsockname()[1]}/v1")
        with pytest.raises(errors.ProtocolError, match="something else than a list of models"):
            await provider.models()
        await provider.aclose()


async def test_the_loop_is_free_while_the_client_is_imported(server: FaultServer) -> None:
    """The first run does not block the loop while the openai client is imported."""
    code = f"""
import asyncio, threading
from nbchat.providers.openai import OpenAIProvider
from tests.providers.conftest import ask, hear
import importlib
threads = []
real = importlib.import_module
def spy(name, *more, **and_more):
    if name == "nbchat.providers.transport":
        threads.append(threading.current_thread() is threading.main_thread())
    return real(name, *more, **and_more)
importlib.import_module = spy
async def main():
    provider = OpenAIProvider({server.base_url!r})
    print((await hear(provider, ask("ok"))).finish, threads)
    await provider.aclose()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().strip() == "stop [False]"


async def test_events_that_hold_the_echoed_key_are_redacted(provider: OpenAIProvider) -> None:
    """The text of an error event is shown with the key redacted."""
    error = (await hear(provider, ask("error-object"))).error
    assert error is not None
    assert "It broke" in str(error)
    assert ECHOED_KEY not in str(error)
    assert event({}) == b"data: {}\n\n"
