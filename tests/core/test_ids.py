"""Ids are unique without coordination, and sort by time."""

import multiprocessing
import sys
import threading

import pytest

from nbchat.core.ids import new_id


def test_ids_sort_by_creation() -> None:
    """Ids sort in the order of their creation, even within one millisecond."""
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {26}


def test_a_prefix_precedes_the_id() -> None:
    """An id starts with its prefix."""
    assert new_id("s-").startswith("s-")


def test_ids_are_unique_over_threads() -> None:
    """Eight threads never create the same id, however often they are switched."""
    made: list[list[str]] = [[] for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda own=own: own.extend(new_id() for _ in range(2000))) for own in made
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len({one for own in made for one in own}) == 16_000


def _make(queue: "multiprocessing.SimpleQueue[list[str]]") -> None:
    queue.put([new_id() for _ in range(100)])


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork to be safe after"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_repeat_its_parent() -> None:
    """After a fork, parent and child create different ids."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    new_id()
    child = context.Process(target=_make, args=(queue,))
    child.start()
    mine = [new_id() for _ in range(100)]
    theirs = queue.get()
    child.join()
    assert not set(mine) & set(theirs)
