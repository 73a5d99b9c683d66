"""The engine's thread, where it cannot be started."""

import subprocess
import sys
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


def test_blocking_calls_in_a_browser_raise_a_single_error() -> None:
    """If no thread can be started, `ask` and `map` raise one error, and their clean-up raises none."""
    code = """
import traceback, types, nbchat
from nbchat.engine import loop_thread
loop_thread.sys = types.SimpleNamespace(platform="emscripten")
for use in (lambda: nbchat.ask("?"), lambda: nbchat.map(["a"], "{prompt}")):
    try:
        use()
    except nbchat.CommandError as error:
        print("".join(traceback.format_exception(error)).count("Traceback"))
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.split() == ["1", "1"]


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
