"""`load` imports modules where an interrupt of the running cell cannot cut the import off."""

from __future__ import annotations

import _thread
import importlib
import queue
import sys
from contextlib import suppress


def load(*names: str) -> None:
    """Import modules at their first use, on a thread that no `KeyboardInterrupt` reaches, and wait for it.

    An import that is cut off raises errors of any type, and a compiled module whose first import was cut off
    cannot be imported again by the process. An interrupt ends the wait; the import continues.

    Parameters
    ----------
    names
        Full names of the modules. A failed import raises its error where the module is imported next.
    """
    missing = [name for name in names if name not in sys.modules]
    if missing:
        # `Thread.start`, `Thread.join` and `Event.wait` may be left with a taken lock by an interrupt.
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        _thread.start_new_thread(_import, (missing, done))
        done.get()


def _import(names: list[str], done: queue.SimpleQueue[None]) -> None:
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
    done.put(None)
