"""`Secret`: holds a credential that is used but never shown."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Callable
from typing import Never

from nbchat.core.errors import PicklingRefused


class Secret:
    """Holds a value that no `repr`, `vars`, pickle or copy of its owner reveals.

    The value is in the cell of a closure. Printing, logging or saving an object that holds the secret does
    not reveal it. Code in this process that searches for it can still find it.
    """

    __slots__ = ("__weakref__", "reveal")

    reveal: Callable[[], str]
    """Returns the value. Call it where the value is used, and do not store the result."""

    def __init__(self, value: str) -> None:
        self.reveal = lambda: value
        _all.add(self)

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> Never:
        """Raise `PicklingRefused`: a pickle can be stored and read by other programs."""
        raise PicklingRefused("a secret is not pickled.", hint="Read it again where it is needed.")


_lock = threading.Lock()
_by_reference: dict[str, Secret] = {}
_references: dict[str, str] = {}


def reference_to(value: str) -> str:
    """Keep `value` in this process, and return a reference to it; the same value has the same reference.

    `nbchat.core.redact.is_reference` recognizes references. They are random, so that they do not reveal the
    value and a file cannot contain a guessed one.
    """
    with _lock:
        reference = _references.get(value)
        if reference is None:
            reference = _references[value] = f"[secret {secrets.token_hex(8)}]"
            _by_reference[reference] = Secret(value)
        return reference


def referenced(reference: str) -> Secret | None:
    """Return the value of `reference`; `None` if another process created it."""
    return _by_reference.get(reference)


def references() -> dict[str, str]:
    """Return all references of this process with their values, for an engine in another process.

    They are kept in memory there, and never stored.
    """
    with _lock:
        return {reference: secret.reveal() for reference, secret in _by_reference.items()}


_all: weakref.WeakSet[Secret] = weakref.WeakSet()


def in_use() -> list[str]:
    """Return the values of all live secrets, to redact them in logs. Do not store the result."""
    return [secret.reveal() for secret in list(_all)]
