"""Structured answers: the request for a `schema`, the value of `data`, and wrong answers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import http.server
import json
import pickle
import threading
from collections.abc import Iterator
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

import nbchat
from nbchat.core.errors import AnswerInvalid, ProviderUnavailable
from nbchat.engine import deadlines
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.structured import Structure
from nbchat.providers.base import Request, UsageDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.prompts import chat_body, responses_body
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from tests.engines import engine_of


class Item(msgspec.Struct):
    """A position of an invoice."""

    name: str
    price: float


@dataclasses.dataclass
class DataclassInvoice:
    """An invoice."""

    vendor: str
    total: float
    date: dt.date
    currency: Literal["EUR", "USD"]


class StructInvoice(msgspec.Struct):
    """An invoice."""

    vendor: str
    total: float
    items: list[Item]


class DictInvoice(TypedDict):
    """An invoice."""

    vendor: str
    total: float


class ModelInvoice(pydantic.BaseModel):
    """An invoice."""

    vendor: str
    total: float = pydantic.Field(gt=0)
    note: str | None = None

    @pydantic.field_validator("vendor")
    @classmethod
    def _is_named(cls, vendor: str) -> str:
        if vendor == "unknown":
            raise ValueError("a vendor has a name")
        return vendor


SCHEMA: dict[str, Any] = {
    "title": "River of France",
    "type": "object",
    "properties": {"river": {"type": "string"}, "km": {"type": "integer"}},
    "required": ["river", "km"],
}
SEINE = '{"river": "Seine", "km": 775}'
WRONG = '{"river": "Seine"}'


class Server:
    """A server that answers with prepared texts in turn, and records the requests."""

    def __init__(self, *answers: str, refuses: str = "") -> None:
        self.requests: list[dict[str, Any]] = []
        left = list(answers)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(body)
                if refuses and refuses in body:
                    self._reply(400, {"error": {"message": f"{refuses}: json_schema is not supported"}})
                    return
                text = left.pop(0) if len(left) > 1 else left[0]
                if self.path.endswith("/responses"):
                    part = {"type": "output_text", "text": text}
                    output = [{"type": "message", "content": [part]}]
                    self._reply(200, {"object": "response", "status": "completed", "output": output})
                else:
                    message = {"role": "assistant", "content": text}
                    self._reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

            def _reply(self, status: int, value: object) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Any]:
    """Return a function that starts a server and returns it."""
    servers: list[Server] = []

    def start(*answers: str, refuses: str = "") -> Server:
        servers.append(Server(*answers, refuses=refuses))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def scripted(*answers: str) -> ScriptedProvider:
    """Return a provider that answers with the given texts in turn."""
    left = list(answers)
    return ScriptedProvider(lambda _request: [left.pop(0)])


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (DataclassInvoice, DataclassInvoice("Acme Ltd", 12.5, dt.date(2026, 3, 4), "USD")),
        (StructInvoice, StructInvoice("Acme Ltd", 12.5, [Item("pen", 2.0)])),
        (DictInvoice, {"vendor": "Acme Ltd", "total": 12.5}),
        (ModelInvoice, ModelInvoice(vendor="Acme Ltd", total=12.5, note="none")),
        (
            {"type": "object", "properties": {"vendor": {"type": "string"}}, "required": ["vendor"]},
            {"vendor": "Acme Ltd"},
        ),
    ],
    ids=["dataclass", "msgspec", "TypedDict", "pydantic", "JSON schema"],
)
def test_an_answer_is_an_object_of_the_schema(schema: Any, expected: object) -> None:
    """`data` is an object of the given type, for each kind of schema, and the text is its JSON."""
    question = (
        "Parse: vendor: Acme Ltd, total: 12.50 USD, date: 2026-03-04, note: none, items: name pen, price 2."
    )
    answer = nbchat.ask(question, schema=schema, model="nbchat-tour")
    assert answer.data == expected
    assert type(answer.data) is (dict if isinstance(expected, dict) else schema)
    assert json.loads(answer.text) == json.loads(str(answer)) == answer.json()


def test_both_apis_receive_the_schema(registry: SessionRegistry, serve: Any) -> None:
    """Chat Completions gets `response_format`, Responses gets `text.format`, in the strict form."""
    server = serve(SEINE)
    strict = {"name": "River_of_France", "schema": {**SCHEMA, "additionalProperties": False}, "strict": True}
    for api in ("chat", "responses"):
        provider = OpenAIProvider(server.base_url, "key", api=api)
        session = registry.create(model="m", provider=provider)
        assert session.ask("The Seine?", schema=SCHEMA, timeout=30).data == {"river": "Seine", "km": 775}
        engine_of(registry).loop.run(provider.aclose())
    chat, responses = server.requests
    assert chat["response_format"] == {"type": "json_schema", "json_schema": strict}
    assert responses["text"] == {"format": {"type": "json_schema", **strict}}
    assert "schema" not in chat
    assert "schema" not in responses


def test_the_strict_form_is_used_only_if_it_means_the_same() -> None:
    """A schema with optional or free properties is sent unchanged, with `strict` false."""
    free = {"type": "object", "additionalProperties": {"type": "integer"}}
    optional = {**SCHEMA, "required": ["km"]}
    nested = {**SCHEMA, "properties": {**SCHEMA["properties"], "more": {"type": "object"}}}
    for schema in (free, optional, {**nested, "required": ["river", "km", "more"]}):
        sent = chat_body(Request(messages=(), schema=schema))["response_format"]["json_schema"]
        assert (sent["strict"], sent["schema"]) == (False, schema)
    named = {
        "type": "object",
        "properties": {"properties": {"$ref": "#/$defs/R"}},
        "required": ["properties"],
    }
    sent = responses_body(Request(messages=(), schema={**named, "$defs": {"R": SCHEMA}}))["text"]["format"]
    assert sent["strict"]
    assert sent["schema"]["$defs"]["R"]["additionalProperties"] is False


@pytest.mark.parametrize(("api", "field"), [("chat", "response_format"), ("responses", "text")])
def test_a_server_without_schemas_gets_it_in_the_instructions(
    registry: SessionRegistry, serve: Any, api: Any, field: str
) -> None:
    """After a refusal the schema is sent in the instructions, and later questions skip the attempt."""
    server = serve(SEINE, refuses=field)
    provider = OpenAIProvider(server.base_url, "key", api=api)
    session = registry.create(model="m", provider=provider, instructions="Be brief.")
    for _ in range(2):
        assert session.ask("The Seine?", schema=SCHEMA, timeout=30).data["km"] == 775
    engine_of(registry).loop.run(provider.aclose())
    assert [field in request for request in server.requests] == [True, False, False]
    system = server.requests[1]["instructions" if field == "text" else "messages"]
    text = system if isinstance(system, str) else system[0]["content"]
    assert text.startswith("Be brief.\n\nAnswer with JSON only")
    assert json.loads(text.rpartition("\n")[2]) == SCHEMA


def test_a_wrong_answer_is_corrected_once_in_the_same_run(registry: SessionRegistry, serve: Any) -> None:
    """The corrected answer replaces the wrong one: one run, one message, two requests."""
    server = serve(WRONG, SEINE)
    provider = OpenAIProvider(server.base_url, "key")
    session = registry.create(model="m", provider=provider)
    run = session.send("The Seine?", schema=SCHEMA)
    assert list(run) == [SEINE]
    answer = run.result(30)
    engine_of(registry).loop.run(provider.aclose())
    assert answer.data == {"river": "Seine", "km": 775}
    assert (run.state, run.text, answer.text) == ("completed", SEINE, SEINE)
    assert [message.role for message in session.messages] == ["user", "assistant"]
    first, second = server.requests
    assert second["response_format"] == first["response_format"]
    question, wrong, problem = second["messages"]
    assert question == first["messages"][0]
    assert wrong == {"role": "assistant", "content": WRONG}
    assert "$: 'km' is a required property" in problem["content"]
    assert SCHEMA["title"] in problem["content"]


def test_an_answer_is_corrected_at_most_once(registry: SessionRegistry) -> None:
    """An answer that still does not match is kept with a notice, and `data` raises with the reason."""
    provider = scripted(WRONG, '{"river": "Seine", "km": "long"}', SEINE)
    session = registry.create(provider=provider)
    answer = session.ask("The Seine?", schema=SCHEMA, timeout=30)
    assert len(provider.requests) == 2
    assert answer.text == '{"river": "Seine", "km": "long"}'
    assert answer.notices == ("The answer does not match the schema: $.km: 'long' is not of type 'integer'",)
    with pytest.raises(AnswerInvalid, match=r"\$\.km: 'long' is not of type 'integer'"):
        _ = answer.data


def test_a_correction_that_fails_leaves_the_first_answer(registry: SessionRegistry) -> None:
    """If the server fails during the correction, the run completes with the first answer."""
    error = ProviderUnavailable("overloaded.", retryable=False)
    steps: list[Any] = [[WRONG], [error]]
    session = registry.create(provider=ScriptedProvider(lambda _request: steps.pop(0)))
    run = session.send("The Seine?", schema=SCHEMA).wait(30)
    assert (run.state, run.text, run.error) == ("completed", WRONG, None)
    assert "The correction failed: overloaded." in run.message.notices[0]


def test_a_run_is_stopped_while_its_answer_is_corrected(registry: SessionRegistry) -> None:
    """Stop during the correction ends the run as stopped, with the text of the first answer."""
    steps: list[Any] = [[WRONG], [PAUSE, SEINE]]
    provider = ScriptedProvider(lambda _request: steps.pop(0))
    session = registry.create(provider=provider)
    run = session.send("The Seine?", schema=SCHEMA)
    provider.wait_paused()
    assert run.text == WRONG
    run.stop()
    run.wait(30)
    assert (run.state, run.text, run.error) == ("stopped", WRONG, None)
    with pytest.raises(AnswerInvalid):
        _ = run.result().data


def test_a_slow_validation_is_awaited(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose stream has ended is not ended by a clock before its answer is validated."""
    monkeypatch.setattr(deadlines, "AFTER_FINISH_S", 0.0)
    provider = scripted(WRONG, SEINE)
    session = registry.create(provider=provider)
    assert session.ask("The Seine?", schema=SCHEMA, timeout=30).text == SEINE
    assert len(provider.requests) == 2


def test_a_validation_is_no_delay_that_can_be_ended(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an answer is validated, `retry_now` returns False and the run continues."""
    validating, validated = threading.Event(), threading.Event()

    def slow(*_args: object) -> None:
        validating.set()
        assert validated.wait(30)

    monkeypatch.setattr("nbchat.engine.live_run.mismatch", slow)
    run = registry.create(provider=scripted(SEINE)).send("The Seine?", schema=SCHEMA)
    assert validating.wait(30)
    assert not run.retry_now()
    validated.set()
    assert run.result(30).text == SEINE


def test_usage_counts_both_rounds(registry: SessionRegistry) -> None:
    """The tokens of a correction are added to those of the first answer."""
    usage = UsageDelta(nbchat.Usage(input_tokens=10, output_tokens=5))
    steps: list[Any] = [[WRONG, usage], [SEINE, usage]]
    session = registry.create(provider=ScriptedProvider(lambda _request: steps.pop(0)))
    run = session.send("The Seine?", schema=SCHEMA).wait(30)
    assert run.usage is not None
    assert (run.usage.input_tokens, run.usage.output_tokens) == (20, 10)


def test_an_answer_in_a_code_block_or_after_reasoning_matches(registry: SessionRegistry) -> None:
    """JSON in a code block, or after reasoning, needs no correction."""
    for text in (f"Here it is:\n```json\n{SEINE}\n```\n", f"<think>A {{river}}?</think>\n{SEINE}"):
        provider = scripted(text)
        session = registry.create(provider=provider)
        assert session.ask("The Seine?", schema=SCHEMA, timeout=30).data["km"] == 775
        assert len(provider.requests) == 1


def test_an_answer_that_the_model_did_not_finish_is_not_corrected(registry: SessionRegistry) -> None:
    """An answer cut off by a limit is incomplete: its text is kept, and it has no data."""
    provider = ScriptedProvider('{"river": "Sei', finish="length")
    session = registry.create(provider=provider)
    run = session.send("The Seine?", schema=SCHEMA).wait(30)
    assert (run.state, len(provider.requests)) == ("incomplete", 1)
    with pytest.raises(AnswerInvalid, match="not valid JSON"):
        _ = run.result().data


def test_rules_beyond_a_json_schema_are_checked_by_data(registry: SessionRegistry) -> None:
    """`data` applies the validators of a pydantic model, also those that its JSON schema lacks."""
    session = registry.create(provider=scripted('{"vendor": "unknown", "total": 1}'))
    answer = session.ask("Parse.", schema=ModelInvoice, timeout=30)
    with pytest.raises(AnswerInvalid, match=r"\$\.vendor: Value error, a vendor has a name"):
        _ = answer.data


@pytest.mark.parametrize(
    "schema",
    [DictInvoice, ModelInvoice, {"type": "object", "properties": {"total": {"type": "number"}}}],
    ids=["TypedDict", "pydantic", "JSON schema"],
)
def test_data_accepts_what_the_engine_accepted(registry: SessionRegistry, schema: Any) -> None:
    """An answer with NaN or half of a surrogate pair, which is not asked for again, has an object."""
    provider = scripted('{"vendor": "Acme \\ud83d", "total": Infinity}')
    session = registry.create(provider=provider)
    data = session.ask("Parse.", schema=schema, timeout=30).data
    assert len(provider.requests) == 1
    found = data.model_dump() if isinstance(data, pydantic.BaseModel) else data
    assert (found["vendor"], found["total"]) == ("Acme \ufffd", float("inf"))


def test_an_answer_is_saved_as_text_and_restored_as_plain_json(registry: SessionRegistry) -> None:
    """After a restore, after a pickle and in `messages`, an answer has plain JSON as its data."""
    session = registry.create(provider=scripted(SEINE))

    @dataclasses.dataclass
    class River:
        river: str
        km: int

    answer = session.ask("The Seine?", schema=River, timeout=30)
    assert answer.data == River("Seine", 775)
    assert session.messages[-1].data == {"river": "Seine", "km": 775}
    assert session.messages[-1] == answer
    assert answer == session.messages[-1]
    assert pickle.loads(pickle.dumps(answer)) == answer
    other = SessionRegistry()
    try:
        (restored,) = other.restore(registry.snapshot())
        assert restored.messages[-1].data == {"river": "Seine", "km": 775}
    finally:
        other.shutdown()


def test_the_schema_applies_again_to_another_version(registry: SessionRegistry) -> None:
    """`regenerate` uses the same schema, and also corrects at most once."""
    provider = scripted(SEINE, WRONG, '{"river": "Loire", "km": 1006}')
    session = registry.create(provider=provider)
    session.ask("A river?", schema=SCHEMA, timeout=30)
    assert session.regenerate().result(30).data == {"river": "Loire", "km": 1006}
    assert [request.schema for request in provider.requests] == [SCHEMA] * 3


def test_a_schema_applies_to_its_question_only(registry: SessionRegistry) -> None:
    """The next question of the session is sent without the schema."""
    provider = scripted(SEINE, "In words.")
    session = registry.create(provider=provider)
    session.ask("The Seine?", schema=SCHEMA, timeout=30)
    assert session.ask("And in words?", timeout=30).text == "In words."
    assert [request.schema for request in provider.requests] == [SCHEMA, None]
    assert dict(session.params) == {}


@pytest.mark.parametrize(
    ("schema", "error", "words"),
    [
        (int, TypeError, "schema must be a pydantic model, .* not int"),
        (Item("a", 1.0), TypeError, "not Item"),
        (list[int], TypeError, "schema must be"),
        ({"type": "array"}, ValueError, "must describe an object"),
        ({"type": "object", "properties": 5}, ValueError, "not a valid JSON schema"),
    ],
)
def test_what_is_no_schema_is_refused_before_anything_is_sent(
    registry: SessionRegistry, schema: Any, error: type[Exception], words: str
) -> None:
    """Values that are not schemas raise, and no request is made."""
    provider = scripted(SEINE)
    session = registry.create(provider=provider)
    for call in (session.send, session.ask):
        with pytest.raises(error, match=words):
            call("?", schema=schema)
    with pytest.raises(error, match=words):
        nbchat.map(["?"], schema=schema, provider=provider, progress=False)
    assert provider.requests == []


def test_no_reference_of_a_schema_is_fetched(registry: SessionRegistry, serve: Any) -> None:
    """A reference to another server causes no request, and the answer is kept with a notice."""
    server = serve("{}")
    schema = {"type": "object", "properties": {"river": {"$ref": f"{server.base_url}/river.json"}}}
    session = registry.create(provider=scripted(SEINE, SEINE))
    answer = session.ask("The Seine?", schema=schema, timeout=30)
    assert "the schema cannot be applied" in answer.notices[0]
    assert server.requests == []


class Node(msgspec.Struct):
    """A type that contains itself."""

    name: str
    child: Node | None = None


def test_types_may_contain_themselves() -> None:
    """A recursive type is sent with its definitions and an object at its root."""
    structure = Structure(Node)
    assert structure.schema["type"] == "object"
    assert "Node" in structure.schema["$defs"]
    assert structure.data_of('{"name": "a", "child": {"name": "b"}}') == Node("a", Node("b"))
