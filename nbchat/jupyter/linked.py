"""`LinkedNotebook` and `LinkedPages`: a kernel's notebook and pages when its sessions are in a runner."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbchat.core.commands import SetView
from nbchat.core.errors import NbchatError, SessionGone
from nbchat.core.values import convert
from nbchat.jupyter.notebook_identity import carries, id_in
from nbchat.jupyter.transcripts import Bundle, Transcripts
from nbchat.jupyter.visitors import kernel_of_process
from nbchat.protocol import Connect, Connected, KernelMessage, WantDescribed, WantVariables
from nbchat.runner.link import greet
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.places import Place, addresses, folder
from nbchat.runner.spawn import LocalRunner
from nbchat.wire.served_kernel import choose_server
from nbchat.wire.server import without_key

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.engine import Engine
    from nbchat.runner.transports import RunnerAddress


class LinkedNotebook:
    """The notebook of a kernel whose sessions are in a runner, which restores and saves them.

    Raises
    ------
    CommandError, OSError
        If the runner cannot be reached, or there is none and none can be started.
    """

    def __init__(self, address: RunnerAddress, engine: Engine) -> None:
        self.backend = LinkBackend(address, engine)
        self.transcripts = Transcripts(engine, self._states)
        self._engine = engine
        functions = self.backend.local.functions
        functions["transcripts"] = self._news
        functions["lost_transcripts"] = lambda page: engine.loop.call(self.transcripts.lost, page)
        functions["show_transcripts"] = lambda: engine.loop.run(self.transcripts.display())
        _follow_shutdown(self.backend)

    def restore(self, connect: Callable[[], object]) -> None:
        """Connect to the pages, and let the runner restore the sessions. Blocks the caller's thread."""
        connect()
        self.backend.restore()

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook."""
        self.backend.set_journal(on=on)

    def _news(self, page: str) -> dict[str, Bundle]:
        return self._engine.loop.run(self.transcripts.news(page))

    def _states(self, ids: tuple[str, ...] | None) -> Sequence[SessionState]:
        found = []
        for session_id in self.backend.sessions() if ids is None else ids:
            try:
                state = self.backend.state(session_id)
            except SessionGone:
                continue
            if ids is not None or not state.settings.closed:
                found.append(state)
        return found


def local_runner(path: str) -> LocalRunner:
    """Return the runner of a notebook on this machine."""
    place = Place(path)
    place.elsewhere = lambda: place_before_rename(path)
    place.explain_wait = explain_wait
    return LocalRunner(place)


def place_before_rename(path: str) -> Place | None:
    """Return the place of a runner that serves a notebook under its path before it was renamed.

    A runner that serves the original of a copied notebook is not returned.
    """
    notebook_id = id_in(path)
    if not notebook_id:
        return None
    in_folder = folder()
    for address in addresses(in_folder):
        try:
            transport, greeting = greet(address, is_kernel=False)
        except (OSError, ValueError, NbchatError):
            continue  # its process was killed, or is stopped
        transport.close()
        if greeting.notebook_id == notebook_id:
            is_here = os.path.realpath(greeting.path) == os.path.realpath(path)
            if is_here or not carries(greeting.path, notebook_id):
                return Place(greeting.notebook, in_folder)
    return None


def explain_wait() -> Callable[[], None]:
    """Show in the running cell that it waits for a runner; return a function that removes the text."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # a lost runner is replaced while no cell runs, or while one does something else
    from IPython.display import display  # noqa: PLC0415 - used in kernels only

    text = "The runner of this notebook is starting. Interrupt the cell to stop waiting."
    shown = display({"text/plain": text}, raw=True, display_id=True)  # type: ignore[no-untyped-call,unused-ignore]
    return lambda: None if shown is None else shown.update({"text/plain": ""}, raw=True)


def _follow_shutdown(backend: LinkBackend) -> None:
    """Tell the runner whether the kernel is restarted or shut down."""
    kernel = kernel_of_process()
    original = getattr(kernel, "do_shutdown", None)
    if original is None:
        return

    def do_shutdown(restart: bool) -> Any:  # noqa: ANN401 - as ipykernel's
        backend.leave(restart=restart)
        return original(restart)

    kernel.do_shutdown = do_shutdown


class LinkedPages:
    """Passes messages between the kernel's pages and the wire server in the runner.

    Parameters
    ----------
    backend
        The link.
    engine
        The engine of this process, with the configuration.
    send
        Sends one comm message to the pages.
    views
        Changes the content of a view.
    variables
        Answers requests about the notebook's variables.
    """

    def __init__(
        self,
        backend: LinkBackend,
        engine: Engine,
        send: Callable[[Mapping[str, Any], list[bytes]], None],
        views: Callable[[SetView], None],
        variables: Callable[[WantVariables | WantDescribed], KernelMessage | None],
    ) -> None:
        self._backend = backend
        self._engine = engine
        self._send = send
        self._hellos: dict[str, Mapping[str, Any]] = {}
        """The last hello of each page."""
        functions = backend.local.functions
        functions["set_view"] = lambda command: views(convert(SetView, command))
        functions["variables"] = lambda message: variables(convert(WantVariables | WantDescribed, message))
        functions["connect"] = self._connect
        backend.local.to_pages = send
        backend.local.reopened = self._reopened
        self.epoch: str = backend.open_pages()

    @property
    def has_late_pages(self) -> bool:
        """Return False: the runner does not answer the messages of late pages again."""
        return False

    async def refresh(self) -> None:
        """Do nothing, as `has_late_pages` is false."""

    def receive(self, data: object, *, late: bool = False) -> None:  # noqa: ARG002 - as `WireServer`
        """Pass on a page's message. From any thread; a typed key stays in this process."""
        if isinstance(data, dict) and data.get("type") == "hello" and isinstance(data.get("page"), str):
            self._hellos[data["page"]] = data
        self._backend.from_page(without_key(data))

    def close(self) -> None:
        """Pass on nothing more."""
        if self._backend.local.to_pages is self._send:
            self._backend.local.to_pages = None

    def _reopened(self) -> None:
        """Connect the pages with a runner that replaced the last one."""
        for hello in list(self._hellos.values()):
            self._backend.from_page({**hello, "epoch": None, "rev": 0})

    def _connect(self, message: object) -> Connected:
        answer = self._engine.loop.run(choose_server(self._engine.providers, convert(Connect, message)))
        self._backend.configure(whole=False)  # before the answer, so that the pages see the new server
        return answer
