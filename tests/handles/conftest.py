"""A registry for these tests, in this process or over the link to a runner."""

import inspect
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nbchat.handles.registry import SessionRegistry
from tests.conftest import SOAK
from tests.engine.conftest import ended_in_good_order
from tests.runner.linked import Linked

OVER_LINK = 5
"""One test in `OVER_LINK` also runs over a link; in the long version every test does."""

ONLY_IN_THE_KERNEL = {
    "test_threads_of_callers_are_kept_apart": "replaces the objects of the process",
}
"""Tests that need an engine in the same process, with the reason."""

MOMENTS = ("wait_paused", "stalled", "copied(")
"""Words in tests that read a state at the moment of a pause, which a link shows a little later."""


def runs_over_a_link(function: Callable[..., object]) -> bool:
    """Return whether a test checks what an engine does in any process."""
    source = inspect.getsource(function)
    return function.__name__ not in ONLY_IN_THE_KERNEL and not any(word in source for word in MOMENTS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a chosen fifth of the tests over both backends."""
    if "registry" in metafunc.fixturenames:
        chosen = SOAK or zlib.crc32(metafunc.function.__name__.encode()) % OVER_LINK == 0
        backends = ["kernel", "runner"] if chosen and runs_over_a_link(metafunc.function) else ["kernel"]
        metafunc.parametrize("registry", backends, indirect=True)


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Iterator[SessionRegistry]:
    """Return a registry for this test, shut down at its end."""
    if getattr(request, "param", "kernel") == "kernel":
        with ended_in_good_order(SessionRegistry()) as made:
            yield made
        return
    with TemporaryDirectory(prefix="nb-") as short, Linked(Path(short)) as linked:  # for a socket's path
        made = linked.registry()
        yield made
        made.stop_all()
        made.wait_all(10)
