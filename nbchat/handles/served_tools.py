"""`expanded` replaces servers in a list of tools by their tools, and gives each tool a name of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from nbchat.engine.tools import ServedTool, Tool, ToolServer

MAX_NAME = 64


def expanded(given: Iterable[object]) -> list[object]:
    """Return a list with the tools of each server in the place of the server. Blocks for a limited time.

    A name identifies a server. Tools of an earlier server of this name are left out, so that a cell that
    adds a server can be executed again.

    Raises
    ------
    ValueError
        If two servers in the list have the same name.
    NbchatError
        If a server cannot be used; see `ToolServer`.
    """
    given = list(given)
    servers: dict[str, ToolServer] = {}
    for one in given:
        if isinstance(one, ToolServer) and servers.setdefault(one.server_name, one) is not one:
            raise ValueError(f"two MCP servers have the name {one.server_name!r}; choose another for one.")
    fetched = {name: server.fetch_tools() for name, server in servers.items()}
    found: list[object] = []
    for one in given:
        if isinstance(one, ToolServer):
            found += fetched.pop(one.server_name, ())  # once, if it is listed twice
        elif not (isinstance(one, ServedTool) and one.server_name in servers):
            found.append(one)
    return list(_named(found))


def _named(tools: list[object]) -> Iterator[object]:
    """Yield the tools, with other names for those of servers whose name another tool has."""
    taken = {tool.spec.name for tool in tools if isinstance(tool, Tool) and not isinstance(tool, ServedTool)}
    seen: list[object] = []
    for tool in tools:
        if not isinstance(tool, ServedTool):
            yield tool
        elif not any(tool is one for one in seen):
            seen.append(tool)
            name = next(name for name in _names(tool) if name not in taken)
            taken.add(name)
            yield tool if name == tool.spec.name else tool.renamed(name)


def _names(tool: ServedTool) -> Iterator[str]:
    """Yield names for a tool: its own, with the server's name before it, and then with a number."""
    name = tool.spec.name
    yield name
    name = f"{tool.server_name}_{name}"
    yield name[:MAX_NAME]
    for number in count(2):
        end = f"_{number}"
        yield f"{name[: MAX_NAME - len(end)]}{end}"
