"""Access to the engine behind the handles, for tests of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.process import Process
from nbchat.jupyter.host import JupyterHost
from nbchat.jupyter.process import draw

if TYPE_CHECKING:
    import pytest

    from nbchat.engine.backend import Backend
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.session import Session
    from nbchat.providers.base import Request

RUNNERS: WeakKeyDictionary[Backend, Engine] = WeakKeyDictionary()
"""The engines of runners in this process, by the backend that is linked to them."""


def engine_of(registry: SessionRegistry) -> Engine:
    """Return the engine of a registry."""
    return _engine(registry._backend)


def _engine(backend: Backend) -> Engine:
    if isinstance(backend, LocalBackend):
        return backend.engine
    return RUNNERS[backend]


def drain_callbacks(registry: SessionRegistry, timeout_s: float = 30) -> bool:
    """Wait until all callbacks for past events have run; return False after `timeout_s`.

    An end can be read by another thread just before its callbacks are queued in the same step of the loop.
    """
    engine = engine_of(registry)
    engine.loop.call(lambda: None)
    if not engine.callbacks.drain(timeout_s):
        return False
    backend = registry._backend
    if isinstance(backend, LocalBackend):
        return True
    backend.sessions()  # answered after the notifications that were sent before
    return backend._callbacks._callbacks.drain(timeout_s)  # type: ignore[attr-defined,no-any-return]


def kernel_engine_of(registry: SessionRegistry) -> Engine:
    """Return the engine of the kernel, which has the configuration; with a runner it answers nothing."""
    backend = registry._backend
    return backend.engine if isinstance(backend, LocalBackend) else backend._engine  # type: ignore[attr-defined,no-any-return]


def use(monkeypatch: pytest.MonkeyPatch, registry: SessionRegistry) -> JupyterHost:
    """Make the functions and widgets of `nbchat` use this registry; return their host."""
    backend = registry._backend
    assert isinstance(backend, LocalBackend)
    host = JupyterHost(backend.engine, None, draw)
    process = Process(backend.engine, backend, host, registry)
    monkeypatch.setattr("nbchat.jupyter.process.shared", lambda _make_host: process)
    return host


def live(session: Session) -> LiveSession:
    """Return a session's engine object, with its messages in memory."""
    engine = _engine(session._backend)
    found = engine.sessions.get_including_deleted(session.id)
    assert found is not None
    if found.evicted:
        engine.loop.call(engine.ensure_loaded, found)
    return found


def echo(request: Request) -> list[str]:
    """Answer with all questions of the context, so that a question of another session shows."""
    return [" | ".join(message.text for message in request.messages if message.role == "user")]
