"""Settings of a session as callers give them, checked."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from nbchat.core import extras
from nbchat.core.text import clean, cut
from nbchat.core.values import DecodeError, check


def session_settings(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Check what a caller wants to set, and return it as fields of `Settings`.

    Raises
    ------
    TypeError, ValueError
        A value that cannot be a setting; the message says which, and what it may be.
    """
    checked: dict[str, Any] = {}
    for name, value in changes.items():
        if name in ("title", "model", "instructions", "provider"):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
            if name == "title":
                checked[name] = cut(clean(value or ""), 10_000)
            else:
                checked[name] = clean(value) if value else None
        elif name == "params":
            checked[name] = _params(value)
        elif name in ("pinned", "closed", "archived", "from_file"):
            checked[name] = bool(value)
        else:
            raise TypeError(f"a session has no setting {name!r}.")
    return checked


def _params(value: object) -> dict[str, Any]:
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
    for reserved in ("messages", "model", "stream", "input"):
        if reserved in params:
            raise ValueError(
                f"params cannot hold {reserved!r}: nbchat sets it. Use the session's own setting."
            )
    if "timeout" in params:
        raise ValueError("params cannot hold 'timeout': the limits are in nbchat.registry.limits.")
    return extras.hide(params)
