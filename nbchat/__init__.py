"""Many LLM conversations in one notebook.

Sessions, and the runs that generate answers in them, are kept in the kernel's registry. Widgets and cells
are views of it. Importing this package is cheap: it restores nothing, and modules are loaded at their
first use.

::

    import nbchat

    chat = nbchat.ChatTabs()
    geo = chat.session("geo", instructions="Answer briefly.")
    run = geo.send("Which rivers cross Paris?")
"""

from __future__ import annotations

# Imported early: the import fails after the main thread of a script has ended, and another thread may be
# the first to use nbchat.
import concurrent.futures.thread  # noqa: F401
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


@cache
def _modules() -> dict[str, str]:
    """Return the module of each public name, as `__init__.pyi` lists them."""
    text = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = re.findall(r"^from (nbchat\S+) import (\([^)]*\)|.*)", text, re.MULTILINE)
    return {name: module for module, names in imports for name in re.findall(r"(\w+) as \1\b", names)}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public object
    """Return a public name and load its module at the first use."""
    if name == "registry":
        # Not cached: the registry belongs to the process, not to this copy of the module.
        return import_module("nbchat.jupyter.process").current().registry
    if name == "__all__":
        value: Any = sorted([*_modules(), "registry", "tools"])
    elif name == "__version__":
        value = import_module("nbchat.core.version").VERSION
    elif name == "tools":
        value = import_module("nbchat.tools")
    elif (module := _modules().get(name)) is not None:
        value = getattr(import_module(module), name)
    else:
        raise AttributeError(f"module 'nbchat' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, without internal modules, for completion."""
    return sorted([*__getattr__("__all__"), "__version__", "__doc__"])


def load_ipython_extension(shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
    """Add `%chat`, `%%chat` and the configuration of `NbChat` to IPython: `%load_ext nbchat`."""
    from nbchat.jupyter.magics import load  # noqa: PLC0415 - IPython is there

    load(shell)
