"""`ChatTabs`, the tabbed widget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from nbchat.core.commands import Close
from nbchat.core.errors import UnknownSession
from nbchat.core.ids import new_id
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.run import check_timeout
from nbchat.handles.session import Session
from nbchat.handles.tools import checked_tools
from nbchat.jupyter.process import current, host_of
from nbchat.jupyter.views import View
from nbchat.jupyter.visitors import refuse_second_registry, refuse_shared_registry

if TYPE_CHECKING:
    from nbchat.engine.tools import Tool


class ChatTabs(View):
    """The tabbed widget, which shows all open sessions of the kernel, or some of them.

    Several widgets can show the same sessions. Closing or deleting a widget does not stop runs.

    Parameters
    ----------
    sessions
        Sessions, ids or titles to show; `None` shows all open sessions. If no session exists, an empty one
        is created. When the cell is run again, the tab that was selected last is selected again.
    registry
        The registry whose sessions are shown; `None` uses the kernel's. If one process serves several
        visitors (Panel, Shiny, Solara, Streamlit), each visitor needs a registry:
        `nbchat.SessionRegistry()`.
    tools
        Functions that the models of the sessions shown may call, now and later; see `Session.tools`. `None`:
        the tools of the sessions stay as they are.
    locale, height, send_key
        Language, height and keyboard shortcut; see the traits.

    Raises
    ------
    CommandError
        If visitors of a web framework would share the kernel's registry.

    Examples
    --------
    >>> chat = nbchat.ChatTabs()
    >>> geo = chat.session("geo", instructions="Answer briefly.")
    >>> chat  # the last expression of a cell shows it
    """

    def __init__(
        self,
        sessions: Iterable[Session | str] | None = None,
        *,
        registry: SessionRegistry | None = None,
        tools: Iterable[Tool] | None = None,
        **traits: Any,  # noqa: ANN401 - the traits of View
    ) -> None:
        if registry is None:
            refuse_shared_registry()
            registry = current().registry
        elif registry is not current().registry:
            refuse_second_registry()
        host = host_of(registry)
        host.restore_once()
        self._registry = registry
        self._tools = None if tools is None else checked_tools(tools)
        ids = None if sessions is None else [_found(registry, one).id for one in _listed(sessions)]
        super().__init__(host, kind="tabs", sessions=ids, **traits)
        if not self._shown():
            self.hub.blank = self.new().id
        elif not self.active:
            self.active = self._last_used()
        if self._tools is not None:
            for session in self._shown():
                session.tools = self._tools

    @property
    def registry(self) -> SessionRegistry:
        """The registry whose sessions are shown."""
        return self._registry

    @traitlets.validate("active")
    def _valid_active(self, proposal: Any) -> str:  # noqa: ANN401 - traitlets' proposal
        key = str(proposal["value"])
        session = self.registry.get(key) if key else None  # `key` is an id or a title
        return key if session is None else session.id

    @traitlets.observe("active")
    def _remember(self, change: Any) -> None:  # noqa: ANN401 - traitlets' change
        self.hub.last_chosen = change["new"]

    def _last_used(self) -> str:
        """Return the initial tab: the last one selected in this kernel, else that of the newest question."""
        ids = [session.id for session in self._shown()]
        if self.hub.last_chosen in ids:
            return self.hub.last_chosen
        asked = self.registry._backend.last_asked()  # noqa: SLF001 - a handle
        return max((one for one in ids if one in asked), key=asked.__getitem__, default="")

    def __repr__(self) -> str:
        """Return the number of sessions shown, and the selected tab."""
        shown = self._shown()
        return f"<ChatTabs of {len(shown)} session{'s' * (len(shown) != 1)}, active {self.active!r}>"

    def _shown(self) -> list[Session]:
        registry = self.registry
        if self.sessions is None:
            return [session for session in registry.values() if not session.closed]
        return [registry[one] for one in self.sessions if one in registry]

    def session(self, key: str | None = None, **settings: Any) -> Session:  # noqa: ANN401 - as `nbchat.session`
        """Return the session with this id or title, created if it does not exist, and show its tab.

        Takes the arguments of `nbchat.session`.
        """
        session = self.registry.get_or_create(key, **self._with_tools(settings))
        self.show(session)
        return session

    def new(self, title: str = "", **settings: Any) -> Session:  # noqa: ANN401 - as `nbchat.session`
        """Create a session, even if one with this title exists, and show its tab."""
        session = self.registry.create(title, **self._with_tools(settings))
        self.show(session)
        return session

    def _with_tools(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings if self._tools is None else {"tools": self._tools, **settings}

    def show(self, session: Session | str) -> None:
        """Show a session's tab. A closed session is opened again.

        Raises
        ------
        UnknownSession
            If there is no such session.
        """
        found = _found(self.registry, session)
        if found.closed:
            found._backend.execute(Close(id=new_id("c-"), session_id=found.id, closed=False))  # noqa: SLF001 - a handle
        if self.sessions is not None and found.id not in self.sessions:
            self.sessions = [*self.sessions, found.id]
        self.active = found.id
        self._remove_blank(found)

    def _remove_blank(self, shown: Session) -> None:
        """Delete the empty session that the first view created, unless it has been used or has a draft."""
        blank = self.registry.get(self.hub.blank) if self.hub.blank else None
        if blank is None or blank.id == shown.id:
            return
        self.hub.blank = ""
        has_draft = host_of(self.registry).engine.presence.has_draft(blank.id)
        is_used = has_draft or blank.runs or blank.messages or blank.title or blank.pinned or blank.closed
        if not (is_used or blank.model or blank.instructions or blank.params):
            blank.delete()

    def hide(self, session: Session | str) -> None:
        """Hide a session's tab. Its runs continue."""
        found = _found(self.registry, session)
        if self.sessions is not None:
            self.sessions = [one for one in self.sessions if one != found.id]
        else:
            found.close()
        if self.active == found.id:
            shown = self._shown()
            self.active = shown[-1].id if shown else ""

    def snapshot(self) -> dict[str, Any]:
        """Return the sessions shown as JSON values; see `registry.snapshot`."""
        return self.registry.snapshot(None if self.sessions is None else list(self.sessions))

    def save(self) -> bool:
        """Save all sessions now; see `registry.save`."""
        return self.registry.save()

    def restore(self, snapshot: object) -> list[Session]:
        """Merge a snapshot into the registry, and show its sessions; see `registry.restore`."""
        restored = self.registry.restore(snapshot)
        if self.sessions is not None:
            ids = list(self.sessions)
            self.sessions = [*ids, *(one.id for one in restored if one.id not in ids)]
        return restored

    def wait(self, timeout: float | None = None) -> None:
        """Wait until no run of the sessions shown is live or queued; their answers stream into the views.

        Colab and similar hosts show answers only while a cell runs. There, this method in a cell shows what
        was missed, and streams until all answers are complete or the cell is interrupted.

        Raises
        ------
        TimeoutError
            If a run has not ended after `timeout` seconds.
        """
        check_timeout(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        host_of(self.registry).refresh()
        for session in self._shown():
            session.wait(None if until is None else max(until - time.monotonic(), 0.0))

    def stop_all(self) -> int:
        """Stop all live and queued runs of the sessions shown, and return their number."""
        return sum(session.stop_all() for session in self._shown())


def _listed(sessions: Iterable[Session | str]) -> Sequence[Session | str]:
    if isinstance(sessions, str | Session) or not isinstance(sessions, Iterable):
        raise TypeError(f"sessions must be a list of sessions, as [{sessions!r}].")
    return list(sessions)


def _found(registry: SessionRegistry, session: Session | str) -> Session:
    if isinstance(session, str):
        return registry[session]
    found: Session | None = registry.get(getattr(session, "id", ""))
    if found is None:
        raise UnknownSession(session)
    return found
