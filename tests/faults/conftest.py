"""Fixtures for the fault tests: a registry for each test, checked for leaks at the end."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from nbchat.handles.registry import SessionRegistry
from tests.engines import engine_of
from tests.faults.invariants import slots, tasks
from tests.waiting import wait_for


@pytest.fixture
def registry(caplog: pytest.LogCaptureFixture) -> Iterator[SessionRegistry]:
    """Return a registry; after the test no slot, task or thread is left, and asyncio logged nothing."""
    made = SessionRegistry()
    yield made
    if engine_of(made).loop.is_running:
        made.stop_all()
        made.wait_all(10)
        with suppress(TimeoutError):
            wait_for(lambda: not tasks(made), "no task is left")
        assert tasks(made) == set()
        assert slots(made) == (0, 0)
        thread = engine_of(made).loop._thread
        engine_of(made).shutdown()
        assert thread is not None
        assert not thread.is_alive()
    complaints = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert complaints == []
