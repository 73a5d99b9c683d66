"""`FunctionTool`: a Python function as a tool, and `tool`, its decorator."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, overload

from nbchat.core.tracebacks import short_traceback
from nbchat.engine.tools import ToolOutput, error
from nbchat.providers.base import ToolSpec
from nbchat.tools.results import output_of, output_of_error
from nbchat.tools.signature import Signature

P = ParamSpec("P")
T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names that the APIs of all providers accept."""

NO_COROUTINE: Final = (
    "thread='main' is for plain functions: a coroutine would need an event loop of its own, which "
    "the main thread of a kernel does not have. Omit thread='main', or write a plain function."
)

MAX_DESCRIPTION: Final = 4000
"""Maximum characters of a description; longer ones are cut."""


class FunctionTool(Generic[P, T]):
    """A function that the model may call. Calling the tool itself calls the function.

    Made by `@nbchat.tool`; its attributes cannot be changed, since an approval is for exactly this function.
    """

    def __init__(
        self, function: Callable[P, T], *, ask: bool, on_main_thread: bool, timeout_s: float | None
    ) -> None:
        self.__wrapped__ = function
        self.__doc__ = inspect.getdoc(function)
        self._asks = ask
        self._on_main_thread = on_main_thread
        self._timeout_s = timeout_s
        self._signature = Signature(function)
        self._spec: ToolSpec | None = None
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"the name of a tool has 1 to 64 of a-z, A-Z, 0-9, _ and -, not {self.name!r}.")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        """Return the name, and whether calls need approval."""
        return f"<tool {self.name}{'' if self._asks else ', does not ask'}>"

    @property
    def name(self) -> str:
        """Name that the model uses."""
        return self.__wrapped__.__name__

    @property
    def spec(self) -> ToolSpec:
        """Name, description and arguments, as the model receives them."""
        if self._spec is None:
            self._spec = ToolSpec(
                name=self.name,
                description=(self.__doc__ or "")[:MAX_DESCRIPTION],
                parameters=self._signature.schema,
            )
        return self._spec

    @property
    def asks(self) -> bool:
        """True if each call needs an approval."""
        return self._asks

    @property
    def timeout_s(self) -> float | None:
        """Seconds for one call; `None`: `limits.tool_s`."""
        return self._timeout_s

    @property
    def on_main_thread(self) -> bool:
        """True if calls are executed on the main thread."""
        return self._on_main_thread

    def prepare(self, arguments: str) -> FunctionCall:
        """Return the call with these arguments; raises `ArgumentsInvalid`."""
        arguments_by_name = self._signature.arguments(arguments)
        return FunctionCall(self.__wrapped__, arguments_by_name, may_await=not self._on_main_thread)


class FunctionCall:
    """One call of a function. Implements `Work`."""

    def __init__(
        self, function: Callable[..., Any], arguments: dict[str, Any], *, may_await: bool = True
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._may_await = may_await
        self._lock = threading.Lock()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._is_cancelled = False
        self.was_interrupted: bool = False
        """True if it ended with `KeyboardInterrupt`."""

    def run(self) -> ToolOutput:
        """Call the function and return its result. A coroutine gets an event loop of its own."""
        try:
            value = self._function(**self._arguments)
            if inspect.iscoroutine(value):
                if not self._may_await:
                    value.close()
                    return error(f"The function returned a coroutine. {NO_COROUTINE}")
                value = asyncio.run(self._awaited(value))
            return output_of(value)
        except KeyboardInterrupt as problem:
            self.was_interrupted = True
            return output_of_error(problem)
        except BaseException as problem:  # noqa: BLE001 - `sys.exit()` ends this call only
            return output_of_error(problem)

    async def _awaited(self, coroutine: Any) -> Any:  # noqa: ANN401 - any value
        task = asyncio.ensure_future(coroutine)
        with self._lock:
            self._task = (asyncio.get_running_loop(), task)
            if self._is_cancelled:
                task.cancel()
        return await task

    def cancel(self) -> None:
        """Cancel a coroutine. Python cannot end another thread, so a plain function continues."""
        with self._lock:
            self._is_cancelled = True
            running = self._task
        if running is not None:
            loop, task = running
            with suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(task.cancel)


@overload
def tool(function: Callable[P, T], /) -> FunctionTool[P, T]: ...
@overload
def tool(
    *, ask: bool = True, thread: Literal["main"] | None = None, timeout_s: float | None = None
) -> Callable[[Callable[P, T]], FunctionTool[P, T]]: ...
@short_traceback
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    ask: bool = True,
    thread: Literal["main"] | None = None,
    timeout_s: float | None = None,
) -> Any:
    """Make a function a tool that the model may call, with approval, in sessions where it is switched on.

    The model sees the name, the docstring and the annotations. Arguments are validated against them.

    Parameters
    ----------
    ask
        Show each call and wait for approval. False is your statement that the function changes nothing and
        reads nothing private: it is then called without asking.
    thread
        `"main"`: call it on the main thread, between cells, for objects that must be used there; not for
        `async` functions. Otherwise each call has its own thread, and an `async` function its own event loop.
    timeout_s
        Seconds for one call. `None`: `registry.limits.tool_s`.

    Raises
    ------
    TypeError, ValueError
        If the function cannot be a tool.

    Examples
    --------
    >>> @nbchat.tool
    ... def rate(currency: str) -> float:
    ...     "Euro exchange rate."
    ...     return {"USD": 1.08}[currency]
    >>> rate, rate("USD")
    (<tool rate>, 1.08)
    """
    if thread not in (None, "main"):
        raise ValueError(f"thread must be 'main' or None, not {thread!r}.")
    if timeout_s is not None and (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, int | float)
        or not (timeout_s > 0 and math.isfinite(timeout_s))
    ):
        raise ValueError(f"timeout_s must be a positive number of seconds, not {timeout_s!r}.")

    def decorate(function: Callable[P, T]) -> FunctionTool[P, T]:
        if isinstance(function, FunctionTool):
            return function
        if not callable(function) or not hasattr(function, "__name__"):
            raise TypeError(f"@nbchat.tool decorates a function, not {function!r}.")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"a tool returns its result, and {function.__name__!r} is a generator.")
        if thread == "main" and inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__name__!r} is an async function. {NO_COROUTINE}")
        return FunctionTool(function, ask=bool(ask), on_main_thread=thread == "main", timeout_s=timeout_s)

    return decorate if function is None else decorate(function)
