"""`Variables`: resolves `@name` to the notebook's variables, the last error and cells."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from nbchat.context.data_frames import is_data_frame
from nbchat.context.deadline import DEADLINE_S, within
from nbchat.context.descriptions import bounded
from nbchat.context.levels import Level
from nbchat.context.mentions import mentions
from nbchat.context.text import qualified, root, shortened
from nbchat.core.messages import Attachment, FilePart
from nbchat.core.text import fenced
from nbchat.handles.context import ContextFull, Excerpt, described
from nbchat.jupyter.last_error import describe_last_error, last_error
from nbchat.protocol import Described, Variable, WantDescribed, WantVariables
from nbchat.protocol import Variables as Listed

if TYPE_CHECKING:
    from nbchat.engine.config import Defaults

ERROR: Final = "error"
CELL: Final = "cell"
LISTED: Final = 1000
"""Maximum number of variables listed."""

CELLS: Final = 20
"""Maximum number of cells listed."""

CHAT: Final = ("%chat", "%%chat")

_CELL_PART: Final = re.compile(r"cell (\d+)")
_SHAPED: Final = frozenset({"pandas", "polars", "pyarrow", "numpy", "geopandas"})
_SIZED: Final = frozenset({dict, list, tuple, set, frozenset, str})


class Variables:
    """Values that `@name` can refer to. A user's variable takes precedence over `@error` and `@cell`.

    All methods except `mentioned` may be called on any thread. They call no code of the values' types,
    except for descriptions, which have their own deadline.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
        self._shell = shell

    def all(self) -> dict[str, object]:
        """Return the user's variables, without private names and the names that IPython defines."""
        hidden = self._shell.user_ns_hidden
        return {
            name: value
            for name, value in list(self._shell.user_ns.items())
            if not name.startswith("_") and not (name in hidden and hidden[name] is value)
        }

    def listed(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, type and size of each variable that is not a module, function or class."""
        for name, value in sorted(self.all().items()):
            kind = type(value)
            if not issubclass(kind, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
                yield name, kind.__name__, _size(value)

    def special(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, type and size of the last error, the last cell, and each of the last cells."""
        taken = self.all()
        error = last_error()
        if error is not None and ERROR not in taken:
            yield ERROR, type(error).__name__, ""
        cells = self._cells()
        if cells and CELL not in taken:
            yield CELL, "", f"[{cells[-1][0]}]"
            for number, source in reversed(cells[-CELLS:]):
                yield f"{CELL}:{number}", shortened(source.lstrip().partition("\n")[0].rstrip(), 60), ""

    def mentioned(self, text: str, level: Level) -> tuple[Attachment, ...]:
        """Return the attachments for the names that a text mentions with `@`.

        Raises
        ------
        LookupError
            If there is no such cell.
        ContextFull
            If the descriptions are too long for one message.
        """
        variables = self.all()
        found = mentions(text, lambda name: name in variables or name in {ERROR, CELL})
        chosen = (self._value(name, argument, variables) for name, argument in found)
        return tuple(described(dict(one for one in chosen if one is not None), level))

    def find(self, name: str) -> tuple[str, object] | None:
        """Return the name and value for a mention such as `df`, `error` or `cell:3`; `None` if not found.

        `cell 3`, the name of a cell's part, finds the cell again.

        Raises
        ------
        LookupError
            If there is no such cell.
        """
        if part := _CELL_PART.fullmatch(name):
            return self._cell(part[1])
        return self._value(*name.partition(":")[::2], self.all())

    def _value(self, name: str, argument: str, variables: Mapping[str, object]) -> tuple[str, object] | None:
        if name in variables:
            return name, variables[name]
        if name == CELL:
            return self._cell(argument)
        problem = describe_last_error(self._shell) if name == ERROR else None
        return None if problem is None else (ERROR, Excerpt(problem))

    def _cells(self) -> list[tuple[int, str]]:
        """Return number and source of each executed cell that does not start with `%chat`."""
        sources = self._shell.history_manager.input_hist_raw
        return [
            (number, source)
            for number, source in enumerate(sources)
            if number and source.strip() and not source.lstrip().startswith(CHAT)
        ]

    def _cell(self, argument: str) -> tuple[str, Excerpt]:
        """Return the name, source and text output of a cell.

        `argument` is the cell's execution number, or the text of its first line if that is a comment. If
        empty, the last cell that does not start with `%chat` is returned.
        """
        history = self._shell.history_manager
        sources = history.input_hist_raw
        if argument.isdecimal():
            number = int(argument)
        elif argument:
            first = [source.lstrip().partition("\n")[0].lstrip("#% ").rstrip() for source in sources]
            number = max((place for place, line in enumerate(first) if line == argument), default=0)
        else:
            number = max((number for number, _ in self._cells()), default=0)
        if not 0 < number < len(sources):
            raise LookupError(
                f"there is no cell {argument!r}; @cell:3 is the cell with the number [3]."
                if argument
                else "no cell has been run yet in this kernel."
            )
        text = fenced(sources[number].rstrip("\n"), "python")
        output = "".join(_outputs(history, number)).rstrip("\n")
        if output:
            text += f"\n\nOutput:\n\n{fenced(output)}"
        return f"cell {number}", Excerpt(text)


def answer(defaults: Defaults, message: WantVariables | WantDescribed) -> Listed | Described | None:
    """Answer a page's request for the list of variables or the description of one. On a worker thread.

    Takes at most `DEADLINE_S`, and uses neither the main thread nor the engine's loop. Without IPython the
    list is empty.
    """
    shell = _shell()
    if isinstance(message, WantVariables):
        variables = () if shell is None else tuple(_listed(Variables(shell)))
        return Listed(to=message.page, id=message.id, variables=variables)
    parts: tuple[Attachment, ...] = ()
    error = ""
    if shell is not None:
        try:
            parts = _described(Variables(shell), message, defaults.share)
        except (ContextFull, LookupError) as problem:
            error = str(problem.args[0])
    return Described(to=message.page, id=message.id, parts=parts, error=error)


def _listed(variables: Variables) -> Iterator[Variable]:
    for name, kind, size in (*islice(variables.listed(), LISTED), *variables.special()):
        yield Variable(name=name, kind=kind, size=size)


def _described(variables: Variables, message: WantDescribed, level: Level) -> tuple[Attachment, ...]:
    """Return the parts of a variable, or only its type if its description exceeds the deadline."""
    found = variables.find(message.name)
    if found is None:
        return ()
    name, value = found
    try:
        return within(lambda: tuple(described({name: value}, level, message.used)), DEADLINE_S)
    except ContextFull:
        raise
    except Exception as error:  # noqa: BLE001 - a figure that cannot be drawn, or the deadline
        why = "took longer than two seconds" if isinstance(error, TimeoutError) else "failed"
        text = bounded(f"{qualified(type(value))} (its description {why})")
        return (FilePart(name=name, text=text, kind="variable"),)


def _shell() -> Any:  # noqa: ANN401 - an InteractiveShell, or None
    try:
        from IPython import get_ipython  # noqa: PLC0415 - scripts need no IPython
    except ImportError:
        return None
    return get_ipython()  # type: ignore[no-untyped-call,unused-ignore]


def _outputs(history: Any, number: int) -> Iterator[str]:  # noqa: ANN401 - a HistoryManager
    """Yield the text that a cell printed and displayed, as far as this version of IPython keeps it."""
    for output in getattr(history, "outputs", {}).get(number, ()):
        if "stream" in output.bundle:
            yield from output.bundle["stream"]
        elif isinstance(plain := output.bundle.get("text/plain"), str):
            yield f"{plain}\n"


def _size(value: Any) -> str:  # noqa: ANN401 - any value
    """Return the shape or length of a value of a trusted type, else an empty string."""
    kind = type(value)
    if (is_data_frame(kind) or kind.__name__ == "ndarray") and root(kind) in _SHAPED:
        shape = getattr(value, "shape", None)  # a lazy frame has no shape
        return " × ".join(f"{size:,}" for size in shape) if isinstance(shape, tuple) else ""  # noqa: RUF001
    if kind in _SIZED:
        return f"{len(value):,}"
    return ""


def truncated_repr(value: object) -> str | None:
    """Return the type of a data frame whose `format` leaves out rows or columns, else `None`."""
    if not is_data_frame(type(value)):
        return None
    text = format(value)
    return shortened(type(value).__name__, 60) if "..." in text or "…" in text else None
