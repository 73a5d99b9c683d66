"""The one registry of a process, whichever copy of nbchat asks for it.

A module that is reloaded, or imported a second time under another path, gets the same object: it is
kept under a name of its own in `sys.modules`, where no reload of ours reaches.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import types
from typing import TYPE_CHECKING, Final, cast

from nbchat.core.errors import CommandError

if TYPE_CHECKING:
    from nbchat.handles.registry import SessionRegistry

logger = logging.getLogger("nbchat")

KEY: Final = "_nbchat_of_this_process"
LAYOUT: Final = 1
"""Changes when code of one version could not work with the registry of another."""

_lock = threading.Lock()


def registry() -> SessionRegistry:
    """Return this process's registry, made by the first call.

    Raises
    ------
    CommandError
        Another version of nbchat, which this one cannot work with, has made it.
    """
    holder = sys.modules.get(KEY)
    if holder is None:
        with _lock:
            holder = sys.modules.get(KEY)
            if holder is None:
                holder = _make()
    if holder.__dict__["layout"] != LAYOUT:
        raise CommandError(
            "another version of nbchat is at work in this kernel.",
            hint="Restart the kernel to use the version that is installed now.",
        )
    return cast("SessionRegistry", holder.__dict__["registry"])


def _make() -> types.ModuleType:
    from nbchat.handles.registry import SessionRegistry  # noqa: PLC0415 - `import nbchat` stays cheap

    holder = types.ModuleType(KEY, "Holds nbchat's registry over reloads.")
    made = SessionRegistry()
    holder.__dict__.update(registry=made, layout=LAYOUT)
    sys.modules[KEY] = holder
    atexit.register(made.shutdown)
    return holder
