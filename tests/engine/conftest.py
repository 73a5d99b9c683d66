"""A registry for each test, shut down at its end without leftover tasks or threads."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nbchat.handles.registry import SessionRegistry
from tests.backends import over_a_link
from tests.engines import engine_of


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Iterator[SessionRegistry]:
    """Return a registry for this test, shut down at its end; over a link where the test asks for it."""
    backend = getattr(request, "param", "kernel")
    with ended_in_good_order(SessionRegistry()) if backend == "kernel" else over_a_link(backend) as made:
        yield made


@contextmanager
def ended_in_good_order(made: SessionRegistry) -> Iterator[SessionRegistry]:
    """Shut down a registry, and check that none of its tasks and threads is left."""
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
