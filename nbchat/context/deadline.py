"""`within`: calls code of unknown duration, and returns control when a deadline has passed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE_S: Final = 2.0
"""Seconds that code of other authors (`__repr__`, a registered description) may take."""


def within(work: Callable[[], T], deadline_s: float) -> T:
    """Return the result of `work`, which runs on a daemon thread of its own.

    Python cannot end a thread. Work that exceeds its deadline keeps its thread, which does not keep the
    process alive; its result is dropped.

    Raises
    ------
    TimeoutError
        If `work` has not returned after `deadline_s` seconds.
    Exception
        Whatever `work` raises; `SystemExit` and the like as `RuntimeError`.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def target() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=target, name="nbchat-describe", daemon=True).start()
    if not done.wait(deadline_s):
        raise TimeoutError(f"no result within {deadline_s:g} s")
    if results:
        return results[0]
    error = errors[0]
    if isinstance(error, Exception):
        raise error
    # A `SystemExit` or `KeyboardInterrupt` of that thread must not end the caller's.
    raise RuntimeError(f"{type(error).__name__}: {error}") from error
