"""Wait for conditions outside this process; for those inside it, wait for the event itself."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Return the first true value of the condition.

    Raises
    ------
    TimeoutError
        If it is not true in time. The message contains `what`.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            message = f"not within {timeout_s:g} s: {what}"
            raise TimeoutError(message)
        time.sleep(0.02)
    return value
