"""`mismatch` validates an answer against a JSON schema, and `repair_request` asks for a corrected one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from nbchat.core.messages import Message, TextPart, json_of
from nbchat.core.structured import schema_text
from nbchat.core.text import cut
from nbchat.providers.base import Request

MAX_PROBLEM: Final = 300
"""Maximum characters of the description of a mismatch."""

REPAIR: Final = (
    "Your answer does not match the JSON schema: {problem}\n\nAnswer again with the corrected JSON only, "
    "without a code block and without comments. It must match this JSON schema:\n\n{schema}"
)
"""Prompt of the second round. It is sent once and is not in the transcript."""


def validator_of(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - jsonschema has no type hints
    """Return a validator for a schema, which never fetches a reference.

    Raises
    ------
    ValueError
        If the schema is not a valid JSON schema.
    """
    # Imported at the first structured answer: it takes a tenth of a second.
    jsonschema = importlib.import_module("jsonschema")
    referencing = importlib.import_module("referencing")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"the schema is not a valid JSON schema: {error.message}") from error
    return kind(schema, registry=referencing.Registry(), format_checker=kind.FORMAT_CHECKER)


def mismatch(schema: Mapping[str, Any], text: str) -> str | None:
    """Return the reason why a text does not match a schema; `None` if it does."""
    try:
        value = json_of(text)
    except ValueError as error:
        return cut(str(error), MAX_PROBLEM, "…")
    return problem_of(schema, value)


def problem_of(schema: Mapping[str, Any], value: object) -> str | None:
    """Return the reason why a JSON value does not match a schema; `None` if it does."""
    try:
        errors = validator_of(schema).iter_errors(value)
        best = importlib.import_module("jsonschema.exceptions").best_match(errors)
    except Exception as error:  # noqa: BLE001 - a reference that leads nowhere, a recursion without end
        return cut(f"the schema cannot be applied: {error}", MAX_PROBLEM, "…")
    return None if best is None else cut(f"{best.json_path}: {best.message}", MAX_PROBLEM, "…")


def repair_request(request: Request, text: str, problem: str) -> Request:
    """Return the request for a corrected answer: the conversation, the answer, and its problem."""
    prompt = REPAIR.format(problem=problem, schema=schema_text(request.schema or {}))
    turns = (
        Message(id="", role="assistant", parts=(TextPart(text=text),)),
        Message(id="", role="user", parts=(TextPart(text=prompt),)),
    )
    return replace(request, messages=(*request.messages, *turns), resume_id=None, resume_after=0)
