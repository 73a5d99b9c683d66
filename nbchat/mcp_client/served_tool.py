"""`McpTool`: a tool of an MCP server, and `McpCall`, one call of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.redact import redact
from nbchat.core.text import clean
from nbchat.engine.tools import ToolOutput, error, not_run
from nbchat.mcp_client.arguments import checked_arguments
from nbchat.mcp_client.definition import Definition, NotCalled, ServerFailed
from nbchat.mcp_client.results import output_of_result
from nbchat.providers.base import ToolSpec
from nbchat.tools.function_tool import MAX_DESCRIPTION

if TYPE_CHECKING:
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.mcp_client.connector import Connector, Use
    from nbchat.mcp_client.settings import ServerSettings

_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]+")


class McpTool:
    """A tool of a server. Each call needs approval. Implements `ServedTool`."""

    asks: bool = True
    timeout_s: float | None = None
    on_main_thread: bool = False

    def __init__(
        self,
        settings: ServerSettings,
        definition: Definition,
        loop: LoopThread,
        connector: Connector,
        *,
        use: Use,
        name: str = "",
    ) -> None:
        self._parts = (settings, definition, loop, connector)
        self._use = use
        self._spec = ToolSpec(
            name=name or _REFUSED.sub("_", definition.name)[:64] or "tool",
            description=redact(clean(definition.description), settings.secrets())[:MAX_DESCRIPTION],
            parameters=definition.schema,
        )

    def __repr__(self) -> str:
        """Return the names of the tool and its server."""
        return f"<tool {self.name} of MCP server {self.server_name}>"

    @property
    def name(self) -> str:
        """Name that the model uses."""
        return self._spec.name

    @property
    def server_name(self) -> str:
        """Name of its server."""
        return self._parts[0].name

    @property
    def spec(self) -> ToolSpec:
        """Name, description and arguments, as the model receives them."""
        return self._spec

    def renamed(self, name: str) -> McpTool:
        """Return the same tool with another name for the model."""
        return McpTool(*self._parts, use=self._use, name=name)

    def prepare(self, arguments: str) -> McpCall:
        """Return the call with these arguments; raises `ArgumentsInvalid`."""
        return McpCall(self, checked_arguments(self._parts[1].schema, arguments))

    def start(self, arguments: Mapping[str, Any]) -> concurrent.futures.Future[Any]:
        """Send a call, on the engine's loop."""
        _, definition, loop, connector = self._parts
        return asyncio.run_coroutine_threadsafe(connector.call(definition, arguments), loop.aio)

    def output_of(self, result: object) -> ToolOutput:
        """Return the result of a call without the credentials of the server."""
        return output_of_result(result, self._parts[0].secrets())


class McpCall:
    """One call with valid arguments. Implements `Work`."""

    def __init__(self, tool: McpTool, arguments: Mapping[str, Any]) -> None:
        self._tool = tool
        self._arguments = arguments
        self._lock = threading.Lock()
        self._sent: concurrent.futures.Future[Any] | None = None
        self._is_cancelled = False

    def run(self) -> ToolOutput:
        """Send the call and wait for its result."""
        with self._lock:
            if self._is_cancelled:
                return not_run("The call was cancelled before it was sent.")
            self._sent = self._tool.start(self._arguments)
        try:
            return self._tool.output_of(self._sent.result())
        except NotCalled as problem:
            return not_run(str(problem))
        except ServerFailed as problem:
            return error(str(problem))
        except (concurrent.futures.CancelledError, asyncio.CancelledError):
            return error("The call was cancelled. It is unknown whether the server executed it.")

    def cancel(self) -> None:
        """Cancel the call: the server is notified, and no result is awaited."""
        with self._lock:
            self._is_cancelled = True
            if self._sent is not None:
                self._sent.cancel()
