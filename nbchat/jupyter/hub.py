"""One hub widget per kernel: it owns the wire, and has no view.

Downlink: custom messages of the hub's widget, sent from the engine's thread, which works while a cell
is busy. Uplink, best first:

1. a comm of the page's own, `nbchat.up`, on which the kernel never publishes: JupyterLab gives it a
   subshell, so it is heard while a cell is busy (ipykernel 7.4 re-routes comms that were published on);
2. a request on the control channel, where subshells are switched off;
3. a custom message to the hub's widget, where the host gives neither: heard when the cell is done.

All three only hand over to the engine's loop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

import nbchat
from nbchat.wire.server import STATIC, WireServer

if TYPE_CHECKING:
    from nbchat.handles.registry import SessionRegistry

logger = logging.getLogger("nbchat")


class Hub(anywidget.AnyWidget):
    """The wire's widget. Made by `hub`, shown nowhere."""

    _esm = STATIC / "hub.js"

    epoch: traitlets.Unicode[str, str | bytes] = traitlets.Unicode().tag(sync=True)
    """Names this start of the kernel."""
    version: traitlets.Unicode[str, str | bytes] = traitlets.Unicode(nbchat.__version__).tag(sync=True)
    """nbchat's version."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self.last_chosen = ""
        """Id of the session whose tab was chosen last in any view."""
        self.wire: WireServer = registry.engine.call(WireServer, registry, self._down)
        # Before the page hears of this widget: its first word may come at once.
        _listen(self.wire)
        notebook = registry.__dict__.get("notebook")
        if notebook is not None:
            registry.engine.call(notebook.attach, self.wire)
        super().__init__(epoch=registry.epoch)
        self.on_msg(lambda _widget, content, _buffers: self.wire.receive(_message(content)))
        _obey_the_page(self)

    def _down(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if self.comm is not None:
            self.send(dict(content), buffers)

    def close(self) -> None:
        """Close the comm and the wire; the next view makes a new hub."""
        super().close()
        wire = self.__dict__.get("wire")
        if wire is not None:
            self._registry.engine.post(wire.close)


_hub_lock = threading.Lock()


def hub(registry: SessionRegistry) -> Hub:
    """Return the kernel's hub, made when the first view needs it."""
    with _hub_lock:
        found = registry.__dict__.get("hub")
        if found is None or found.comm is None:
            found = registry.__dict__["hub"] = Hub(registry)
        made: Hub = found
        return made


def _message(content: object) -> object:
    return content.get("message") if isinstance(content, dict) else None


def _obey_the_page(widget: anywidget.AnyWidget) -> None:
    """Let messages of this comm be heard on the subshell that the page chose.

    ipykernel 7.4 re-routes them to where the kernel last published from, which is mostly the busy main
    shell. The name is private, so its absence is fine.
    """
    comm = widget.comm
    if comm is not None and hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001 - feature-tested


def _listen(wire: WireServer) -> None:
    """Open the two ways by which pages are heard while a cell is busy, where there is a kernel."""
    kernel = _kernel()
    if kernel is None:
        return

    def on_open(comm: Any, message: Mapping[str, Any]) -> None:  # noqa: ANN401 - ipykernel's comm
        del message

        def on_message(message: Mapping[str, Any]) -> None:
            # On a subshell's thread, beside the user's code: touch nothing here.
            here = threading.current_thread() is not threading.main_thread()
            wire.receive(message["content"]["data"], subshell=here)

        comm.on_msg(on_message)

    async def on_request(stream: Any, ident: Any, parent: Mapping[str, Any]) -> None:  # noqa: ANN401
        wire.receive(_message(parent.get("content")), subshell=True)
        kernel.session.send(stream, "nbchat_reply", {"status": "ok"}, parent, ident)

    manager = getattr(kernel, "comm_manager", None)
    if manager is not None:
        manager.register_target("nbchat.up", on_open)
    handlers = getattr(kernel, "control_handlers", None)
    if isinstance(handlers, dict):
        handlers["nbchat_request"] = on_request


def _kernel() -> Any:  # noqa: ANN401 - an ipykernel, or None
    try:
        from IPython import get_ipython  # noqa: PLC0415 - scripts need no IPython
    except ImportError:
        return None
    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    return getattr(shell, "kernel", None)
