"""`Hub`: a widget without a view that connects every page to the kernel; one per kernel.

Packets to the pages are custom messages of this widget, sent from the engine's thread, which also runs while
a cell is busy. Messages from the pages arrive on the control channel. In a host without a control channel
they are custom messages of this widget and are handled when the running cell has ended. Both are only posted
to the engine's loop.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import anywidget
import traitlets

from nbchat.core.commands import SetView
from nbchat.core.version import VERSION
from nbchat.jupyter.control import listen
from nbchat.jupyter.variables import answer
from nbchat.jupyter.visitors import kernel_of_process
from nbchat.wire.requests import STATIC
from nbchat.wire.server import WireServer

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.jupyter.linked import LinkedPages
    from nbchat.runner.link_backend import LinkBackend
    from nbchat.wire.server import PageClient


REFRESH_S: Final = 5.0
"""Time limit of `Hub.refresh`; what is not sent by then is sent later."""


class HubView(Protocol):
    """A view, as far as a page may change it."""

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Set traits as ipywidgets does for a page."""
        ...

    def panel(self) -> None:
        """Show it in a panel beside the notebook."""
        ...


class Hub(anywidget.AnyWidget):
    """The widget of the wire server, created by `JupyterHost.hub` and never shown."""

    _esm = STATIC / "hub.js"

    epoch: traitlets.Unicode[str, str | bytes] = traitlets.Unicode().tag(sync=True)
    """Id of this start of the kernel."""
    version: traitlets.Unicode[str, str | bytes] = traitlets.Unicode(VERSION).tag(sync=True)
    """nbchat's version."""

    def __init__(self, engine: Engine, client: PageClient | None, runner: LinkBackend | None = None) -> None:
        self._engine = engine
        self.last_chosen = ""
        """Id of the session whose tab was selected last in any view."""
        self.blank = ""
        """Id of the empty session that a view created, until another session is shown."""
        self.views: weakref.WeakValueDictionary[str, HubView] = weakref.WeakValueDictionary()
        """Views by `view_id`, whose traits a page may change."""
        variables = functools.partial(answer, engine.providers.defaults)
        self.wire: WireServer | LinkedPages
        if runner is None:
            self.wire = engine.loop.call(
                WireServer,
                engine,
                self._down,
                client,
                lambda command: asyncio.to_thread(self._set_view, command),
                lambda message: asyncio.to_thread(variables, message),
            )
        else:
            from nbchat.jupyter.linked import LinkedPages  # noqa: PLC0415 - only with a runner

            self.wire = LinkedPages(runner, engine, self._down, self._set_view, variables)
        # Before the widget is opened, because a page may send its first message immediately.
        listen(kernel_of_process(), self.wire.receive)
        super().__init__(epoch=self.wire.epoch)
        self.on_msg(lambda _widget, content, _buffers: self.wire.receive(_message(content), late=True))

    @property
    def is_open(self) -> bool:
        """True if pages can be reached. marimo closes the comm when the cell that created it runs again."""
        return self.comm is not None and not getattr(self.comm, "_closed", False)

    def _down(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if self.comm is not None:
            self.send(dict(content), buffers)

    def _set_view(self, command: SetView) -> None:
        """Set traits of a view as ipywidgets does for a page. Not on the loop, since it calls observers."""
        view = self.views.get(command.view_id)
        if view is None:
            return
        if command.session_ids is not None:
            view.set_state({"sessions": list(command.session_ids)})
        if command.active is not None:
            view.set_state({"active": command.active})
        if command.panel:
            view.panel()

    def refresh(self) -> None:
        """Send pages without a control channel what they have missed, and wait until it is sent."""
        if self.wire.has_late_pages:
            with suppress(TimeoutError):
                self._engine.loop.run(self.wire.refresh(), REFRESH_S)

    def close(self) -> None:
        """Close the comm and the wire server. The next view creates a new hub."""
        super().close()
        wire = getattr(self, "wire", None)
        if wire is not None:
            self._engine.loop.post(wire.close)


def _message(content: object) -> object:
    return content.get("message") if isinstance(content, dict) else None
