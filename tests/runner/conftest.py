"""Fixtures of the runner's tests: a server whose answers the test holds and releases."""

from collections.abc import Iterator

import pytest

from tests.runner.counting_server import CountingServer


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """Return a server whose answers stop in the middle until `go`."""
    with CountingServer() as made:
        yield made
