"""`look`: lets the model read the description of a variable."""

from __future__ import annotations

import sys
import types
from typing import Any, Final, Literal

from nbchat.context import deadline
from nbchat.context.descriptions import describe
from nbchat.context.text import qualified, shortened
from nbchat.engine.main_thread import main_thread
from nbchat.engine.tools import ToolOutput
from nbchat.tools.function_tool import FunctionCall, FunctionTool

MAX_LISTED: Final = 100
"""Maximum variables listed."""

_HIDDEN: Final = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
_CODE: Final = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


class LookCall(FunctionCall):
    """A call whose result is shown before it is approved. Implements `Work` and `Previewed`."""

    _preview: ToolOutput | None = None

    def preview(self) -> ToolOutput:
        """Return the text that `run` will return, whatever happens to the variable in the meantime."""
        self._preview = super().run()
        return self._preview

    def run(self) -> ToolOutput:
        """Return the text that was shown; without a preview, describe the variable now."""
        return super().run() if self._preview is None else self._preview


class LookTool(FunctionTool[..., str]):
    """The tool `look`."""

    def __init__(self, function: Any) -> None:  # noqa: ANN401 - a function
        super().__init__(function, ask=True, on_main_thread=False, timeout_s=None)

    def prepare(self, arguments: str) -> LookCall:
        """Return the call with these arguments; raises `ArgumentsInvalid`."""
        return LookCall(self.__wrapped__, self._signature.arguments(arguments))


@LookTool
def look(name: str = "", level: Literal["schema", "summary", "rows"] = "summary") -> str:
    """Describe a variable of the user's notebook. Without a name, list the variables and their types.

    Levels: `schema` (names and types), `summary` (also statistics), `rows` (also the first rows).
    """
    variables = _variables()
    if not name:
        # A type's name can be any text, also one with line breaks.
        kinds = {key: " ".join(qualified(type(value)).split()) for key, value in variables.items()}
        lines = [f"{shortened(key, 100)}: {kinds[key]}" for key in sorted(kinds)]
        more = [f"and {len(lines) - MAX_LISTED:,} more"] if len(lines) > MAX_LISTED else []
        return "\n".join([*lines[:MAX_LISTED], *more]) or "There are no variables."
    if name not in variables:
        raise LookupError(f"there is no variable {shortened(name, 100)!r}.")
    value = variables[name]
    try:
        return deadline.within(lambda: describe(value, level), deadline.DEADLINE_S)
    except TimeoutError:
        kind = qualified(type(value))
        return f"{kind} (its description took longer than {deadline.DEADLINE_S:g} seconds)"


def _variables() -> dict[str, object]:
    """Return the user's variables, without modules, functions, classes and private names."""
    shell = main_thread.shell
    namespace = vars(sys.modules["__main__"]) if shell is None else shell.namespace()
    return {
        name: value
        for name, value in list(namespace.items())
        if isinstance(name, str)
        and name.isidentifier()
        and not name.startswith("_")
        and name not in _HIDDEN
        and not issubclass(type(value), (*_CODE, FunctionTool))
    }
