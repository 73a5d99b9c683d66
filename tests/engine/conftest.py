"""A registry of its own for each test, ended in good order; and what must be flat at the end."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from nbchat.handles.registry import SessionRegistry


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """Return a registry that belongs to this test alone; nothing of it is left behind."""
    made = SessionRegistry()
    yield made
    if made.engine.is_running:
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

        left = made.engine.run(others(), 10)
        made.shutdown()
        assert not left, f"tasks were left: {left}"
    assert not [t for t in threading.enumerate() if t is made.engine._thread]
