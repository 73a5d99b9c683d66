"""Fixtures of the service's tests: services, and a server whose answers the test holds and releases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_process import RedisProcess
from tests.runner.counting_server import CountingServer
from tests.service.replicated import Processes, Replicated
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


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisProcess]:
    """Return a server for all tests of a module."""
    with RedisProcess() as made:
        yield made


@pytest.fixture
def replicated(
    tmp_path: Path, redis_server: RedisProcess, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Replicated]:
    """Return two replicas in this process."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with redis_server.client() as client:
        client.flushdb()
    with Replicated(tmp_path, redis_server) as made:
        yield made


@pytest.fixture(scope="module")
def both_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Return two replicas in processes of their own, which the tests of a module share."""
    with RedisProcess() as redis, Processes(tmp_path_factory.mktemp("replicas"), redis) as made:
        yield made


@pytest.fixture
def processes(
    both_processes: Processes, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Processes]:
    """Return two replicas that run. Each test uses namespaces of its own, and sessions of other titles."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    both_processes.restore()
    yield both_processes
    both_processes.end_kernels()
