"""`look`: lets the model read the description of a variable."""

from __future__ import annotations

import sys
import types
from typing import Final, Literal

from nbchat.context.descriptions import describe
from nbchat.context.text import qualified, shortened
from nbchat.engine.main_thread import main_thread
from nbchat.tools.function_tool import tool

MAX_LISTED: Final = 100
"""Maximum variables listed."""

_HIDDEN: Final = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
_CODE: Final = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


@tool
def look(name: str = "", level: Literal["schema", "summary", "rows"] = "summary") -> str:
    """Describe a variable of the user's notebook. Without a name, list the variables and their types.

    Levels: `schema` (names and types), `summary` (also statistics), `rows` (also the first rows).
    """
    variables = _variables()
    if not name:
        lines = [f"{key}: {qualified(type(value))}" for key, value in sorted(variables.items())]
        more = [f"and {len(lines) - MAX_LISTED:,} more"] if len(lines) > MAX_LISTED else []
        return "\n".join([*lines[:MAX_LISTED], *more]) or "There are no variables."
    if name not in variables:
        raise LookupError(f"there is no variable {shortened(name, 100)!r}.")
    return describe(variables[name], level)


def _variables() -> dict[str, object]:
    """Return the user's variables, without modules, functions, classes and private names."""
    shell = main_thread.shell
    namespace = vars(sys.modules["__main__"]) if shell is None else shell.namespace()
    return {
        name: value
        for name, value in list(namespace.items())
        if not name.startswith("_")
        and name not in _HIDDEN
        and not issubclass(type(value), _CODE)
        and qualified(type(value)) != "nbchat.tools.function_tool.FunctionTool"
    }
