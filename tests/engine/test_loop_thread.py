"""The engine's thread, where it cannot be started."""

import threading
from types import SimpleNamespace

import pytest

from nbchat.core.errors import CommandError
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import engine_of


def test_python_in_a_browser_raises_the_missing_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Pyodide each use raises an error that names the missing feature and the alternative."""
    monkeypatch.setattr("nbchat.engine.loop_thread.sys", SimpleNamespace(platform="emscripten"))
    registry = SessionRegistry()
    for use in (registry.create, lambda: registry.get_or_create("geo")):
        with pytest.raises(CommandError, match=r"threads and sockets.*Pyodide, JupyterLite.*ipykernel"):
            use()
    engine_of(registry).shutdown()


def test_a_thread_that_is_refused_is_an_error_and_can_be_had_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system refuses a thread, the error gives the reason, and the next use tries again."""
    registry = SessionRegistry()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(CommandError, match="did not start one: can't start new thread"):
                registry.create()
    assert registry.create(provider=ScriptedProvider("a")).send("?").wait(30).text == "a"
    engine_of(registry).shutdown()
