"""Tools that the model may call, with approval: `nbchat.tools.look` and `nbchat.tools.python`.

The definition of tools belongs here: their signatures, arguments and results. Decisions on calls and their
execution are part of the engine. Modules here must not have the name of a tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbchat.tools.code import python as python
    from nbchat.tools.variables import look as look

__all__ = ["look", "python"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a tool
    """Return a tool, whose module is loaded when it is first used."""
    if name == "look":
        from nbchat.tools.variables import look  # noqa: PLC0415 - as the docstring states

        return look
    if name == "python":
        from nbchat.tools.code import python  # noqa: PLC0415

        return python
    raise AttributeError(f"module 'nbchat.tools' has no attribute {name!r}")
