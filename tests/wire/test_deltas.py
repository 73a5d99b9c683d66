"""The short form of text deltas on the wire."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from nbchat.core.events import Event, PartDelta, RunPaused
from nbchat.core.run import RunRecord, RunState
from nbchat.core.values import decode
from nbchat.protocol import Delta, Deltas, Packet, encode_packet
from nbchat.providers.base import Delta as ProviderDelta
from nbchat.providers.base import Finish, Request, TextDelta
from nbchat.wire.deltas import event_of, messages_of, text_of
from tests.simulation.world import World

LIVE = RunRecord(id="run-1", kind="send", state=RunState.STREAMING, message_id="m", queued_at=1.0)


def delta(text: str, run_id: str = "run-1", at: float = 1764169301.123456) -> PartDelta:
    """Return an event with this text."""
    return PartDelta(run_id=run_id, at=at, part_index=1, offset=7, text=text)


def test_text_of_live_runs_is_arrays_of_numbers_and_text() -> None:
    """Text deltas are sent without field names and ids, and with exact times."""
    events = [delta("The "), delta("Seine", at=1764169301.123458)]
    deltas = [*text_of(3, 40, events, LIVE), *text_of(9, 5, [delta("Bièvre")], LIVE)]
    (message,) = messages_of([], deltas)
    packet = encode_packet(Packet(epoch="k", n=1, rev=1, messages=(message,)))
    assert '"deltas":[[3,40,0,1,7,"The "],[3,41,2,1,7,"Seine"],[9,5,0,1,7,"Bièvre"]]' in packet.decode()
    assert isinstance(message, Deltas)
    assert [event_of(each, message.at, "run-1") for each in message.deltas[:2]] == events
    assert decode(Delta, [3, 40, 0, 1, 7, "The "]) == message.deltas[0]


@pytest.mark.parametrize(
    ("events", "live"),
    [
        ([delta("x"), RunPaused(run_id="run-1", at=3.0)], LIVE),
        ([delta("x", run_id="run-0")], LIVE),
        ([delta("x", at=0.1234567)], LIVE),
        ([delta("x")], None),
        ([], LIVE),
    ],
)
def test_everything_else_is_sent_in_full(events: list[Event], live: RunRecord | None) -> None:
    """Other events, text of other runs, and times finer than microseconds keep their full form."""
    assert text_of(3, 40, events, live) == []


def test_nothing_new_needs_no_message() -> None:
    """Without text and counts no message is sent."""
    assert messages_of([], []) == []


class Paced:
    """A provider that sends 50 tokens a second."""

    name, can_prefill, can_resume = "paced", True, False

    async def stream(self, _request: Request) -> AsyncIterator[ProviderDelta]:
        """Send 250 tokens."""
        for _ in range(250):
            await asyncio.sleep(0.02)
            yield TextDelta("word")
        yield Finish("stop")

    async def models(self) -> list[str]:
        """Return one model."""
        return ["paced"]

    async def aclose(self) -> None:
        """Close nothing."""


def test_twenty_answers_at_once_take_little_of_the_wire() -> None:
    """Packets with text of 20 sessions have at most 1,200 bytes on average."""
    world = World(0, pages=1)

    async def story() -> None:
        sessions = [world.registry.create(provider=Paced()) for _ in range(20)]
        for session in sessions:
            session.send("?")
        await asyncio.sleep(1)
        before = world.registry.stats()
        await asyncio.sleep(3)
        after = world.registry.stats()
        await world.settle()
        assert [session.messages[-1].text for session in sessions] == ["word" * 250] * 20
        packets = after["packets"] - before["packets"]
        assert packets == pytest.approx(75, abs=2)
        assert (after["frame_bytes"] - before["frame_bytes"]) / packets <= 1200

    world.run(story())
