"""`host_of_visitors` names the web framework that serves several visitors from this process.

Panel, Shiny, Solara, Streamlit and marimo's run mode use one process for all visitors of a page. The process
has one registry, so its views would show every visitor the conversations of all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from nbchat.core.errors import CommandError


def _bokeh(document: Any) -> bool:  # noqa: ANN401 - the module
    # Outside a server, as in a notebook, a document has no session.
    return document.curdoc().session_context is not None


def _streamlit(context: Any) -> bool:  # noqa: ANN401 - the module
    return context.get_script_run_ctx(suppress_warning=True) is not None


_HOSTS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "bokeh.io.doc": ("Panel", _bokeh),
    "marimo": ("marimo run", lambda marimo: marimo.app_meta().mode == "run"),
    "shiny.session": ("Shiny", lambda session: session.get_current_session() is not None),
    "solara.server.kernel_context": ("Solara", lambda context: context.has_current_context()),
    "streamlit.runtime.scriptrunner": ("Streamlit", _streamlit),
}
"""Framework and test for a visitor, by module. Only modules that are already imported are used."""


def host_of_visitors() -> str | None:
    """Return the name of the framework that runs this code for a visitor; `None` without one."""
    for module, (name, is_visit) in _HOSTS.items():
        found = sys.modules.get(module)
        # A release that has moved its functions is treated as absent.
        with suppress(Exception):
            if found is not None and is_visit(found):
                return name
    return None


def refuse_shared_registry() -> None:
    """Refuse a view of the process's registry if it would be visible to other visitors.

    Raises
    ------
    CommandError
        If this code runs for one of several visitors.
    """
    host = host_of_visitors()
    if host is not None:
        raise CommandError(
            f"{host} serves all visitors from this process, and they would see each other's conversations.",
            hint="Give each visitor a registry: nbchat.ChatTabs(registry=nbchat.SessionRegistry()), "
            "and call its shutdown() when the visitor leaves.",
        )


def refuse_second_registry() -> None:
    """Refuse a view of a second registry in a kernel, whose control channel serves only one.

    Raises
    ------
    CommandError
        If this process is a kernel.
    """
    if kernel_of_process() is not None:
        raise CommandError(
            "a kernel has one registry, and ChatTabs(registry=...) is for servers with several visitors.",
            hint="Leave out `registry`; ChatTabs(sessions=[...]) shows some sessions of nbchat.registry.",
        )


def kernel_of_process() -> Any:  # noqa: ANN401 - an ipykernel, or None
    """Return the kernel of this process; `None` in a script, a server or a terminal."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython  # noqa: PLC0415 - scripts need no IPython

    return getattr(get_ipython(), "kernel", None)  # type: ignore[no-untyped-call,unused-ignore]
