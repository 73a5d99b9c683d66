"""`json_answer` fills a JSON schema with values from a question, without a language model.

A JSON object in the question is used if it has the required properties. Otherwise each property gets the
first number, date, choice or word that follows its name in the question, else a value of its type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_DEPTH: Final = 8
_OBJECT: Final = re.compile(r"\{")
_NUMBER: Final = re.compile(r"-?\d{1,300}(?:\.\d+)?", re.ASCII)
"""A number that a float can represent."""
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_WORDS: Final = re.compile(r"[^\W_][^,;.\n]*")
_AFTER_NAME: Final = r"(?<![^\W_]){name}(?![^\W_])\s*(?:is|are|was|=|:)?\s*"


def json_answer(schema: Mapping[str, Any], question: str) -> str:
    """Return JSON of the types in a schema of an object, with values from the question.

    Keywords other than types, `enum`, `const`, `format` of dates and `maxLength` are ignored, so the JSON may
    not match a schema with other rules. The schema must be valid.
    """
    return json.dumps(_given(schema, question) or _value(schema, schema, question, 0), ensure_ascii=False)


def _given(schema: Mapping[str, Any], question: str) -> object:
    """Return the first JSON object of the question that has the required properties."""
    decoder = json.JSONDecoder()
    for match in _OBJECT.finditer(question):
        try:
            value, _ = decoder.raw_decode(question, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and set(schema.get("required", ())) <= set(value):
            return value
    return None


def _value(root: Mapping[str, Any], schema: Any, text: str, depth: int) -> Any:  # noqa: ANN401 - JSON
    schema = _resolved(root, schema)
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return next((one for one in choices if str(one).lower() in text.lower()), choices[0])
    options = schema.get("anyOf") or schema.get("oneOf")
    if options and depth < 2 * _DEPTH:
        return _value(root, options[0] if depth < _DEPTH else options[-1], text, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {}) if depth < _DEPTH else {}
        return {name: _value(root, one, _after(name, text), depth + 1) for name, one in properties.items()}
    if kind == "array":
        return [_value(root, schema.get("items", {}), text, depth + 1)] if depth < _DEPTH else []
    return _scalar(kind, schema, text)


def _scalar(kind: object, schema: Mapping[str, Any], text: str) -> float | str | None:
    if kind in {"number", "integer"}:
        found = _NUMBER.search(text)
        number: float = float(found[0]) if found else schema.get("minimum", 1)
        return int(number) if kind == "integer" or number == int(number) else number
    if kind == "boolean":
        return re.match(r"no\b|false\b", text, re.IGNORECASE) is None
    return None if kind == "null" else _string(schema, text)


def _string(schema: Mapping[str, Any], text: str) -> str:
    date = _DATE.search(text)
    if schema.get("format") == "date":
        return date[0] if date else "2026-01-01"
    if schema.get("format") == "date-time":
        return f"{date[0] if date else '2026-01-01'}T12:00:00Z"
    words = _WORDS.search(text)
    return (words[0].strip() if words else "unknown")[: int(schema.get("maxLength", 80))]


def _resolved(root: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    for _ in range(_DEPTH):  # a reference may lead to another one
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str):
            break
        schema = root
        for name in reference.removeprefix("#").strip("/").split("/"):
            schema = schema.get(name, {}) if name and isinstance(schema, Mapping) else schema
    return schema if isinstance(schema, Mapping) else {}


def _after(name: str, text: str) -> str:
    """Return the part of a text after a property's name, else the whole text."""
    spoken = re.escape(name).replace("_", "[ _]")
    found = re.search(_AFTER_NAME.replace("{name}", spoken), text, re.IGNORECASE)
    return text[found.end() :] if found else text
