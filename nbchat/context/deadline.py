"""`within` calls a function of unknown duration and raises `TimeoutError` after a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE_S: Final = 2.0
"""Deadline for code outside nbchat (`__repr__`, a registered description)."""


def within(work: Callable[[], T], deadline_s: float) -> T:
    """Return the result of `work`, which runs on a separate daemon thread.

    Python cannot end a thread. Work that exceeds its deadline keeps its thread, which does not keep the
    process alive. Its result is discarded.

    Raises
    ------
    TimeoutError
        If `work` has not returned after `deadline_s` seconds.
    Exception
        If `work` raises it. `SystemExit` and other non-`Exception` errors become `RuntimeError`.
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
    # A `SystemExit` or `KeyboardInterrupt` in that thread must not end the caller's thread.
    raise RuntimeError(f"{type(error).__name__}: {error}") from error
