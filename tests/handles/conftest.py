"""A registry for these tests, in this process or over the link to a runner."""

import inspect
from collections.abc import Callable, Iterator

import pytest

from nbchat.handles.registry import SessionRegistry
from tests.backends import over_a_link, over_all_backends
from tests.engine.conftest import ended_in_good_order

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
    over_all_backends(metafunc, fits=runs_over_a_link)


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Iterator[SessionRegistry]:
    """Return a registry for this test, shut down at its end."""
    backend = getattr(request, "param", "kernel")
    with ended_in_good_order(SessionRegistry()) if backend == "kernel" else over_a_link(backend) as made:
        yield made
