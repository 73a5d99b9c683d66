"""Events of a stretch as JSON: deltas that are one record."""

from __future__ import annotations

import pytest

from nbchat.core.events import PartDelta, RunPaused
from nbchat.core.ids import new_id
from nbchat.core.values import DecodeError, encode_json
from nbchat.engine.journal_events import decode_events, encode_events

RUN = new_id("r-")


def test_deltas_of_one_part_are_one_record() -> None:
    """Deltas are read with their texts and offsets; the last time is exact, others to a millisecond."""
    texts = ["a", "\U0001f600é", "", "\u4e2d\u6587", "end"]
    offsets = [0, 1, 4, 4, 6]
    deltas = [
        PartDelta(run_id=RUN, at=1.8e9 + 0.0412345 * n, part_index=2, offset=offset, text=text)
        for n, (offset, text) in enumerate(zip(offsets, texts, strict=True))
    ]
    body = encode_events(deltas)
    read = decode_events(body)
    assert body.count(b"run_id") == 1
    assert [
        (one.offset, one.text, one.part_index, one.run_id) for one in read if isinstance(one, PartDelta)
    ] == [(one.offset, one.text, one.part_index, one.run_id) for one in deltas]
    assert read[-1] == deltas[-1]
    for one, delta in zip(read, deltas, strict=True):
        assert isinstance(one, PartDelta)
        assert abs(one.at - delta.at) <= 0.0005 * len(deltas)


def test_other_events_between_deltas_are_kept_in_order() -> None:
    """Deltas of other parts, deltas after a gap, and other events are records of their own."""

    def delta(part_index: int, offset: int, run_id: str = RUN) -> PartDelta:
        return PartDelta(run_id=run_id, at=1.8e9, part_index=part_index, offset=offset, text="x")

    events = (
        *(delta(0, 0), delta(0, 1), RunPaused(run_id=RUN, at=1.8e9), delta(0, 2), delta(0, 3)),
        *(delta(1, 0), delta(1, 5), delta(1, 6, new_id("r-")), delta(1, 7)),
    )
    assert decode_events(encode_events(events)) == events
    assert decode_events(encode_events(())) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"lengths": [1, 1]},
        {"lengths": [-1, 4]},
        {"lengths": []},
        {"gaps_ms": []},
        {"gaps_ms": [1, 2]},
        {"text": "longer"},
        {"at": None},
    ],
)
def test_deltas_that_do_not_match_their_text_are_an_error(change: dict[str, object]) -> None:
    """A record of deltas with wrong lengths is not read."""
    record: dict[str, object] = {
        "type": "part_deltas",
        "run_id": RUN,
        "at": 1.8e9,
        "part_index": 0,
        "offset": 0,
        "gaps_ms": [40],
        "lengths": [2, 1],
        "text": "abc",
    }
    assert len(decode_events(encode_json([record]))) == 2
    with pytest.raises(DecodeError):
        decode_events(encode_json([record | change]))
