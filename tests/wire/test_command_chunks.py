"""Commands that are sent in chunks because they exceed the size of one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from nbchat.core.errors import WireError
from nbchat.core.values import MAX_VALUES
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import MAX_COMMAND, MAX_PART, CommandChunk
from nbchat.providers.scripted import ScriptedProvider
from nbchat.wire.command_chunks import MOST, CommandChunks
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.waiting import wait_for


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """Return a registry for this test."""
    made = SessionRegistry()
    yield made
    engine_of(made).shutdown()


def part(number: int, of: int, text: str, command_id: str = "c") -> CommandChunk:
    """Return a chunk."""
    return CommandChunk(id=command_id, page="p", epoch="k", part=number, of=of, text=text)


def test_parts_come_in_any_order_and_twice() -> None:
    """Chunks complete a command in any order and with repeats, and are dropped afterwards."""
    parts = CommandChunks()
    assert parts.take(part(2, 3, "}")) is None
    assert parts.take(part(0, 3, '{"id":')) is None
    assert parts.take(part(0, 3, '{"id":')) is None
    whole = parts.take(part(1, 3, '"c"'))
    assert whole == {"type": "run_command", "page": "p", "epoch": "k", "command": {"id": "c"}}
    assert parts.take(part(1, 3, '"c"')) is None


def test_a_text_with_many_brackets_arrives() -> None:
    """What a text contains does not count as values of the command."""
    text = "[{:" * MAX_VALUES
    whole = CommandChunks().take(part(0, 1, f'{{"text":"{text}"}}'))
    assert whole is not None
    assert whole["command"] == {"text": text}


@pytest.mark.parametrize(
    "wrong",
    [part(1, 1, ""), part(-1, 2, ""), part(0, 0, ""), part(0, 1, "{"), part(0, 2, "x" * (MAX_COMMAND + 1))],
    ids=["beyond", "before", "of none", "no JSON", "too long"],
)
def test_chunks_that_form_no_command_are_refused_and_dropped(wrong: CommandChunk) -> None:
    """Invalid chunks raise, and do not prevent later commands."""
    parts = CommandChunks()
    with pytest.raises(WireError):
        parts.take(wrong)
    assert parts.take(part(0, 1, "{}")) is not None


def test_pages_that_went_away_in_the_middle_leave_nothing() -> None:
    """Of incomplete commands only the newest are kept."""
    parts = CommandChunks()
    for number in range(MOST + 1):
        parts.take(part(0, 2, "{", str(number)))
    assert parts.take(part(1, 2, "}", "0")) is None
    assert parts.take(part(1, 2, "}", str(MOST))) is not None


def test_a_question_of_ten_megabytes_arrives(registry: SessionRegistry) -> None:
    """A prompt of ten megabytes with a repeated chunk is sent once, and each repeat is acknowledged."""
    text = "word " * 2_000_000
    session = registry.create("geo", provider=ScriptedProvider("Long!"))
    acks: list[Any] = []
    pieces: list[bytes] = []

    def hear(content: Any, buffers: list[bytes]) -> None:
        pieces.extend(buffers)
        if content["piece"] + 1 == content["of"]:
            packet = msgspec.json.decode(b"".join(pieces))
            pieces.clear()
            acks.extend(m for m in packet["messages"] if m["type"] == "ack")

    wire = engine_of(registry).loop.call(WireServer, engine_of(registry), hear)
    body = msgspec.json.encode({"type": "send", "id": "c1", "session_id": session.id, "text": text}).decode()
    cut = [body[i : i + MAX_PART] for i in range(0, len(body), MAX_PART)]
    for number in (0, *range(len(cut)), 3):
        wire.receive(
            {
                "type": "command_chunk",
                "id": "c1",
                "page": "p",
                "epoch": engine_of(registry).epoch,
                "part": number,
                "of": len(cut),
                "text": cut[number],
            }
        )
    wait_for(lambda: len(acks) == 2, "both acknowledgements")
    assert {(ack["id"], ack["error"]) for ack in acks} == {("c1", None)}
    registry.wait_all(30)
    assert [message.text for message in session.messages] == [text, "Long!"]
    engine_of(registry).loop.call(wire.close)
