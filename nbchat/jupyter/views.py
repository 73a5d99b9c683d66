"""`View`, the base class of all views, and `SessionView`, the view of one session. Views hold no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from ipywidgets import widget_serialization

from nbchat.core.clock import now
from nbchat.core.ids import new_id
from nbchat.jupyter.hub import Hub
from nbchat.wire.requests import STATIC

if TYPE_CHECKING:
    from nbchat.handles.session import Session
    from nbchat.jupyter.host import JupyterHost


class View(anywidget.AnyWidget):
    """Base class of all views: the hub they read from, and their appearance."""

    _esm = STATIC / "view.js"

    hub: traitlets.Instance[Hub] = traitlets.Instance(Hub).tag(sync=True, **widget_serialization)
    view_id: traitlets.Unicode[str, str | bytes] = traitlets.Unicode().tag(sync=True)
    """Id of this view in the messages of a page."""
    kind: traitlets.Unicode[str, str | bytes] = traitlets.Unicode("tabs").tag(sync=True)
    sessions = traitlets.List(traitlets.Unicode(), default_value=None, allow_none=True).tag(sync=True)
    """Ids of the sessions shown. `None` shows all open sessions."""
    active: traitlets.Unicode[str, str | bytes] = traitlets.Unicode("").tag(sync=True, echo_update=False)
    """Id of the session whose tab was selected last. Setting it selects that tab in every view."""
    locale: traitlets.Unicode[str, str | bytes] = traitlets.Unicode("").tag(sync=True)
    """`en` or `zh-CN`; if empty, the browser's language."""
    height: traitlets.Unicode[str, str | bytes] = traitlets.Unicode("").tag(sync=True)
    """A CSS length; if empty, 560px; `auto`: as high as the messages, up to 560px."""
    send_key: traitlets.Unicode[str, str | bytes] = traitlets.Unicode("enter").tag(sync=True)
    """`enter`, `shift-enter` or `ctrl-enter`."""
    panel_request: traitlets.Unicode[str, str | bytes] = traitlets.Unicode("").tag(sync=True)
    """The last request for a panel beside the notebook: the widget's model id and a request id."""
    displayed_at: traitlets.Float[float, Any] = traitlets.Float(0.0).tag(sync=True)
    """When a cell displayed it last, in seconds since 1970-01-01 UTC. An older file lacks that output."""

    @traitlets.validate("locale")
    def _valid_locale(self, proposal: Any) -> str:  # noqa: ANN401 - traitlets' proposal
        return _one_of("locale", proposal["value"], ("", "en", "zh-CN"))

    @traitlets.validate("send_key")
    def _valid_send_key(self, proposal: Any) -> str:  # noqa: ANN401 - traitlets' proposal
        return _one_of("send_key", proposal["value"], ("enter", "shift-enter", "ctrl-enter"))

    def __init__(self, host: JupyterHost, **traits: Any) -> None:  # noqa: ANN401 - the traits above
        self._host = host
        hub, view_id = host.hub(), new_id("view-")
        hub.views[view_id] = self
        super().__init__(hub=hub, view_id=view_id, **traits)

    def panel(self) -> None:
        """Show this widget in a panel at the right of the notebook, in JupyterLab.

        The panel is kept when the page is reloaded. Call the method again to reopen a closed panel. Other
        hosts, such as Notebook 7, have no panels: show the widget in a cell there. The session menu of the
        widget has the same command.

        Examples
        --------
        >>> chat = nbchat.ChatTabs()
        >>> chat.panel()
        """
        self.panel_request = f"{self.model_id} {new_id('p-')}"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's protocol
        self.displayed_at = now()
        transcripts = self._host.transcripts()
        if transcripts is not None:
            # A separate output before the view, which is readable without a kernel.
            transcripts.show(self.sessions)
        return super()._repr_mimebundle_(**kwargs)


class SessionView(View):
    """A live view of one session, without tabs. Shown if a `Session` is a cell's result."""

    def __init__(self, session: Session, host: JupyterHost, **traits: Any) -> None:  # noqa: ANN401 - the traits of View
        self._session = session
        super().__init__(host, kind="session", sessions=[session.id], active=session.id, **traits)

    def __repr__(self) -> str:
        """Return the session shown."""
        return f"<SessionView of {self._session!r}>"


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise traitlets.TraitError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}.")
    return value
