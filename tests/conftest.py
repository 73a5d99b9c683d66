"""Settings for every test: environment, network, effort, order."""

import ipaddress
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tools.jupyter_home import PROVIDER_SETTINGS

SOAK = "NBCHAT_SOAK" in os.environ
"""`make soak` runs the long versions."""

ROUNDS = int(os.environ.get("NBCHAT_ROUNDS", "100"))
"""Rounds of the long versions of tests that restart kernels, which can be run in parts."""

# A run on every change uses fixed examples; soak draws new ones. Deadlines would measure the machine.
settings.register_profile("change", max_examples=300, stateful_step_count=30, deadline=None, derandomize=True)
settings.register_profile(
    "soak",
    max_examples=10_000,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("soak" if SOAK else "change")


def _stay_on_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a connection to another machine: no test needs one, so a test that opens one is broken."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = arguments[1][0]
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        message = f"a test tried to connect to {host!r}; tests stay on this machine"
        raise RuntimeError(message)


# An audit hook covers the sockets of every library, also asyncio's. It cannot be removed, and need not be.
sys.addaudithook(_stay_on_loopback)

# A shell's background process ignores SIGINT, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_provider_settings() -> Iterator[None]:
    """Remove provider settings of this machine's user from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(PROVIDER_SETTINGS) and name not in {"NBCHAT_CHROMIUM", "NBCHAT_SOAK"}:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def soak() -> bool:
    """Return whether long versions of tests run."""
    return SOAK


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put browser tests last: Playwright keeps an event loop in this thread, and async tests need it free."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
