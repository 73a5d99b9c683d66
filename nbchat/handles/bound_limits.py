"""`BoundLimits`: the limits of a backend, as `registry.limits`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import SetLimits
from nbchat.engine.backend import Backend
from nbchat.engine.limits import Limits, check_limit

_NAMES: Final = frozenset(field.name for field in fields(Limits))


class BoundLimits(Limits):
    """Reads limits from a backend, and sets them by a command."""

    __slots__ = ("_backend",)

    _backend: Backend

    def __init__(self, backend: Backend) -> None:
        object.__setattr__(self, "_backend", backend)

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - a limit's value
        """Return a limit that is in force."""
        if name in _NAMES:
            return getattr(object.__getattribute__(self, "_backend").limits, name)
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - checked
        """Set a limit; raises as `check_limit` does."""
        check_limit(name, value)
        self._backend.execute(SetLimits(id=new_id("c-"), values={name: value}))
