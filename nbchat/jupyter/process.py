"""`current` connects the parts of this process: engine, registry, host, notebook and widgets.

Importing this module is cheap: IPython, traitlets and widgets are imported when they are used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from nbchat.engine.local_backend import LocalBackend
from nbchat.engine.main_thread import main_thread
from nbchat.handles.host import NoHost
from nbchat.handles.process import Process, shared
from nbchat.jupyter.host import JupyterHost
from nbchat.stores import places

if TYPE_CHECKING:
    from nbchat.engine.backend import Backend
    from nbchat.engine.engine import Engine
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.run import Run

_hosts: WeakKeyDictionary[Backend, JupyterHost] = WeakKeyDictionary()


def current() -> Process[JupyterHost]:
    """Return the engine, the registry and the host of this process, created by the first call."""
    return shared(_make_host)


def host_of(registry: SessionRegistry) -> JupyterHost:
    """Return the host of a registry: the host of this process, or a separate one for a visitor's registry."""
    process, backend = current(), registry._backend  # noqa: SLF001 - a handle
    if backend is process.backend:
        return process.host
    if not isinstance(backend, LocalBackend):
        raise TypeError("views need an engine in this process.")
    host = _hosts.get(backend)
    if host is None:
        host = _hosts.setdefault(backend, JupyterHost(backend.engine, draw=draw))
    outer = registry._host  # noqa: SLF001 - a handle
    if isinstance(outer, NoHost):
        outer.drawn_by = host
    return host


def _make_host(engine: Engine) -> JupyterHost:
    if "IPython" in sys.modules:  # otherwise there is no configuration to read
        from IPython import get_ipython  # noqa: PLC0415 - IPython is loaded

        from nbchat.jupyter.configuration import attach  # noqa: PLC0415
        from nbchat.jupyter.kernel_shell import KernelShell  # noqa: PLC0415
        from nbchat.jupyter.representations import register  # noqa: PLC0415

        attach(engine.providers)
        register(_show_run)
        shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
        main_thread.attach(None if shell is None else KernelShell(shell))
    notebook = None
    if "ipykernel" in sys.modules:  # scripts restore nothing and journal nothing
        from nbchat.jupyter.notebook import Notebook  # noqa: PLC0415 - a kernel
        from nbchat.jupyter.notebook_identity import path_of_notebook  # noqa: PLC0415

        path = path_of_notebook()
        if path is not None:
            notebook = Notebook(engine, path, journal=not places.is_disabled())
    return JupyterHost(engine, notebook, draw)


def _show_run(run: Run) -> bool:
    return current().host.show_run(run)


def draw(host: JupyterHost, shown: object, options: dict[str, Any]) -> Any | None:  # noqa: ANN401 - as `Host`
    """Return the MIME bundle of the widget of a `Session` or a `Comparison`; `None` for other values.

    Raises
    ------
    CommandError
        If this code runs for one of several visitors, who would see each other's conversations.
    """
    from nbchat.batch.compare import Comparison  # noqa: PLC0415 - widgets only where they are shown
    from nbchat.handles.session import Session  # noqa: PLC0415
    from nbchat.jupyter.comparison import view  # noqa: PLC0415
    from nbchat.jupyter.views import SessionView  # noqa: PLC0415
    from nbchat.jupyter.visitors import refuse_shared_registry  # noqa: PLC0415

    if host is current().host:
        refuse_shared_registry()
    if isinstance(shown, Session):
        return SessionView(shown, host)._repr_mimebundle_(**options)
    return view(shown, host, **options) if isinstance(shown, Comparison) else None
