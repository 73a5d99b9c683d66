"""`Defaults`: the settings for sessions, in layers, with the origin of each value.

From highest to lowest precedence: an argument (not handled here), values set in this kernel, a configuration
file, the environment, built-in defaults. The environment is read at each access.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from nbchat.core.errors import ConfigError
from nbchat.core.extras import is_secret_query
from nbchat.core.redact import redact
from nbchat.core.text_table import Table
from nbchat.providers.endpoint import check_url


class Origin(StrEnum):
    """The layer that a value came from."""

    SET = "set in this kernel"
    """`nbchat.config(…)` or `%config NbChat.…`."""
    FILE = "configuration file"
    """`c.NbChat.… = …`, as in `ipython_config.py`."""
    ENVIRONMENT = "environment"
    DEFAULT = "default"


VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "model": "NBCHAT_MODEL",
        "base_url": "OPENAI_BASE_URL",
        "provider": "NBCHAT_PROVIDER",
        "api": "NBCHAT_API",
        "titles": "NBCHAT_TITLES",
        "share": "NBCHAT_SHARE",
        "runner": "NBCHAT_RUNNER",
    }
)
"""Environment variables, by setting."""

FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "model": "Model of sessions without a model setting. Empty: the first model that the server lists.",
        "provider": "Name of a provider: defined by nbchat.provider() or NbChat.providers, or an entry point "
        "of the group nbchat.providers. Empty: an OpenAI-compatible server, or the embedded server if there "
        "is neither a key nor a base URL.",
        "base_url": "Address of the OpenAI-compatible server, such as https://host/v1.",
        "api": "API of that server: chat (Chat Completions), or responses (Responses in the background; the "
        "server stores the answer, so an interrupted one can be resumed). Empty: chat.",
        "instructions": "System instructions of sessions without instructions.",
        "titles": "Titles of unnamed conversations: words (the first words of the first question), or model "
        "(a title requested from the model after the first answer). Empty: words.",
        "runner": "Where answers are generated: local (a process beside the kernel, so that they continue "
        "when the kernel is restarted), or the URL of a service (see nbchat runner --listen). Empty: in the "
        "kernel.",
        "share": "Level of detail of variables sent with @name and context=: schema (names and types), "
        "summary (also statistics) or rows (also the first rows). Empty: summary.",
    }
)
"""Settings and their descriptions."""

CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "api": ("auto", "chat", "responses"),
        "titles": ("words", "model"),
        "share": ("summary", "schema", "rows"),
        "runner": ("local",),
    }
)
"""Allowed values, by setting; the first of several is the default."""


def checked(name: str, value: object) -> str | None:
    """Return a value in normalized form: a string without surrounding spaces, or `None` if it is empty.

    Raises
    ------
    TypeError, ValueError
        If there is no such setting or the value is invalid; the message lists the allowed ones.
    """
    if name not in FIELDS:
        raise TypeError(f"unknown setting {name!r}; expected one of: {', '.join(FIELDS)}, journal.")
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
    text = value.strip()
    if name == "base_url" and text:
        try:
            return check_url(text)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    elif name == "runner" and is_service(text):
        return text  # checked where it is used
    elif name in CHOICES and text and text not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}, not {text!r}.")
    elif name in ("model", "provider") and not text.isprintable():
        raise ValueError(f"{name} must be one line of text, not {text!r}.")
    return text or None


def is_service(runner: str | None) -> bool:
    """Return whether a runner is a service, given by its URL."""
    return runner is not None and "://" in runner


class Value(Struct, frozen=True):
    """A value and its origin."""

    value: str | None
    origin: Origin
    variable: str | None = None
    """The environment variable, if the value came from one."""

    @property
    def source(self) -> str:
        """The origin, in words."""
        return f"{self.origin} ({self.variable})" if self.variable else str(self.origin)


class Defaults:
    """The layers. `model`, `provider` and others are the effective values; any thread may read them."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # A closure, since the environment contains keys.
        self._environment: Callable[[], Mapping[str, str]] = lambda: environment
        self._layers: dict[Origin, dict[str, str]] = {Origin.SET: {}, Origin.FILE: {}}
        self._watchers: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        """Return the effective values."""
        values = ", ".join(f"{name}={value.value!r}" for name, value in self.values().items())
        return f"<Defaults {values}>"

    def look(self, name: str) -> Value:
        """Return the effective value, with its origin."""
        for origin, layer in self._layers.items():
            if name in layer:
                return Value(layer[name], origin)
        variable = VARIABLES.get(name)
        if variable is not None and (text := self._environment().get(variable, "").strip()):
            return Value(text, Origin.ENVIRONMENT, variable)
        return Value(None, Origin.DEFAULT)

    def values(self) -> dict[str, Value]:
        """Return all effective values."""
        return {name: self.look(name) for name in FIELDS}

    def set(self, changes: Mapping[str, object], origin: Origin = Origin.SET) -> None:
        """Set values in one layer, all or none; `None` removes a value.

        Raises
        ------
        TypeError, ValueError
            As `checked`; nothing is changed.
        """
        new = {name: checked(name, value) for name, value in changes.items()}
        layer = dict(self._layers[origin])
        for name, value in new.items():
            if value is None:
                layer.pop(name, None)
            else:
                layer[name] = value
        self._layers[origin] = layer  # replaced as a whole: the engine's thread may be reading it
        for watcher in list(self._watchers):
            watcher()

    def layers(self) -> Mapping[str, Mapping[str, str]]:
        """Return the values that were set, by layer, for an engine in another process."""
        return {origin.name: dict(layer) for origin, layer in self._layers.items()}

    def watch(self, watcher: Callable[[], object]) -> None:
        """Call `watcher` after each change, on the thread that made it."""
        self._watchers.append(watcher)

    def configured(self, name: str) -> str | None:
        """Return the value set in this kernel or in a file; `None` if there is neither."""
        found = self.look(name)
        return found.value if found.origin in (Origin.SET, Origin.FILE) else None

    @property
    def model(self) -> str | None:
        """Model of sessions without one."""
        return self.look("model").value

    @property
    def provider(self) -> str | None:
        """Name of an `nbchat.providers` entry point."""
        return self.look("provider").value

    @property
    def base_url(self) -> str | None:
        """URL of the OpenAI-compatible server."""
        return self.look("base_url").value

    @property
    def api(self) -> str | None:
        """API of the OpenAI-compatible server."""
        return self.look("api").value

    @property
    def instructions(self) -> str | None:
        """Instructions for sessions without any."""
        return self.look("instructions").value

    @property
    def titles(self) -> str | None:
        """Source of the title of a session without one."""
        return self.look("titles").value

    @property
    def runner(self) -> str | None:
        """`local` to generate answers in a process beside the kernel, or the URL of a service."""
        return self.look("runner").value

    @property
    def share(self) -> Literal["schema", "summary", "rows"]:
        """Level of detail at which a variable is sent."""
        match self.look("share").value:
            case None | "summary":
                return "summary"
            case "rows":
                return "rows"
            case _:  # for a misspelt environment variable, send the least
                return "schema"


class Configuration(Mapping[str, "str | None"]):
    """The effective values at one moment, by name, with their origins; returned by `nbchat.config()`.

    Attributes
    ----------
    sources
        The origin of each value, in words: `set in this kernel`, `configuration file`,
        `environment (NBCHAT_MODEL)` or `default`.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        self.sources: Mapping[str, str] = MappingProxyType({k: v.source for k, v in self._values.items()})

    def __getitem__(self, name: str) -> str | None:
        return self._values[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def table(self) -> Table:
        """Return the values and their origins for display."""
        rows = [(name, _shown(name, found.value), found.source) for name, found in self._values.items()]
        return Table(("setting", "value", "from"), rows)

    def __repr__(self) -> str:
        """Return a line for each value."""
        return repr(self.table())


def _shown(name: str, value: str | None) -> str | None:
    if value is None or name != "base_url":
        return value
    parts = urlsplit(value)
    query = [(key, "…" if is_secret_query(key) else text) for key, text in parse_qsl(parts.query)]
    return redact(urlunsplit(parts._replace(query=urlencode(query, safe="…"))))
