"""Functions of `nbchat` that connect to servers of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nbchat.core.tracebacks import short_traceback
from nbchat.jupyter.process import current

if TYPE_CHECKING:
    from nbchat.mcp_client.server import McpServer


@short_traceback
def mcp(
    name: str,
    *,
    url: str | None = None,
    command: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> McpServer:
    """Return an MCP server, whose tools are switched on with `session.tools`. Each call needs approval.

    Nothing is started or contacted until it is used: `session.tools = [*session.tools, server]` connects,
    within `registry.limits.connect_s`, and lists the tools. The server is stopped when no session uses it.
    It needs the extra `mcp`: `pip install 'jupyter-nbchat[mcp]'`.

    Parameters
    ----------
    name
        Identifies the server in a session: a server replaces an earlier one of this name. Also the prefix of
        a tool whose name is taken, as in `jira_search`.
    url
        Address of a server over streamable HTTP. A server on this machine is never reached through a proxy.
    command
        Program and arguments of a server that is started as a process. No shell is involved.
    headers
        Sent with every request to the `url`, such as `{"Authorization": "Bearer …"}`.
    env
        Variables of the process of `command`, in addition to those that it inherits: `PATH`, `HOME`,
        `USER`, `LOGNAME`, `SHELL`, `TERM`, `LANG`, `LC_ALL` and `LC_CTYPE`, and their counterparts on
        Windows. No others are inherited, so keys in the kernel's environment stay there.

    Raises
    ------
    TypeError, ValueError, ConfigError
        If an argument is invalid.
    CommandError
        If the extra is not installed.

    Examples
    --------
    >>> nbchat.mcp("jira", url="http://127.0.0.1:8000/mcp")
    <MCP server jira at http://127.0.0.1:8000>
    """
    from nbchat.mcp_client.server import McpServer  # noqa: PLC0415 - only when it is used
    from nbchat.mcp_client.settings import settings_of  # noqa: PLC0415

    settings = settings_of(name, url, command, headers, env)
    engine = current().engine
    return McpServer(settings, engine.loop, engine.limits)
