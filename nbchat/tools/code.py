"""`python`: lets the model run code in this kernel, as a cell does."""

from __future__ import annotations

import ast
import contextlib
import io
import sys
from typing import Final

from nbchat.engine.main_thread import CodeOutput, main_thread
from nbchat.engine.tools import ToolOutput
from nbchat.providers.base import ToolSpec
from nbchat.tools.results import output_of_error
from nbchat.tools.signature import Signature

TIMEOUT_S: Final = 600.0
"""Seconds for one call."""


def _signature(code: str) -> None:
    """Run Python code in the user's notebook kernel and return what it prints, displays and raises.

    Variables of the notebook can be used and changed. The value of the last expression is shown.
    """


class PythonTool:
    """The tool `python`. Each call asks; the code is shown in full."""

    asks: bool = True
    timeout_s: float | None = TIMEOUT_S
    on_main_thread: bool = True

    def __init__(self) -> None:
        self._signature = Signature(_signature)

    def __repr__(self) -> str:
        """Return the name."""
        return "<tool python>"

    @property
    def spec(self) -> ToolSpec:
        """Name, description and arguments, as the model receives them."""
        return ToolSpec(
            name="python", description=_signature.__doc__ or "", parameters=self._signature.schema
        )

    def prepare(self, arguments: str) -> CodeCall:
        """Return the call with these arguments; raises `ArgumentsInvalid`."""
        return CodeCall(self._signature.arguments(arguments)["code"])


class CodeCall:
    """Code to run on the main thread. Implements `Work`."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.was_interrupted: bool = False
        """True if an interrupt ended it."""

    def run(self) -> ToolOutput:
        """Run the code."""
        shell = main_thread.shell
        done = _run_in_script(self._code) if shell is None else shell.run_code(self._code)
        self.was_interrupted = done.was_interrupted
        text = done.text.rstrip("\n")
        if done.names:
            text = f"{text}\n\n[bound: {', '.join(done.names[:50])}]".lstrip("\n")
        return ToolOutput(text=text or "[no output]", is_error=done.is_error, images=done.images)

    def cancel(self) -> None:
        """Do nothing: the job is interrupted on the main thread."""


def _run_in_script(code: str) -> CodeOutput:
    """Run code in the main module of a script."""
    namespace = vars(sys.modules["__main__"])
    before = dict(namespace)
    printed = io.StringIO()
    failed = interrupted = False
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            tree = ast.parse(code, "<python>")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<python>", "exec"), namespace)  # noqa: S102 - approved by the user
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "<python>", "eval"), namespace)  # noqa: S307 - as above
                if value is not None:
                    print(repr(value))  # noqa: T201 - into the captured text
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in the code ends this call only
            failed, interrupted = True, isinstance(error, KeyboardInterrupt)
            print(output_of_error(error).text)  # noqa: T201 - into the captured text
    names = [
        name
        for name, value in namespace.items()
        if not name.startswith("_") and (name not in before or before[name] is not value)
    ]
    return CodeOutput(
        text=printed.getvalue(), is_error=failed, was_interrupted=interrupted, names=tuple(names)
    )


python: Final = PythonTool()
