"""Kernel, a real kernel without a page: run cells, interrupt them, complete code."""

import queue
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

START_S = 60.0
"""Seconds that a kernel may take to answer, on a busy machine."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """The output of a cell so far."""

    id: str
    stdout: str = ""
    stderr: str = ""
    displays: list[Mapping[str, Any]] = field(default_factory=list)
    """Display bundles after all updates."""
    updates: int = 0
    elsewhere: list[Mapping[str, Any]] = field(default_factory=list)
    """Bundles that replace outputs of other cells."""
    result: Mapping[str, Any] | None = None
    error: str | None = None
    """Class of the exception that ended the cell."""
    traceback: str = ""
    over: bool = False
    _places: dict[str, int] = field(default_factory=dict)

    def take(self, message: Mapping[str, Any]) -> None:
        """Fold in one message."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            if content["name"] == "stdout":
                self.stdout += content["text"]
            else:
                self.stderr += content["text"]
        elif kind == "display_data":
            name = content.get("transient", {}).get("display_id")
            if name is not None:
                self._places[name] = len(self.displays)
            self.displays.append(content["data"])
        elif kind == "update_display_data":
            self.updates += 1
            place = self._places.get(content["transient"]["display_id"])
            if place is None:
                self.elsewhere.append(content["data"])
            else:
                self.displays[place] = content["data"]
        elif kind == "execute_result":
            self.result = content["data"]
        elif kind == "error":
            self.error = content["ename"]
            self.traceback = _COLOURS.sub("", "\n".join(content["traceback"]))
        elif kind == "status" and content["execution_state"] == "idle":
            self.over = True


class Kernel(AbstractContextManager["Kernel"]):
    """One kernel and its client.

    Parameters
    ----------
    folder
        Working directory of the kernel.
    env
        Environment of the kernel.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=str(folder), env=dict(env))
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=START_S)
        self.others: list[Mapping[str, Any]] = []
        """Messages received while a cell was followed that do not belong to it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def restart(self) -> None:
        """Restart the kernel with the same connection file."""
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=START_S)

    def start(self, code: str) -> Cell:
        """Send a cell without waiting for it."""
        return Cell(self._client.execute(code))

    def follow(self, cell: Cell, until: Callable[[Cell], object], timeout_s: float = 30.0) -> Cell:
        """Process the cell's messages until `until(cell)` is true.

        Raises
        ------
        TimeoutError
            If it is not true within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not until(cell):
            try:
                message = self._client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                text = f"not within {timeout_s:g} s; the cell has said {cell}"
                raise TimeoutError(text) from None
            if message["parent_header"].get("msg_id") == cell.id:
                cell.take(message)
            else:
                self.others.append(message)
        return cell

    def run(self, code: str, timeout_s: float = 60.0) -> Cell:
        """Run a cell to its end."""
        return self.follow(self.start(code), lambda cell: cell.over, timeout_s)

    def value(self, code: str) -> str:
        """Run a cell that must not fail, and return the text of its result."""
        cell = self.run(code)
        assert cell.error is None, cell.traceback
        assert cell.result is not None, cell
        return str(cell.result["text/plain"])

    def post(self, kind: str, content: Mapping[str, Any], key: bytes | None = None) -> str:
        """Send a request on the control channel, signed with the kernel's key or `key`; return its id."""
        session = self._client.session if key is None else Session(key=key)
        message = session.msg(kind, dict(content))
        self._client.control_channel.socket.send_multipart(session.serialize(message))
        return str(message["header"]["msg_id"])

    def ask(self, kind: str) -> dict[str, Any]:
        """Send a request on the control channel, and return its reply."""
        request = self.post(kind, {})
        while True:
            reply: dict[str, Any] = self._client.get_control_msg(timeout=START_S)
            if reply["parent_header"].get("msg_id") == request:
                return reply

    def interrupt(self) -> None:
        """Interrupt the running cell, as the notebook's button does."""
        self._manager.interrupt_kernel()

    def complete(self, code: str) -> list[str]:
        """Return the completions at the end of `code`."""
        reply = self._client.complete(code, reply=True, timeout=START_S)
        return list(reply["content"]["matches"])
