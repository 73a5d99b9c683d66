"""A value that is used and never shown."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Callable
from typing import Never

from nbchat.core.errors import PicklingRefused


class Secret:
    """Holds a value that no `repr`, `vars`, pickle or copy of its owner shows.

    The value is the cell of a closure, which is as far away as Python can put it: whoever looks for it
    in this process finds it, whoever prints, logs or saves an object that holds it does not.
    """

    __slots__ = ("__weakref__", "reveal")

    reveal: Callable[[], str]
    """Returns the value. Call it where the value is used, and keep the result nowhere."""

    def __init__(self, value: str) -> None:
        self.reveal = lambda: value
        _all.add(self)

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> Never:
        """Refuse: a pickle is read by other programs, and keeps."""
        raise PicklingRefused("a secret is not pickled.", hint="Read it again where it is needed.")


_lock = threading.Lock()
_by_reference: dict[str, Secret] = {}
_references: dict[str, str] = {}


def reference_to(value: str) -> str:
    """Keep `value` in this process, and return a text that stands for it, the same one each time.

    `nbchat.core.redact.is_reference` recognizes such a text. It is random, so that it neither reveals
    the value nor can be guessed by a file that asks for it.
    """
    with _lock:
        reference = _references.get(value)
        if reference is None:
            reference = _references[value] = f"[secret {secrets.token_hex(8)}]"
            _by_reference[reference] = Secret(value)
        return reference


def referenced(reference: str) -> Secret | None:
    """Return the value that `reference` stands for; `None` if it was made by another process."""
    return _by_reference.get(reference)


_all: weakref.WeakSet[Secret] = weakref.WeakSet()


def in_use() -> list[str]:
    """Return the values that somebody holds now, to keep them out of a log. Keep the result nowhere."""
    return [secret.reveal() for secret in list(_all)]
