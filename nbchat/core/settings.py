"""`SettingsPatch`: a change of a session's settings, validated once when it is created."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from itertools import count
from typing import Any, Final

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from nbchat.core import extras
from nbchat.core.cached import CACHE
from nbchat.core.events import Settings
from nbchat.core.structured import SCHEMA
from nbchat.core.text import clean, cut
from nbchat.core.values import DecodeError, Value, check

MAX_TITLE: Final = 10_000
"""Maximum number of characters of a title; longer ones are cut."""

MAX_WORD: Final = 20
"""Maximum number of characters of the word that marks a fork."""

RESERVED_PARAMS: Final = ("messages", "model", "stream", "input")
"""Request fields that nbchat sets itself."""


class SettingsPatch(Value, frozen=True, kw_only=True):
    """The settings to change; fields that are `UNSET` keep their value. Create one with `patch`."""

    title: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    params: Mapping[str, Any] | UnsetType = UNSET
    more_params: Mapping[str, Any] | UnsetType = UNSET
    """Request fields that are added to `params`."""
    provider: str | UnsetType | None = UNSET
    pinned: bool | UnsetType = UNSET
    closed: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    from_file: bool | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """Return the fields that are set, by name."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not UNSET}

    def applied_to(self, settings: Settings) -> Settings:
        """Return `settings` with this change."""
        changes = self.changes()
        if self.more_params is not UNSET:
            del changes["more_params"]
            changes["params"] = {**changes.get("params", settings.params), **self.more_params}
        return replace(settings, **changes)


NO_CHANGE: Final = SettingsPatch()


def patch(**values: Any) -> SettingsPatch:  # noqa: ANN401 - values from a caller, checked here
    """Validate settings from a caller, and return them as a patch.

    Raises
    ------
    TypeError, ValueError
        If a name is not a setting or a value is invalid; the message names it.
    """
    checked: dict[str, Any] = {name: _checked(name, value) for name, value in values.items()}
    return SettingsPatch(**checked)


def patch_of_given(**values: Any) -> SettingsPatch:  # noqa: ANN401 - as `patch`
    """Return a patch of the values that are not `None`. Raises the errors of `patch`."""
    return patch(**{name: value for name, value in values.items() if value is not None})


def clean_title(title: object) -> str:
    """Return a title in the form in which sessions store it.

    Raises
    ------
    TypeError
        If it is neither a string nor `None`.
    """
    return cut(clean(_text("title", title) or ""), MAX_TITLE)


def fork_title(title: str, word: str, taken: Collection[str]) -> str:
    """Return the title of a fork: `Rivers (fork)`, then `Rivers (fork 2)`; empty for an empty title.

    A fork of a fork continues the numbers and does not repeat the word.
    """
    if not title:
        return ""
    word = cut(" ".join(clean(word).split()), MAX_WORD) or "fork"
    base = re.sub(rf" \({re.escape(word)}(?: \d+)?\)$", "", title)
    endings = (f" ({word} {number})" if number > 1 else f" ({word})" for number in count(1))
    titles = (cut(base, MAX_TITLE - len(ending)).rstrip() + ending for ending in endings)
    return next(title for title in titles if title not in taken)


def _checked(name: str, value: object) -> object:
    if name == "title":
        return clean_title(value)
    if name in ("model", "instructions", "provider"):
        text = _text(name, value)
        return clean(text) if text else None
    if name in ("params", "more_params"):
        return params_of_caller(value)
    if name in ("pinned", "closed", "archived", "from_file"):
        return bool(value)
    raise TypeError(f"a session has no setting {name!r}.")


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
    return value


def params_of_caller(value: object) -> dict[str, Any]:
    """Validate request fields as `request_params`, and refuse a schema, which is an argument of its own.

    Raises
    ------
    TypeError, ValueError
        If they cannot be sent.
    """
    params = request_params(value)
    if SCHEMA in params:
        raise ValueError(f"params cannot hold {SCHEMA!r}: it is an argument of send(), ask() and map().")
    if CACHE in params:
        raise ValueError(f"params cannot hold {CACHE!r}: use cache=True of send(), ask() or map().")
    return params


def request_params(value: object) -> dict[str, Any]:
    """Validate request fields from a caller, and replace credentials in them by references.

    Raises
    ------
    TypeError, ValueError
        If they cannot be sent.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(
            f"params must be a mapping such as {{'temperature': 0.2}}, not {type(value).__name__}."
        )
    try:
        check(dict(value), "params")
    except DecodeError as error:
        raise TypeError(f"params must hold JSON values only: {error}.") from error
    params: dict[str, Any] = deepcopy(dict(value))
    for reserved in RESERVED_PARAMS:
        if reserved in params:
            raise ValueError(
                f"params cannot hold {reserved!r}: nbchat sets it. Use the session's own setting."
            )
    if "timeout" in params:
        raise ValueError("params cannot hold 'timeout': the limits are in nbchat.registry.limits.")
    return extras.hide(params)
