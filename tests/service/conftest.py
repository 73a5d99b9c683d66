"""Fixtures of the service's tests: a service, and a server whose answers the test holds and releases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.counting_server import CountingServer
from tests.service.served import Served


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """Return a server whose answers stop in the middle until `go`."""
    with CountingServer() as made:
        yield made


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Return a service in this process."""
    with Served(tmp_path) as made:
        yield made
