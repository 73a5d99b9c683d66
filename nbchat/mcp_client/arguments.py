"""`checked_arguments` validates the arguments of a call against the schema of an MCP server.

The schema is data of another program. Nothing in it is fetched, and validation has a time limit. Regular
expressions in it are not evaluated, since one can take forever and blocks all threads of Python.
"""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from nbchat.core.text import cut
from nbchat.engine.tools import ArgumentsInvalid
from nbchat.tools.signature import json_object

MAX_S: Final = 2.0
"""Seconds for one validation."""

MAX_PROBLEMS: Final = 5

_WITH_PATTERNS: Final = frozenset({"pattern", "patternProperties", "unevaluatedProperties"})

_until = threading.local()


class _TooLongError(Exception):
    """The validation has taken too long."""


def checked_arguments(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the arguments of a call.

    Raises
    ------
    ArgumentsInvalid
        If the text is not a JSON object that matches the schema, or could not be sent.
    """
    value = json_object(text)
    _check_sendable(value)
    # Imported at the first call: it takes a tenth of a second.
    validators = importlib.import_module("jsonschema.validators")
    exceptions = importlib.import_module("jsonschema.exceptions")
    registry = importlib.import_module("referencing").Registry()
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    _until.time = time.monotonic() + MAX_S
    try:
        kind.check_schema(schema)
        found = list(_bounded(kind)(schema, registry=registry).iter_errors(value))
    except exceptions.SchemaError as error:
        raise ArgumentsInvalid(f"The schema of this tool is invalid: {_short(error.message)}") from None
    except _TooLongError:
        raise ArgumentsInvalid(f"The arguments could not be validated within {MAX_S:g} s.") from None
    except Exception as error:  # noqa: BLE001 - an unresolvable reference, an endless recursion
        raise ArgumentsInvalid(
            f"The schema of this tool cannot be applied: {type(error).__name__}."
        ) from None
    if found:
        lines = [f"- {_short(error.json_path)}: {_short(error.message)}" for error in found[:MAX_PROBLEMS]]
        raise ArgumentsInvalid("\n".join(["The arguments do not match the schema:", *lines]))
    return value


def _check_sendable(value: Mapping[str, Any]) -> None:
    """Check that the library can send arguments as they are shown."""
    try:
        json.dumps(value, allow_nan=False)  # the library sends null for these numbers
        # The same encoder as that of the library. A request has the arguments a few levels deeper.
        importlib.import_module("pydantic_core").to_json([[[[value]]]])
    except (ValueError, RecursionError):
        raise ArgumentsInvalid(
            "The arguments cannot be sent: they have half of a surrogate pair, a number that JSON does not "
            "have, or too many levels."
        ) from None


@cache
def _bounded(kind: Any) -> Any:  # noqa: ANN401 - jsonschema has no type hints
    """Return a class of validators with a time limit and without regular expressions."""
    validators = importlib.import_module("jsonschema.validators")
    keywords = {name: _in_time(name, rule) for name, rule in kind.VALIDATORS.items()}
    return validators.extend(kind, keywords)


def _in_time(name: str, rule: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def keyword(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:  # noqa: ANN401 - as jsonschema
        if time.monotonic() > _until.time:
            raise _TooLongError
        if name in _WITH_PATTERNS or (name == "additionalProperties" and "patternProperties" in schema):
            return
        yield from rule(validator, value, instance, schema) or ()

    return keyword


def _short(text: str) -> str:
    return cut(text, 300, "…")
