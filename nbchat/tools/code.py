"""`python`: lets the model run code in this kernel, as a cell does."""

from __future__ import annotations

import ast
import builtins
import contextlib
import getpass
import inspect
import io
import sys
from collections.abc import Iterator
from typing import Final

from nbchat.engine.main_thread import CodeOutput, bound_names, delayed_interrupts, main_thread
from nbchat.engine.nested_loop import run_nested
from nbchat.engine.tools import MAX_IMAGES, MAX_RESULT, ToolOutput, bounded
from nbchat.providers.base import ToolSpec
from nbchat.tools.results import output_of_error, picture_url
from nbchat.tools.signature import Signature

TIMEOUT_S: Final = 600.0
"""Seconds for one call."""

LEAST_TEXT: Final = 4000
"""Characters that are available for printed text, however long the error is."""

NO_INPUT: Final = "input is not available to code that a model runs; pass the value in the code."
NO_PICTURE: Final = "[a picture that is too large is omitted]"


def _signature(code: str) -> None:
    """Run Python code in the user's notebook kernel and return what it prints, displays and raises.

    Variables of the notebook can be used and changed. The value of the last expression is shown. `await`
    works at the top level. There is no input.
    """


class PythonTool:
    """The tool `python`. Each call needs approval; the code is shown in full."""

    asks: bool = True
    timeout_s: float | None = TIMEOUT_S
    on_main_thread: bool = True

    def __init__(self) -> None:
        self._signature = Signature(_signature)
        self._spec: ToolSpec | None = None

    def __repr__(self) -> str:
        """Return the name."""
        return "<tool python>"

    @property
    def spec(self) -> ToolSpec:
        """Name, description and arguments, as the model receives them."""
        if self._spec is None:  # pages are sent its name with each change of a session
            self._spec = ToolSpec(
                name="python",
                description=inspect.getdoc(_signature) or "",
                parameters=self._signature.schema,
            )
        return self._spec

    def prepare(self, arguments: str) -> CodeCall:
        """Return the call with these arguments; raises `ArgumentsInvalid`."""
        return CodeCall(self._signature.arguments(arguments)["code"])


class CodeCall:
    """Code to run on the main thread. Implements `Work`."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.was_interrupted: bool = False
        """True if it ended with `KeyboardInterrupt`."""

    def run(self) -> ToolOutput:
        """Run the code."""
        shell = main_thread.shell
        with delayed_interrupts(), _without_input():
            done = _run_in_script(self._code) if shell is None else shell.run_code(self._code)
        self.was_interrupted = isinstance(done.error, KeyboardInterrupt)
        return _output(done)

    def cancel(self) -> None:
        """Do nothing: the job is interrupted on the main thread."""


def _output(done: CodeOutput) -> ToolOutput:
    """Return the outcome of code as the result of a call. Long text is cut before the error, not in it."""
    images: list[str] = []
    rest: list[str] = []
    for picture in done.pictures:
        url = picture_url(picture) if len(images) < MAX_IMAGES else None
        if url is None:
            rest.append(NO_PICTURE)
        else:
            images.append(url)
    if done.error is not None:
        rest.append(output_of_error(done.error).text)
    if done.names:
        names = ", ".join(done.names[:50])
        rest.append(f"[bound: {bounded(names, 1000)}]")
    end = bounded("\n\n".join(rest), MAX_RESULT - LEAST_TEXT)
    text = bounded(done.text.rstrip("\n"), MAX_RESULT - len(end) - 2)
    return ToolOutput(
        text="\n\n".join(part for part in (text, end) if part) or "[no output]",
        is_error=done.error is not None,
        images=tuple(images),
    )


class _NoInput(io.TextIOBase):
    """Standard input without data. Reading raises at once, instead of waiting for a line."""

    def readable(self) -> bool:
        return True

    def read(self, _size: int | None = -1, /) -> str:
        raise EOFError(NO_INPUT)

    def readline(self, _size: int = -1, /) -> str:  # type: ignore[override]
        raise EOFError(NO_INPUT)

    def close(self) -> None:
        """Do nothing: `exit()` of the interpreter closes it."""


def _refuse_input(*_args: object, **_kwargs: object) -> str:
    raise EOFError(NO_INPUT)


@contextlib.contextmanager
def _without_input() -> Iterator[None]:
    """Let `input()`, `getpass()` and reading from standard input raise."""
    before = builtins.input, getpass.getpass, sys.stdin
    builtins.input, getpass.getpass, sys.stdin = _refuse_input, _refuse_input, _NoInput()
    try:
        yield
    finally:
        builtins.input, getpass.getpass, sys.stdin = before


def _run_in_script(code: str) -> CodeOutput:
    """Run code in the main module of a script."""
    namespace = vars(sys.modules["__main__"])
    before = dict(namespace)
    printed = io.StringIO()
    problem: BaseException | None = None
    with (
        delayed_interrupts() as opened,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            with opened():
                _execute(code, namespace)
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in the code ends this call only
            problem = error
    return CodeOutput(text=printed.getvalue(), error=problem, names=bound_names(before, namespace))


def _execute(code: str, namespace: dict[str, object]) -> None:
    """Execute code and print the value of its last expression."""
    tree = ast.parse(code, "<python>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    _evaluated(tree, "exec", namespace)
    if isinstance(last, ast.Expr):
        value = _evaluated(ast.Expression(last.value), "eval", namespace)
        if value is not None:
            print(repr(value))  # noqa: T201 - into the captured text


def _evaluated(tree: ast.Module | ast.Expression, mode: str, namespace: dict[str, object]) -> object:
    compiled = compile(tree, "<python>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    value = eval(compiled, namespace)  # noqa: S307 - approved by the user
    # The value of code with `await` at the top level is a coroutine of this code.
    is_async = inspect.iscoroutine(value) and value.cr_code is compiled
    return run_nested(value) if is_async else value


python: Final = PythonTool()
