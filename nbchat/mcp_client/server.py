"""`McpServer`: an MCP server, as `nbchat.mcp` returns it."""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.errors import CommandError, ConnectFailed
from nbchat.mcp_client.definition import Definition, ServerFailed
from nbchat.mcp_client.served_tool import McpTool
from nbchat.mcp_client.settings import MAX_DEFINITION, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nbchat.engine.limits import Limits
    from nbchat.engine.loop_thread import LoopThread

INSTALL: Final = "Install it with: pip install 'jupyter-nbchat[mcp]'"


class McpServer:
    """An MCP server whose tools can be switched on with `session.tools`. Implements `ToolServer`.

    It connects when it is switched on. Its process or connection ends when no session uses its tools.
    """

    def __init__(self, settings: ServerSettings, loop: LoopThread, limits: Limits) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise CommandError("MCP servers need the package mcp, which is not installed.", hint=INSTALL)
        self._settings = settings
        self._loop = loop
        self._limits = limits
        self._lock = threading.Lock()
        self._made: Any = None

    def __repr__(self) -> str:
        """Return the name, and the host or the program."""
        return f"<MCP server {self._settings.name} at {self._settings.place}>"

    @property
    def server_name(self) -> str:
        """The name."""
        return self._settings.name

    def fetch_tools(self) -> Sequence[McpTool]:
        """Return the tools that the server offers now. Blocks for `limits.connect_s` at most.

        Raises
        ------
        CommandError
            If the library is missing or too old, or a tool has a schema that is too large.
        ConnectFailed
            If the server cannot be reached.
        """
        connector = self._connector()
        use = connector.use()
        try:
            found = self._loop.run(connector.fetch())
            self._check(found.values())
        except BaseException as error:
            del use  # a traceback keeps the variables of its frames
            if isinstance(error, ServerFailed):
                raise ConnectFailed(str(error), hint=self._hint) from None
            raise
        tools = [
            McpTool(self._settings, definition, self._loop, connector, use=use)
            for definition in found.values()
        ]
        return tuple(tools)

    @property
    def _hint(self) -> str:
        if self._settings.url is not None:
            return "Check that it is running. session.tools is unchanged."
        return (
            "Run the command in a terminal to see what it prints. If it only starts slowly, raise "
            "registry.limits.connect_s. session.tools is unchanged."
        )

    def _check(self, found: Iterable[Definition]) -> None:
        for definition in found:
            if len(definition.text) > MAX_DEFINITION:
                raise CommandError(
                    f"the tool {definition.name[:64]!r} of MCP server {self.server_name!r} has a schema of "
                    f"{len(definition.text):,} characters; {MAX_DEFINITION:,} are allowed."
                )

    def _connector(self) -> Any:  # noqa: ANN401 - a Connector, whose module imports the library
        with self._lock:
            if self._made is None:
                try:
                    from nbchat.mcp_client.connector import Connector  # noqa: PLC0415 - slow, and optional
                except ImportError as error:
                    raise CommandError(
                        f"the package mcp that is installed cannot be used: {error}.", hint=INSTALL
                    ) from error
                self._made = Connector(self._settings, self._loop, self._limits)
            return self._made
