"""A registry of its own for each test, ended in good order; and what must be flat at the end."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nbchat.handles.registry import SessionRegistry
from tests.engines import engine_of


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """Return a registry that belongs to this test alone; nothing of it is left behind."""
    with ended_in_good_order(SessionRegistry()) as made:
        yield made


@contextmanager
def ended_in_good_order(made: SessionRegistry) -> Iterator[SessionRegistry]:
    """End a registry, and check that no task and no thread of it is left."""
    yield made
    if engine_of(made).loop.is_running:
        made.stop_all()
        made.wait_all(10)

        async def others() -> set[str]:
            here = asyncio.current_task()
            for _ in range(200):
                left = {t.get_name() for t in asyncio.all_tasks() if t is not here}
                if not left:
                    return left
                await asyncio.sleep(0.01)
            return left

        left = engine_of(made).loop.run(others(), 10)
        engine_of(made).shutdown()
        assert not left, f"tasks were left: {left}"
    assert not [t for t in threading.enumerate() if t is engine_of(made).loop._thread]
