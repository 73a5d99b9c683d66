"""Providers are found by name, and what is wrong with one is said in words."""

import copy
import pickle
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from nbchat.core.errors import ConfigError, PicklingRefused
from nbchat.core.secret import Secret
from nbchat.providers import plugins
from nbchat.providers.base import Provider
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import ScriptedProvider


class Broken:
    """No provider: it cannot stream."""

    name = "broken"
    can_prefill = can_resume = False


def raises() -> None:
    """Raise, as a package does that lacks something; the text holds a key."""
    raise RuntimeError("no settings for sk-proj-0123456789abcdef")


class EntryPoints(tuple[EntryPoint, ...]):
    """A sequence of entry points as it is from Python 3.12 on."""

    __slots__ = ()

    def __getitem__(self, name: Any) -> Any:
        """Return the one of this name."""
        for point in self:
            if point.name == name:
                return point
        raise KeyError(name)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install packages that bring providers."""
    here = "tests.providers.test_plugins"
    points = EntryPoints(
        [
            EntryPoint("scripted", "nbchat.providers.scripted:ScriptedProvider", plugins.GROUP),
            EntryPoint("broken", f"{here}:Broken", plugins.GROUP),
            EntryPoint("raises", f"{here}:raises", plugins.GROUP),
            EntryPoint("missing", "no_such_package:Provider", plugins.GROUP),
            EntryPoint("openai", "no_such_package:Provider", plugins.GROUP),
        ]
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else [])


def test_a_provider_is_loaded_by_name() -> None:
    """A name gives the provider that a package brings, made with the options that were given."""
    made = plugins.load("scripted", finish="length")
    assert isinstance(made, ScriptedProvider)
    assert isinstance(made, Provider)
    assert "scripted" in plugins.names()


def test_nothing_takes_the_place_of_the_built_in_provider() -> None:
    """A package cannot put itself between nbchat and its own provider's key."""
    assert isinstance(plugins.load("openai", base_url="http://127.0.0.1:1/v1"), OpenAIProvider)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "there is no provider 'nobody'; there is broken, missing, openai, raises, scripted."),
        ("missing", "no_such_package"),
        ("raises", "RuntimeError: no settings for [redacted]"),
        ("broken", "it has no stream, models, aclose"),
    ],
)
def test_a_broken_plugin_is_reported(name: str, said: str) -> None:
    """A name that is unknown and a package that is broken are each told as what they are."""
    with pytest.raises(ConfigError) as caught:
        plugins.load(name)
    assert said in str(caught.value)
    assert caught.value.hint


def test_the_installed_package_registers_its_own() -> None:
    """The package's own metadata names the provider, as any other package's would."""
    assert plugins._BUILT_IN["openai"].load() is OpenAIProvider


def test_a_secret_is_used_and_not_shown() -> None:
    """A secret gives its value to who asks, and to nobody who only looks."""
    secret = Secret("value")
    assert secret.reveal() == "value"
    assert "value" not in f"{secret!r}{secret}"
    assert not hasattr(secret, "__dict__")
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(PicklingRefused):
            act(secret)
