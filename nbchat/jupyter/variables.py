"""`Variables`: resolves `@name` to the notebook's variables, the last error and cells."""

from __future__ import annotations

import types
from collections.abc import Iterator
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
from nbchat.handles.context import described
from nbchat.jupyter.last_error import describe_last_error
from nbchat.protocol import Described, Variable, WantDescribed, WantVariables
from nbchat.protocol import Variables as Listed

if TYPE_CHECKING:
    from nbchat.engine.config import Defaults

ERROR: Final = "error"
CELL: Final = "cell"
LISTED: Final = 1000
"""Maximum number of variables listed."""

CHAT: Final = ("%chat", "%%chat")

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

    def mentioned(self, text: str, level: Level) -> tuple[Attachment, ...]:
        """Return the attachments for the names that a text mentions with `@`.

        Raises
        ------
        LookupError
            If there is no such cell.
        ValueError
            If the descriptions are too long for one message.
        """
        variables = self.all()
        special: list[Attachment] = []
        chosen: dict[str, object] = {}
        for name, argument in mentions(text, lambda name: name in variables or name in {ERROR, CELL}):
            if name in variables:
                chosen[name] = variables[name]
            elif name == CELL:
                special.append(self._cell(argument))
            elif (problem := describe_last_error(self._shell)) is not None:
                special.append(_part(ERROR, problem))
        return (*special, *described(chosen, level))

    def _cell(self, argument: str) -> FilePart:
        """Return the source and the text output of a cell.

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
            number = max(
                (place for place, source in enumerate(sources) if not source.lstrip().startswith(CHAT)),
                default=0,
            )
        if not 0 < number < len(sources):
            raise LookupError(f"there is no cell {argument!r}; @cell:3 is the cell with the number [3].")
        text = fenced(sources[number].rstrip("\n"), "python")
        output = "".join(_outputs(history, number)).rstrip("\n")
        if output:
            text += f"\n\nOutput:\n\n{fenced(output)}"
        return _part(f"cell {number}", text)


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
    if shell is not None:
        parts = _described(Variables(shell), message.name, defaults.share)
    return Described(to=message.page, id=message.id, parts=parts)


def _listed(variables: Variables) -> Iterator[Variable]:
    for name, kind, size in islice(variables.listed(), LISTED):
        yield Variable(name=name, kind=kind, size=size)


def _described(variables: Variables, name: str, level: Level) -> tuple[Attachment, ...]:
    """Return the parts of a variable, or only its type if its description exceeds the deadline."""
    found = variables.all()
    if name not in found:
        return ()
    value = found[name]
    try:
        return within(lambda: tuple(described({name: value}, level)), DEADLINE_S)
    except Exception as error:  # noqa: BLE001 - a figure that cannot be drawn, or the deadline
        why = "took longer than two seconds" if isinstance(error, TimeoutError) else "failed"
        return (_part(name, f"{qualified(type(value))} (its description {why})"),)


def _shell() -> Any:  # noqa: ANN401 - an InteractiveShell, or None
    try:
        from IPython import get_ipython  # noqa: PLC0415 - scripts need no IPython
    except ImportError:
        return None
    return get_ipython()  # type: ignore[no-untyped-call,unused-ignore]


def _part(name: str, text: str) -> FilePart:
    return FilePart(name=name, text=bounded(text), kind="variable")


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
