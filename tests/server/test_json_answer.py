"""Answers of the demo models for a JSON schema."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nbchat.server.json_answer import json_answer

TEXT = {"type": "string"}


def answer(properties: dict[str, Any], question: str, **more: Any) -> Any:
    """Return the parsed answer for an object with these properties."""
    schema = {"type": "object", "properties": properties, "required": list(properties), **more}
    return json.loads(json_answer(schema, question))


@pytest.mark.parametrize(
    ("properties", "question", "expected"),
    [
        ({"vendor": TEXT}, "Vendor: Acme Ltd, total 3", {"vendor": "Acme Ltd"}),
        ({"total": {"type": "number"}}, "1 pen. The total is 12.50 USD", {"total": 12.5}),
        ({"n": {"type": "integer"}}, "nothing", {"n": 1}),
        ({"unit": {"enum": ["EUR", "USD"]}}, "12 usd", {"unit": "USD"}),
        ({"paid": {"type": "boolean"}}, "paid: no", {"paid": False}),
        ({"day": {"type": "string", "format": "date"}}, "on 2026-03-04", {"day": "2026-03-04"}),
        ({"tags": {"type": "array", "items": TEXT}}, "tags: new", {"tags": ["new"]}),
        ({"a": {"anyOf": [{"type": "null"}, TEXT]}}, "a: b", {"a": None}),
        ({"km": {"type": "integer"}}, 'As JSON: {"km": 775, "x": 1}', {"km": 775, "x": 1}),
        ({"km": {"type": "integer"}}, '{"x": 1} and km = 7', {"km": 7}),
        ({"first_name": TEXT}, "first name: Ada.", {"first_name": "Ada"}),
    ],
)
def test_values_come_from_the_question(properties: dict[str, Any], question: str, expected: Any) -> None:
    """A value follows from the name of its property or from a JSON object in the question."""
    assert answer(properties, question) == expected


def test_a_type_that_contains_itself_ends() -> None:
    """A recursive schema has an answer of limited depth."""
    child = {"anyOf": [{"$ref": "#"}, {"type": "null"}]}
    assert answer({"name": TEXT, "child": child}, "name: a")["child"]["name"] == "a"


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"$ref": "#/$defs/loop"}},
        {"a": {"$ref": "#/$defs/itself"}},
        {"a": {"type": "integer", "minimum": 10**400}},
        {"a": {"type": "string", "maxLength": 2.0}},
    ],
)
@pytest.mark.parametrize("question", ["word", "9" * 1000])
def test_any_valid_schema_has_an_answer(properties: dict[str, Any], question: str) -> None:
    """References that lead nowhere and numbers beyond a float's range have an answer too."""
    definitions = {"loop": {"anyOf": [{"$ref": "#/$defs/loop"}]}, "itself": {"$ref": "#/$defs/itself"}}
    schema = {"type": "object", "properties": properties, "$defs": definitions}
    Draft202012Validator.check_schema(schema)
    assert list(answer(properties, question, **{"$defs": definitions})) == ["a"]


SCALARS = st.sampled_from([TEXT, *({"type": kind} for kind in ("number", "integer", "boolean", "null"))])
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: (
        inner.map(lambda items: {"type": "array", "items": items})
        | st.dictionaries(st.sampled_from("abcd"), inner).map(
            lambda fields: {"type": "object", "properties": fields, "required": list(fields)}
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["a", "b c", "e+"]), SCHEMAS), st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_an_answer_matches_its_schema(properties: dict[str, Any], question: str) -> None:
    """For any question, the answer matches a schema of these types."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    Draft202012Validator(schema).validate(json.loads(json_answer(schema, question)))
