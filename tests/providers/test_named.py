"""Several named providers in one kernel."""

from collections.abc import Iterator

import pytest

import nbchat
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.named import NamedServer
from nbchat.providers.openai import NO_EXTRAS, OpenAIProvider
from nbchat.providers.scripted import ScriptedProvider
from nbchat.server import DemoServer
from tests.engine.conftest import registry
from tests.engines import engine_of, use

__all__ = ["registry"]


@pytest.fixture(autouse=True)
def _of_this_test(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the functions of `nbchat` use this test's registry."""
    use(monkeypatch, registry)


@pytest.fixture
def base_url(registry: SessionRegistry) -> Iterator[str]:
    """Yield the URL of a demo server on the engine's loop."""
    engine, server = engine_of(registry), DemoServer()
    yield str(engine.loop.run(server.start()))
    engine.loop.run(engine.providers.aclose())
    engine.loop.run(server.close())


def test_a_session_asks_the_provider_that_it_names(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named server answers and lists its models, and receives its own key instead of OpenAI's."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("LOCAL_KEY", "sk-local")
    local = nbchat.provider("local", base_url=base_url, key_env="LOCAL_KEY")
    plain = nbchat.provider("plain", base_url=base_url)
    assert isinstance(local, OpenAIProvider)
    assert isinstance(plain, OpenAIProvider)
    assert nbchat.models("local")[0] == "nbchat-tour"
    assert nbchat.session("a", provider="local", model="nbchat-echo").ask("Seine").text == "Seine"
    keys = [one._find(NO_EXTRAS).authorization.reveal() for one in (local, plain)]
    assert keys == ["Bearer sk-local", "Bearer none"]


def test_a_missing_key_is_reported_with_its_variable(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the run fails and names it; once it is set, the next run succeeds."""
    monkeypatch.delenv("LOCAL_KEY", raising=False)
    nbchat.provider("keyed", base_url=base_url, key_env="LOCAL_KEY")
    session = nbchat.session("b", provider="keyed", model="nbchat-echo")
    with pytest.raises(nbchat.AuthenticationFailed, match=r"LOCAL_KEY of the provider 'keyed' is not set"):
        session.ask("Seine")
    monkeypatch.setenv("LOCAL_KEY", "sk-local")
    assert session.retry().result(30).text == "Seine"


def test_a_name_that_is_defined_again_gets_the_new_server(base_url: str, registry: SessionRegistry) -> None:
    """The next run and the list of models use the new server; old connections are closed at the end."""
    other = nbchat.provider("again", base_url=base_url)
    session = nbchat.session("c", provider="again")
    assert session.ask("What is nbchat?").model == "nbchat-tour"
    scripted = ScriptedProvider("Seine", models=["scripted"])
    engine_of(registry).providers.define("again", scripted)
    assert session.ask("Which?").text == "Seine"
    assert scripted.requests[0].model == "scripted"
    assert isinstance(other, OpenAIProvider)
    assert other._clients
    engine_of(registry).loop.run(engine_of(registry).providers.aclose())
    assert not other._clients


@pytest.mark.parametrize("name", ["", "openai", "demo", "http://localhost", "two\nlines"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    """Reserved names and URLs are refused."""
    with pytest.raises(ValueError, match="cannot be the name of a provider"):
        nbchat.provider(name, base_url="http://localhost:1/v1")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"url": "http://localhost:1/v1"}, "it has no field 'url'; expected some of: base_url, key_env, api"),
        ({"base_urls": "http://localhost:1/v1"}, "no field 'base_urls'; did you mean 'base_url'"),
        ({"key_env": "KEY"}, "it has no base_url"),
        ("http://localhost:1/v1", "it must be a mapping of base_url, .* not str"),
    ],
)
def test_a_configured_provider_that_is_wrong_is_refused_with_its_field(given: object, says: str) -> None:
    """The message about an entry of `c.NbChat.providers` names its fields, and no function of nbchat."""
    with pytest.raises(TypeError, match=says):
        NamedServer.of(given)


def test_other_arguments_of_a_wrong_kind_are_refused() -> None:
    """`api` and `headers` are checked when the name is defined, and not when it is used."""
    for wrong, error in (({"api": "completions"}, ValueError), ({"headers": "x: y"}, TypeError)):
        with pytest.raises(error, match=f"^{next(iter(wrong))} must be"):
            nbchat.provider("local", base_url="http://localhost:1/v1", **wrong)  # type: ignore[arg-type]


def test_a_url_without_a_scheme_is_refused() -> None:
    """The message for a URL without a scheme has an example."""
    with pytest.raises(ValueError, match="such as http://localhost:11434/v1, not 'localhost:11434/v1'"):
        nbchat.provider("local", base_url="localhost:11434/v1")


def test_a_hint_names_the_provider_and_not_a_variable_that_it_does_not_use(
    base_url: str, registry: SessionRegistry
) -> None:
    """The hint after a failure names the named provider's own URL and key."""
    registry.limits.retries = 0
    nbchat.provider("local", base_url=base_url)
    nbchat.provider("gone", base_url="http://127.0.0.1:9/v1")
    for name, model in (("local", "no-such-model"), ("gone", "any")):
        run = nbchat.session(name, provider=name, model=model).send("Hello")
        error = run.wait(30).error
        assert error is not None
        assert f"the base URL of provider {name!r}" in str(error)
        assert "OPENAI_" not in str(error)
