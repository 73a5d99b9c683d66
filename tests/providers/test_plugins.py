"""Providers are found by name, and errors explain the faults of a plugin."""

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
    """An object that is not a provider: it cannot stream."""

    name = "broken"
    can_prefill = can_resume = False


def raises() -> None:
    """Raise, as a package with a missing dependency does; the text contains a key."""
    raise RuntimeError("no settings for sk-proj-0123456789abcdef")


class EntryPoints(tuple[EntryPoint, ...]):
    """A sequence of entry points as in Python 3.12 and later."""

    __slots__ = ()

    def __getitem__(self, name: Any) -> Any:
        """Return the entry point of this name."""
        for point in self:
            if point.name == name:
                return point
        raise KeyError(name)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install packages that provide providers."""
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
    """A name gives the provider of a package, created with the given options."""
    made = plugins.load("scripted", finish="length")
    assert isinstance(made, ScriptedProvider)
    assert isinstance(made, Provider)
    assert "scripted" in plugins.names()


def test_nothing_takes_the_place_of_the_built_in_provider() -> None:
    """A package cannot replace the built-in provider and thereby get its key."""
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
    """An unknown name and a broken package give different errors."""
    with pytest.raises(ConfigError) as caught:
        plugins.load(name)
    assert said in str(caught.value)
    assert caught.value.hint


def test_the_installed_package_registers_its_own() -> None:
    """The metadata of nbchat registers its provider, as any other package's would."""
    assert plugins._BUILT_IN["openai"].load() is OpenAIProvider


def test_a_secret_is_used_and_not_shown() -> None:
    """A secret returns its value from `reveal` only; it is not in `repr`, and pickling is refused."""
    secret = Secret("value")
    assert secret.reveal() == "value"
    assert "value" not in f"{secret!r}{secret}"
    assert not hasattr(secret, "__dict__")
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(PicklingRefused):
            act(secret)
