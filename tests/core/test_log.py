"""`EventLog` returns the events that a reader has not seen, from any position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.events import UnreadChanged
from nbchat.core.log import EventLog, LogCompacted


def filled(count: int, base: int = 0) -> tuple[EventLog, list[UnreadChanged]]:
    """Return a log with `count` events, and the events."""
    log = EventLog(base)
    events = [UnreadChanged(unread=bool(i % 2)) for i in range(count)]
    for event in events:
        log.append(event)
    return log, events


def test_numbers_are_dense_from_one() -> None:
    """Events are numbered from 1 without gaps."""
    log = EventLog()
    assert [log.append(UnreadChanged(unread=True)) for _ in range(3)] == [1, 2, 3]
    assert repr(log) == "<EventLog 1..3>"


@given(st.integers(0, 60), st.integers(0, 5), st.integers(0, 60))
def test_a_reader_gets_all_that_is_after_its_place(count: int, base: int, cut: int) -> None:
    """Reading from any cursor returns exactly the later events, or raises if they were compacted."""
    log, events = filled(count, base)
    log.compact(base + cut)
    for after in range(base, log.head + 1):
        if after < log.base:
            with pytest.raises(LogCompacted):
                log.read_from(after)
        else:
            assert list(log.read_from(after)) == events[after - base :]


def test_reading_beyond_the_head_is_an_error() -> None:
    """A cursor beyond the head raises."""
    log, _ = filled(2)
    with pytest.raises(ValueError, match="the log ends at 2"):
        log.read_from(3)


def test_compacting_beyond_the_head_leaves_an_empty_log() -> None:
    """After all events are compacted, numbering continues."""
    log, _ = filled(3)
    log.compact(99)
    assert (log.base, log.head) == (3, 3)
    assert log.append(UnreadChanged(unread=True)) == 4
