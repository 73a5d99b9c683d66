"""Web frameworks that serve several visitors from one process: a registry for each, or an error."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nbchat.core.errors import CommandError
from nbchat.handles.registry import SessionRegistry
from nbchat.jupyter.process import host_of
from nbchat.jupyter.views import SessionView
from nbchat.jupyter.visitors import host_of_visitors
from nbchat.jupyter.widgets import ChatTabs
from tests.engines import engine_of, use

VISITS = {
    "Panel": ("bokeh.io.doc", {"curdoc": lambda: SimpleNamespace(session_context=object())}),
    "marimo run": ("marimo", {"app_meta": lambda: SimpleNamespace(mode="run")}),
    "Shiny": ("shiny.session", {"get_current_session": object}),
    "Solara": ("solara.server.kernel_context", {"has_current_context": lambda: True}),
    "Streamlit": ("streamlit.runtime.scriptrunner", {"get_script_run_ctx": lambda **_: object()}),
}
"""By framework: the module that has its visitor's session, and its functions' results during a visit."""

NO_VISITS = {
    "marimo edit": ("marimo", {"app_meta": lambda: SimpleNamespace(mode="edit")}),
    "Panel": ("bokeh.io.doc", {"curdoc": lambda: SimpleNamespace(session_context=None)}),
    "Shiny": ("shiny.session", {"get_current_session": lambda: None}),
    "Solara": ("solara.server.kernel_context", {"has_current_context": lambda: False}),
    "Streamlit": ("streamlit.runtime.scriptrunner", {"get_script_run_ctx": lambda **_: None}),
    "another release": ("shiny.session", {}),
}
"""The same modules when they are imported without a visit, as in a notebook."""


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionRegistry]:
    """Return the registry that all visitors of this process would share."""
    made = SessionRegistry()
    use(monkeypatch, made)
    yield made
    engine_of(made).shutdown()


@pytest.mark.parametrize("framework", VISITS)
def test_visitors_do_not_share_conversations(
    framework: str, shared: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view of the shared registry is refused, with the framework's name and the correct code."""
    secret = shared.create("secret")
    module, functions = VISITS[framework]
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**functions))
    for show in (ChatTabs, lambda: ChatTabs([secret]), lambda: host_of(shared).mimebundle(secret)):
        with pytest.raises(CommandError, match=rf"{framework} serves all visitors.*SessionRegistry\(\)"):
            show()
    assert host_of(shared)._hub is None


def test_each_visitor_has_a_registry(shared: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a registry for each visitor, views have their own channels and sessions."""
    module, functions = VISITS["Panel"]
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**functions))
    registries = [SessionRegistry(), SessionRegistry()]
    views = [ChatTabs(registry=registry) for registry in registries]
    first = views[0].session("geo", model="nbchat-echo")
    assert first.ask("Seine", timeout=30).text == "Seine"
    assert [len(registry) for registry in (*registries, shared)] == [1, 1, 0]
    assert "geo" not in [session.title for session in registries[1].values()]
    assert views[0].hub is not views[1].hub
    assert views[0].registry is registries[0]
    assert SessionView(first, host_of(registries[0])).hub is views[0].hub
    assert first._repr_mimebundle_()[0]["text/plain"].startswith("<SessionView")
    for view, registry in zip(views, registries, strict=True):
        view.hub.close()
        engine_of(registry).shutdown()


@pytest.mark.parametrize("case", NO_VISITS)
def test_elsewhere_nothing_is_refused(
    case: str, shared: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a framework is imported but serves no visitor, as in a notebook, views work as usual."""
    module, functions = NO_VISITS[case]
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**functions))
    assert host_of_visitors() is None
    chat = ChatTabs()
    assert chat.registry is shared
    chat.hub.close()


@pytest.mark.usefixtures("shared")
def test_a_hub_whose_comm_was_closed_is_replaced() -> None:
    """If the host has closed a hub's comm, running the cell again makes a hub that reaches the page."""
    first = ChatTabs()
    first.hub.comm.close()  # marimo does this, and the widget does not notice
    second = ChatTabs()
    assert not first.hub.is_open
    assert second.hub.is_open
    second.hub.close()


def test_a_kernel_has_one_registry(shared: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel a view of a second registry is refused: its messages would reach the first."""
    kernel: Any = SimpleNamespace()
    monkeypatch.setattr("nbchat.jupyter.visitors.kernel_of_process", lambda: kernel)
    other = SessionRegistry()
    with pytest.raises(CommandError, match="a kernel has one registry"):
        ChatTabs(registry=other)
    chat = ChatTabs(registry=shared)
    chat.hub.close()
    engine_of(other).shutdown()
