"""A server of Redis for the tests of stores."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from nbchat.core.ids import new_id

if TYPE_CHECKING:
    from tests.redis_process import RedisProcess


@pytest.fixture(scope="session")
def redis_server() -> Iterator["RedisProcess"]:
    """Start one server for all tests of this process; each test uses a namespace of its own."""
    from tests.redis_process import RedisProcess  # noqa: PLC0415 - starts nothing unless it is used

    with RedisProcess() as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """Return a namespace that no other test uses."""
    return new_id("n-")
