"""`Tool`: a function that the model may call, as the engine uses it.

Tools are objects of this process. They are never saved, and only code in this kernel can add one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Final, Protocol, runtime_checkable

from msgspec import Struct

from nbchat.core.calls import ToolCall
from nbchat.core.messages import ToolResultPart
from nbchat.core.redact import redact
from nbchat.core.text import clean
from nbchat.providers.base import ToolSpec

MAX_ARGUMENTS: Final = 100_000
"""Maximum bytes of the arguments of one call."""

MAX_RESULT: Final = 20_000
"""Maximum characters of a result's text."""

MAX_IMAGES: Final = 4
"""Maximum pictures of a result."""

MAX_IMAGE_BYTES: Final = 1_000_000
"""Maximum bytes of one picture."""

caller: Final[ContextVar[str | None]] = ContextVar("caller", default=None)
"""Id of the session whose tool or policy the current code is; waiting for that session would deadlock."""


class ArgumentsInvalid(ValueError):
    """The arguments of a call do not match the tool's signature. The message is the result for the model."""


class ToolOutput(Struct, frozen=True, kw_only=True):
    """The result of a call, for the model and the reader."""

    text: str = ""
    is_error: bool = False
    not_run: bool = False
    """The tool was not called; the text is the reason."""
    images: tuple[str, ...] = ()
    """Pictures, as `data:` URLs."""


class Work(Protocol):
    """One call with valid arguments. It is executed at most once."""

    def run(self) -> ToolOutput:
        """Execute the call and return its result. An error of the tool is a result. Blocks."""
        ...

    def cancel(self) -> None:
        """Cancel a call that is being executed, if possible. From any thread; returns at once."""
        ...


class ToolTraits(Protocol):
    """The properties of a tool."""

    @property
    def spec(self) -> ToolSpec:
        """Name, description and arguments, as the model receives them."""
        ...

    @property
    def asks(self) -> bool:
        """True if each call needs an approval. False is a statement of the tool's author."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """Seconds for one call; `None`: `limits.tool_s`."""
        ...

    @property
    def on_main_thread(self) -> bool:
        """True if calls must be executed on the main thread, as a cell is."""
        ...


@runtime_checkable
class Tool(ToolTraits, Protocol):
    """A tool that can be switched on with `session.tools`."""

    def prepare(self, arguments: str) -> Work:
        """Return the call with these arguments. Called on a worker thread; executes nothing.

        Raises
        ------
        ArgumentsInvalid
            If they do not match the signature.
        """
        ...


@runtime_checkable
class RemoteTool(ToolTraits, Protocol):
    """A tool of another process, which validates and executes its calls. Only for the engine's loop."""

    @property
    def is_gone(self) -> bool:
        """True if that process is gone. Calls are then not executed."""
        ...

    async def check(self, call: ToolCall) -> None:
        """Validate the arguments of a call; raises as `Tool.prepare`, and `KernelGone`."""
        ...

    async def preview(self, call: ToolCall) -> str | None:
        """Return the text that a checked call will return; `None` if it is not available before."""
        ...

    async def execute(
        self, session_id: str, call: ToolCall, limit_s: float, begun: Callable[[], object]
    ) -> ToolResultPart | ToolOutput:
        """Execute a checked call, at most once ever, and return its result; `begun` is called at its start.

        Raises
        ------
        KernelGone
            If the process is gone after it may have started the call. The outcome is unknown.
        """
        ...


@runtime_checkable
class ServedTool(Tool, Protocol):
    """A tool of a server."""

    @property
    def server_name(self) -> str:
        """Name of the server, which identifies it in a session."""
        ...

    def renamed(self, name: str) -> ServedTool:
        """Return the same tool with another name."""
        ...


@runtime_checkable
class ToolServer(Protocol):
    """A server whose tools can be switched on together with `session.tools`."""

    @property
    def server_name(self) -> str:
        """Name of the server."""
        ...

    def fetch_tools(self) -> Sequence[ServedTool]:
        """Return the server's tools, as it offers them now. Blocks for a limited time.

        Raises
        ------
        NbchatError
            If it cannot be reached, or offers tools that cannot be used.
        """
        ...


AnyTool = Tool | RemoteTool


Policy = Callable[[ToolCall], bool | None]
"""Decides on a call: `True` runs it, `False` refuses it, `None` asks."""


@runtime_checkable
class RemotePolicy(Protocol):
    """A policy of another process."""

    async def decide(self, call: ToolCall) -> bool | None:
        """Return the decision."""
        ...


AnyPolicy = Policy | RemotePolicy


@runtime_checkable
class Previewed(Protocol):
    """Work whose result can be shown before it is approved."""

    def preview(self) -> ToolOutput:
        """Return the result that `run` will return. Called at most once, on a worker thread, before `run`."""
        ...


def bounded(text: str, most: int = MAX_RESULT) -> str:
    """Return text without secrets and with at most `most` characters; an omission is named."""
    # Secrets may be cut in two at the limit, so they are removed first; what is far beyond is never shown.
    shown = clean(redact(text[: 2 * most]))
    if len(text) <= most and len(shown) <= most:
        return shown
    kept = max(most - 60, 0)
    return f"{shown[:kept]}\n\n[{max(len(text), len(shown)) - kept:,} more characters are omitted]"


def error(text: str) -> ToolOutput:
    """Return the result of a call that failed."""
    return ToolOutput(text=text, is_error=True)


def not_run(reason: str) -> ToolOutput:
    """Return the result of a call that was not executed."""
    return ToolOutput(text=reason, is_error=True, not_run=True)
