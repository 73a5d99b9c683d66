"""`JupyterHost`: restores sessions from the notebook, connects to its pages, and draws handles.

Importing this module is cheap: IPython, traitlets and widgets are imported when they are used.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbchat.core.errors import NbchatError
from nbchat.engine.config import is_service

if TYPE_CHECKING:
    from nbchat.engine.backend import Backend
    from nbchat.engine.engine import Engine
    from nbchat.handles.run import Run
    from nbchat.jupyter.hub import Hub
    from nbchat.jupyter.linked import LinkedNotebook
    from nbchat.jupyter.notebook import Notebook
    from nbchat.jupyter.transcripts import Transcripts
    from nbchat.runner.link_backend import LinkBackend
    from nbchat.runner.linked_batches import LinkedBatches

logger = logging.getLogger("nbchat")


class JupyterHost:
    """The host of a process: a notebook's kernel, IPython, or a script. Implements `Host`.

    Parameters
    ----------
    engine
        The engine whose sessions are restored and shown.
    notebook
        The notebook that the kernel was started for, if any.
    draw
        Returns the MIME bundle of a value, from the host and IPython's options; `None` for plain text.
    """

    def __init__(
        self,
        engine: Engine,
        notebook: Notebook | None = None,
        draw: Callable[[JupyterHost, object, dict[str, Any]], Any | None] = lambda *_: None,
    ) -> None:
        self.engine: Engine = engine
        self.notebook: Notebook | None = notebook
        self.linked: LinkedNotebook | None = None
        """The notebook, if its sessions are in a runner."""
        self._services: dict[str, LinkBackend] = {}
        """Links to services that only run batches of this process, by URL."""
        self._services_lock = threading.Lock()
        self._draw = draw
        self._restoring = threading.RLock()
        self._restore_begun = notebook is None
        self._restored = notebook is None
        self._hub: Hub | None = None
        self._hub_lock = threading.Lock()
        self._transcripts: Transcripts | None = None

    def __repr__(self) -> str:
        """Return the notebook."""
        return f"<JupyterHost of {self.notebook!r}>"

    @property
    def is_used(self) -> bool:
        """True if the host has restored sessions or opened a connection to pages."""
        return (self._restore_begun and self.notebook is not None) or self._hub is not None

    @property
    def wants_runner(self) -> bool:
        """True if answers are to be generated in a runner.

        A process without a notebook, such as a script, starts no runner, since it is never restarted. It can
        use one that is a service.
        """
        runner = self.engine.providers.defaults.runner
        return is_service(runner) or (runner == "local" and self.notebook is not None)

    def connect(self) -> Backend | None:
        """Start the notebook's runner, unless it runs already, and return its backend.

        `None` if no runner is configured, or none could be started. A service is never replaced by this
        kernel, which would show other sessions.

        Raises
        ------
        NbchatError
            If the runner is a service that cannot be reached, or refuses the link.
        """
        runner = self.engine.providers.defaults.runner
        if is_service(runner):
            from nbchat.jupyter.linked import LinkedNotebook  # noqa: PLC0415 - only with a runner
            from nbchat.service.address import ServiceAddress  # noqa: PLC0415 - only with a service

            self.linked = LinkedNotebook(ServiceAddress(str(runner)), self.engine)
            return self.linked.backend
        if not self.wants_runner or self.notebook is None:
            return None
        from nbchat.jupyter.linked import LinkedNotebook, local_runner  # noqa: PLC0415 - only with a runner

        try:
            self.linked = LinkedNotebook(local_runner(self.notebook.identity.path), self.engine)
        except (NbchatError, OSError) as error:
            logger.warning("answers end with this kernel, since no runner could be started: %s", error)
            return None
        return self.linked.backend

    def batches_of(self, runner: object) -> LinkedBatches:
        """Return the batches of the runner of this process, or of a service, which the first call links.

        The link remains, so that an interrupted batch is stopped unless the process is restarted.

        Raises
        ------
        TypeError, NbchatError
            If it is not the URL of a service, or the service cannot be reached.
        """
        if not isinstance(runner, str):
            raise TypeError(f"runner must be the URL of a service, not {runner!r}.")
        if self.linked is not None and runner == self.engine.providers.defaults.runner:
            return self.linked.backend.batches
        from nbchat.runner.link_backend import LinkBackend  # noqa: PLC0415 - only with a runner
        from nbchat.service.address import ServiceAddress  # noqa: PLC0415 - only with a service

        with self._services_lock:
            backend = self._services.get(runner)
            if backend is None:
                backend = self._services[runner] = LinkBackend(ServiceAddress(runner), self.engine)
                atexit.register(backend.shutdown, 2.0)
            return backend.batches

    def restore_once(self) -> None:
        """Restore the notebook's sessions before their first use. Blocks until they are restored."""
        # The engine's thread takes part in restoring and must not wait for it.
        if self._restored or self.notebook is None or self.engine.loop.is_current:
            return
        with self._restoring:  # other threads wait; the restoring thread itself may look up sessions
            if self._restore_begun:
                return
            self._restore_begun = True
            try:
                (self.linked or self.notebook).restore(self.hub)
            finally:
                self._restored = True

    def hub(self) -> Hub:
        """Return the widget that connects to pages, created by the first call."""
        from nbchat.jupyter.hub import Hub  # noqa: PLC0415 - widgets only where they are shown

        with self._hub_lock:
            if self._hub is None or not self._hub.is_open:
                if self._hub is not None:  # its comm was closed by the host
                    self.engine.loop.post(self._hub.wire.close)
                runner = None if self.linked is None else self.linked.backend
                self._hub = Hub(self.engine, self.notebook, runner)
            return self._hub

    def refresh(self) -> None:
        """Send pages what they could not receive while no cell ran."""
        if self._hub is not None and not self.engine.loop.is_current:
            self._hub.refresh()

    def transcripts(self) -> Transcripts | None:
        """Return the transcripts in outputs; `None` outside a kernel.

        Kernels without a known notebook (nbclient, papermill, Colab) have transcripts too, since they produce
        a notebook that is read without nbchat.
        """
        notebook = self.linked or self.notebook
        if notebook is not None and self.notebook is not None:
            return notebook.transcripts
        from IPython import get_ipython  # noqa: PLC0415 - used in kernels only

        shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
        if getattr(shell, "kernel", None) is None:
            return None
        if self.linked is not None:
            return self.linked.transcripts
        if self._transcripts is None:
            from nbchat.jupyter.transcripts import Transcripts  # noqa: PLC0415 - used in kernels only

            self._transcripts = Transcripts(self.engine)
            shell.events.register("post_run_cell", self._transcripts.after_cell)
        return self._transcripts

    def show_run(self, run: Run) -> bool:
        """Display a live run in the running cell and keep it up to date; return False if it cannot be."""
        transcripts = self.transcripts()
        return transcripts is not None and transcripts.show_run(run)

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook."""
        self.engine.is_private = not on
        notebook = self.linked or self.notebook
        if notebook is not None:
            notebook.set_journal(on=on)

    def mimebundle(self, shown: object, **options: Any) -> Any | None:  # noqa: ANN401 - as `Host`
        """Return the MIME bundle of the widget of a `Session` or a `Comparison`."""
        return self._draw(self, shown, options)

    def progress_bar(self, total: int) -> tuple[Callable[[Any], object], Callable[[], object]] | None:
        """Return the functions that update and close a progress bar; `None` outside a kernel."""
        if "IPython" not in sys.modules:
            return None
        from nbchat.jupyter.progress import bar  # noqa: PLC0415 - widgets only in a kernel

        return bar(total)
