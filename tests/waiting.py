"""Waiting for conditions outside of this process; inside of it, wait for what happens."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Return the condition's first value that is true.

    Raises
    ------
    TimeoutError
        It was not true in time; `what` is in the message.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            message = f"not within {timeout_s:g} s: {what}"
            raise TimeoutError(message)
        time.sleep(0.02)
    return value
