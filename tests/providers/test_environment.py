"""Proxies, certificates and headers of the environment, and base URLs of all kinds, in the provider."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import nbchat
from nbchat.core import errors, extras
from nbchat.core.redact import is_reference, without_references
from nbchat.core.secret import Secret
from nbchat.core.settings import patch
from nbchat.handles.registry import SessionRegistry
from nbchat.providers import discover, plugins
from nbchat.providers.endpoint import Endpoint, find_endpoint, is_loopback
from nbchat.providers.openai import OpenAIProvider
from tests.engines import engine_of
from tests.providers.conftest import ask, hear
from tests.providers.fault_server import TEXT, TLS, FaultServer, fault, read_request

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
SECRET = "correct-horse-battery-staple-4711"


def endpoint(url: str) -> Endpoint:
    """Return the endpoint of a URL, with any key."""
    return find_endpoint(url, "k", {})


# Proxies


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("proxy", ["http", "socks5h://127.0.0.1:1", "not a proxy"])
async def test_loopback_never_goes_through_a_proxy(
    variable: str, proxy: str, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server on this machine is connected to directly, whatever proxy the environment names."""
    async with FaultServer() as other:
        monkeypatch.setenv(variable, other.base_url.removesuffix("/v1") if proxy == "http" else proxy)
        for host in ("127.0.0.1", "localhost", "127.1"):
            provider = OpenAIProvider(server.base_url.replace("127.0.0.1", host))
            assert (await hear(provider, ask("ok"))).text == TEXT
            await provider.aclose()
        assert other.requests == []
    assert len(server.requests) == 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1", "http://[::1]:1/v1"])
def test_no_kind_of_loopback_url_has_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback URLs have no proxy, whether IPv4, IPv6 or https."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "http://proxy.example:3128")
    assert endpoint(url).proxy is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1")),
        *((host, True) for host in ("127.255.255.254", "127.1", "0.0.0.0", "::1", "::ffff:127.0.0.1", "::")),
        *(
            (host, False)
            for host in ("localhost.example", "10.0.0.1", "128.0.0.1", "::2", "notlocalhost", "")
        ),
    ],
)
def test_every_spelling_of_loopback_is_recognized(host: str, *, expected: bool) -> None:
    """All names and addresses of this machine, and no others, are recognized without a DNS lookup."""
    assert is_loopback(host) is expected


def test_the_embedded_server_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """With proxies and stale certificates in the environment, the embedded server still answers."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "socks5h://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at-all.pem")
    registry = SessionRegistry()
    try:
        run = registry.create(model="nbchat-echo").send("Seine").wait(30)
        assert (run.state, run.text) == ("completed", "Seine")
    finally:
        engine_of(registry).shutdown()


@pytest.mark.parametrize(
    ("url", "no_proxy", "has_proxy"),
    [
        ("http://models.example/v1", "", True),
        ("http://models.example/v1", "models.example", False),
        ("http://models.example/v1", ".example", False),
        ("http://models.example/v1", "*", False),
        ("http://models.example:81/v1", "models.example:80", True),
        ("http://10.1.2.3/v1", "10.0.0.0/8", False),
        ("http://[fd00::1]/v1", "fd00::/8", False),
        ("http://11.1.2.3/v1", "10.0.0.0/8, ,", True),
    ],
)
def test_no_proxy_names_hosts_and_networks(
    url: str,
    no_proxy: str,
    has_proxy: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers that `NO_PROXY` lists by name, domain or network are connected to directly."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (endpoint(url).proxy is not None) is has_proxy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("socks5h://user:hunter22@127.0.0.1:1", "socksio"),
        ("socks4://user:hunter22@127.0.0.1:1", "socks5"),
        ("http://user:hunter22@[::1", "not the URL of a proxy"),
        ("ftp://user:hunter22@x", "not the URL of a proxy"),
    ],
)
@pytest.mark.parametrize(("variable", "scheme"), [("ALL_PROXY", "http"), ("https_proxy", "https")])
async def test_an_unusable_proxy_is_named_by_the_variable_that_has_it(
    value: str, words: str, variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable of the proxy and the remedy, without the variable's value."""
    monkeypatch.setenv(variable, value)
    heard = await hear(OpenAIProvider(f"{scheme}://models.example/v1"), ask("ok"))
    assert type(heard.error) is errors.ConnectFailed
    assert variable in str(heard.error)
    assert words in str(heard.error)
    assert "hunter22" not in str(heard.error)
    assert heard.error.retryable is False


async def test_a_variable_for_other_requests_does_not_matter(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid `HTTPS_PROXY` does not affect a request over http, which uses its own proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "not a proxy")
    monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1"))
    provider = OpenAIProvider("http://models.example/v1")
    assert (await hear(provider, ask("ok"))).text == TEXT
    assert server.requests[-1].target == "http://models.example/v1/chat/completions"
    await provider.aclose()


async def test_a_proxy_that_refuses_its_password_is_named_by_its_variable(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint for a 407 names the variable that selected the proxy."""
    monkeypatch.setenv("ALL_PROXY", server.base_url.removesuffix("/v1"))
    provider = OpenAIProvider("http://models.example/v1")
    error = (await hear(provider, ask("status-407"))).error
    assert error is not None
    assert error.hint == "Check the user and the password in ALL_PROXY."
    await provider.aclose()


# Certificates

STALE = [("SSL_CERT_FILE", "/nowhere/at-all.pem"), ("SSLKEYLOGFILE", "/nowhere/at/all.log")]


@pytest.mark.parametrize(("variable", "value"), STALE)
async def test_certificate_settings_do_not_matter_without_tls(
    variable: str, value: str, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing certificate file does not affect a request over plain http."""
    monkeypatch.setenv(variable, value)
    provider = OpenAIProvider(server.base_url)
    assert (await hear(provider, ask("ok"))).text == TEXT
    await provider.aclose()


@pytest.mark.parametrize(("variable", "value"), STALE)
async def test_a_stale_certificate_setting_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For https, the error for a missing certificate file names its variable instead of the network."""
    monkeypatch.setenv(variable, value)
    error = (await hear(OpenAIProvider("https://127.0.0.1:1/v1"), ask("ok"))).error
    assert type(error) is errors.ConfigError
    assert f"from {variable}" in str(error)
    assert f"Set {variable}" in str(error)


async def test_a_certificate_that_is_not_trusted_names_the_variable_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If `SSL_CERT_FILE` sets the trusted servers, the error for a refused certificate names it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "expired.pem"))
    async with FaultServer("own.pem") as server:
        error = (await hear(OpenAIProvider(server.base_url), ask("ok"))).error
    assert type(error) is errors.ConnectFailed
    assert "checked against SSL_CERT_FILE" in error.hint


async def test_a_plain_client_trusts_no_certificate(server: FaultServer) -> None:
    """A client opened for plain http accepts no certificate."""
    from nbchat.providers import transport, transport_errors  # noqa: PLC0415 - imports the openai client

    client = transport.open_client(Endpoint(server.base_url, Secret("k")))
    async with FaultServer("own.pem") as encrypted:
        with pytest.raises(Exception, match=r"[Cc]onnect") as refused:
            await client.get(encrypted.base_url + "/models", cast_to=object)
    causes = [error for error in transport_errors._chain(refused.value) if isinstance(error, ssl.SSLError)]
    assert causes
    await client.close()


# Variables that become headers


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_ORG_ID", "org-1\n"),
        ("OPENAI_PROJECT_ID", "proj\r\nX-Evil: 1"),
        ("OPENAI_CUSTOM_HEADERS", "X-Tëam: a"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: ü"),
    ],
)
async def test_a_variable_that_cannot_be_sent_is_named(
    variable: str, value: str, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id with a line break that would become a header is an error naming the variable; nothing is sent."""
    monkeypatch.setenv(variable, value)
    error = (await hear(OpenAIProvider(server.base_url), ask("ok"))).error
    assert type(error) is errors.ConfigError
    assert variable in str(error)
    assert server.requests == []


# Base URLs


async def test_the_query_of_a_base_url_is_sent_with_every_request(server: FaultServer) -> None:
    """Azure's `?api-version=` is kept after the path, in the list of models and in each question."""
    base = server.base_url.removesuffix("/v1") + "/openai/v1/?api-version=2024-10-21&empty="
    provider = OpenAIProvider(base, "azure-key")
    await provider.models()
    assert (await hear(provider, ask("ok", params={"extra_query": {"more": [1, 2]}}))).text == TEXT
    assert [urlsplit(seen.target).path for seen in server.requests] == [
        "/openai/v1/models",
        "/openai/v1/chat/completions",
    ]
    for seen in server.requests:
        query = parse_qs(urlsplit(seen.target).query, keep_blank_values=True)
        assert query["api-version"] == ["2024-10-21"]
        assert query["empty"] == [""]
        assert seen.headers["api-key"] == "azure-key"
    assert "more" in server.requests[-1].target
    await provider.aclose()


async def test_a_credential_in_a_query_is_shown_nowhere(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A key in the query of the base URL or of a request is in no error, name or log."""
    caplog.set_level(logging.DEBUG)

    @fault("echo-target", "section 5", error=errors.RequestRejected)
    async def _(wire: Any) -> None:
        await wire.refuse("400 Bad Request", {"error": {"message": wire.seen.target}})

    provider = OpenAIProvider(f"{server.base_url}?code={SECRET}")
    heard = await hear(provider, ask("echo-target", params={"extra_query": {"sig": SECRET[::-1]}}))
    assert SECRET in server.requests[-1].target
    assert SECRET[::-1] in server.requests[-1].target
    shown = f"{heard.error}{heard.error!r}{provider!r}{provider.name}{vars(provider)}{caplog.text}"
    assert SECRET not in shown
    assert SECRET[::-1] not in shown
    assert SECRET not in repr(endpoint(f"{server.base_url}?code={SECRET}"))
    await provider.aclose()


@asynccontextmanager
async def ollama(answer: bytes = b"404 page not found", status: str = "404 Not Found") -> AsyncIterator[str]:
    """Serve an API under `/v1` only, as Ollama does; yield the address without `/v1`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(answer)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "405 Method Not Allowed"},
        {"status": "200 OK", "answer": b"<html>Open WebUI</html>"},
        {"status": "200 OK", "answer": b'{"error": "Unexpected endpoint"}'},
    ],
)
@pytest.mark.parametrize("model", ["m", None])
async def test_a_base_url_without_v1_is_recognized(answer: dict[str, Any], model: str | None) -> None:
    """If a server has nothing at a URL without `/v1`, the error gives the URL with it."""
    async with ollama(**answer) as url:
        provider = OpenAIProvider(url + "/")
        error = (await hear(provider, ask(model))).error
        assert error is not None
        assert f"try {url}/v1." in str(error)
        await provider.aclose()


async def test_the_registry_suggests_v1_when_no_model_is_set() -> None:
    """A session without a model, which lists the models first, gives the same hint."""
    async with ollama() as url:
        registry = SessionRegistry()
        try:
            provider = OpenAIProvider(url)
            session = registry.create(provider=provider)
            run = await asyncio.to_thread(session.send("?").wait, 30)
            await asyncio.to_thread(engine_of(registry).loop.run, provider.aclose(), 10)
            assert type(run.error) is errors.ConfigError
            assert f"try {url}/v1." in str(run.error)
        finally:
            await asyncio.to_thread(engine_of(registry).shutdown)


async def test_other_paths_get_no_such_hint(server: FaultServer) -> None:
    """A missing model at a URL with a version is reported as a missing model."""
    provider = OpenAIProvider(server.base_url)
    error = (await hear(provider, ask("no-such-model"))).error
    assert type(error) is errors.ModelNotFound
    assert "try http" not in str(error)
    await provider.aclose()


SCHEMES = [
    ("localhost:11434/v1", "http://localhost:11434/v1"),
    ("127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ("localhost:11434", "http://localhost:11434/v1"),
    ("//localhost:8000/v1", "http://localhost:8000/v1"),
    ("box:8000/v1", "http://box:8000/v1"),
    ("openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
]
"""Base URLs without a scheme, and the URLs that were meant."""


@pytest.mark.parametrize(("given", "meant"), SCHEMES)
async def test_a_base_url_without_a_scheme_is_completed_in_the_message(
    given: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors for the argument, the environment, `config` and `provider=` name it and the intended URL."""
    by_argument = (await hear(OpenAIProvider(given), ask("ok"))).error
    assert type(by_argument) is errors.ConfigError
    assert f"Set base_url to {meant}." in str(by_argument)
    with pytest.raises(ValueError, match="base_url must be a URL") as by_config:
        nbchat.config(base_url=given)
    assert f"Set base_url to {meant}." in str(by_config.value)
    with pytest.raises(errors.ConfigError, match="provider must be a name, not a URL"):
        plugins.load(given)

    monkeypatch.setenv("OPENAI_BASE_URL", given)
    registry = SessionRegistry()
    try:
        run = await asyncio.to_thread(
            registry.create().send("?").wait, 30
        )  # no model, so the list of models is requested
        assert type(run.error) is errors.ConfigError
        assert f"Set OPENAI_BASE_URL to {meant}." in str(run.error)
    finally:
        await asyncio.to_thread(engine_of(registry).shutdown)


def test_the_url_of_a_discovered_server_can_be_used_as_it_is() -> None:
    """`discover` returns whole URLs, which are accepted everywhere."""
    found = discover.LocalServer(name="x", base_url="http://127.0.0.1:1/v1", models=())
    assert endpoint(found.base_url).url == found.base_url


# extra_headers, extra_query, extra_body


async def test_extras_go_where_the_client_puts_them(server: FaultServer) -> None:
    """Extra headers, query and body fields are sent in their places, without the names of the three."""
    provider = OpenAIProvider(server.base_url, "mine", headers={"X-Team": "a", "x-kept": "k"})
    params = {
        "extra_headers": {"x-team": "b", "AUTHORIZATION": "Token t", "User-Agent": None},
        "extra_query": {"trace": True, "n": 1},
        "extra_body": {"min_p": 0.1},
    }
    assert (await hear(provider, ask("ok", params=params))).text == TEXT
    seen = server.requests[-1]
    assert {name: seen.headers.get(name) for name in ("x-team", "x-kept", "authorization")} == {
        "x-team": "b",
        "x-kept": "k",
        "authorization": "Token t",
    }
    assert parse_qs(urlsplit(seen.target).query) == {"trace": ["true"], "n": ["1"]}
    assert set(seen.body) == {"model", "stream", "stream_options", "messages", "min_p"}
    await provider.aclose()


async def test_a_key_among_the_extra_headers_is_enough_for_openai() -> None:
    """`Authorization` among the extra headers replaces the key that OpenAI's server requires."""
    given = {"Authorization": f"Bearer {SECRET}"}
    assert find_endpoint("https://api.openai.com/v1", None, given).host == "api.openai.com"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"extra_headers": "X: y"}, TypeError),
        ({"extra_query": [1]}, TypeError),
        ({"extra_body": 5}, TypeError),
        ({"extra_headers": {"X": 5}}, TypeError),
        ({"extra_headers": {"X": f"{SECRET}\n"}}, ValueError),
        ({"extra_headers": {"X y": SECRET}}, ValueError),
        ({"timeout": 5}, ValueError),
    ],
)
def test_extras_that_cannot_be_sent_are_refused_at_once(
    params: dict[str, Any], error: type[Exception]
) -> None:
    """A wrong type or an invalid character in a header raises at the call, without the value."""
    with pytest.raises(error) as refused:
        patch(params=params)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("params", [{"extra_headers": 5}, {"extra_headers": {"X": 5}}, {"extra_query": "a"}])
async def test_extras_of_a_file_that_cannot_be_sent_end_the_run(
    params: dict[str, Any], server: FaultServer
) -> None:
    """Invalid params that were never checked, as from a saved file, give an error with a hint."""
    error = (await hear(OpenAIProvider(server.base_url), ask("ok", params=params))).error
    assert type(error) is errors.ConfigError
    assert server.requests == []


def test_a_reference_of_another_kernel_raises_a_clear_error() -> None:
    """A header whose value was not saved gives an error that names the header and the remedy."""
    with pytest.raises(errors.ConfigError, match=r"header 'X-Team'.*never saved.*Set the session's params"):
        extras.read({"extra_headers": {"X-Team": "[secret 0123456789abcdef]"}})


def test_references_stand_for_credentials_only() -> None:
    """Harmless values stay unchanged, a credential has one reference, and hiding again changes nothing."""
    params = {
        "extra_headers": {"X-Title": "demo", "X-Team": SECRET},
        "extra_query": {"api-version": "1", "key": SECRET},
        "temperature": 0.5,
    }
    hidden = extras.hide(params)
    assert hidden["extra_headers"]["X-Title"] == "demo"
    assert hidden["extra_query"]["api-version"] == "1"
    assert is_reference(hidden["extra_headers"]["X-Team"])
    assert hidden["extra_headers"]["X-Team"] == hidden["extra_query"]["key"]
    assert extras.hide(hidden) == hidden
    assert without_references(hidden) == {
        "extra_headers": {"X-Title": "demo"},
        "extra_query": {"api-version": "1"},
        "temperature": 0.5,
    }
    assert extras.read(hidden).headers["X-Team"] == SECRET
