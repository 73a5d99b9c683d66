"""The objects of a process: one registry over reloads and forks, and the end of the process."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from nbchat.core import errors
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import PAUSE, ScriptedProvider


def test_the_registry_is_the_same_over_reloads_and_copies() -> None:
    """A module that is reloaded, or imported again, has the same registry."""
    script = """
import importlib, importlib.util, sys
import nbchat
first = nbchat.registry
session = nbchat.session("geo")
importlib.reload(nbchat)
assert nbchat.registry is first
for name in [n for n in sys.modules if n == "nbchat" or n.startswith("nbchat.")]:
    del sys.modules[name]
import nbchat as again
assert again.registry is first
assert again.session("geo") is session
print("same")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "same", done.stderr


def test_importing_is_cheap_and_does_nothing() -> None:
    """`import nbchat` loads neither the SDK nor widgets, and starts no thread."""
    script = """
import sys, threading
import nbchat
names = ("openai", "anywidget", "ipywidgets", "sqlite3", "asyncio", "msgspec")
heavy = [n for n in names if n in sys.modules]
assert not heavy, heavy
assert threading.active_count() == 1
nbchat.registry
assert threading.active_count() == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_process_ends_quietly_with_live_runs() -> None:
    """Exiting Python during a stream ends at once, without a traceback."""
    script = """
import nbchat
from nbchat.providers.scripted import ScriptedProvider, HANG
runs = [nbchat.session(f"s{i}", provider=ScriptedProvider("x", HANG)).send("?") for i in range(5)]
for run in runs: next(iter(run))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


IN_A_THREAD = """
import threading

def work():
    threading.main_thread().join()
    print(nbchat.ask("Seine", model="nbchat-echo").text)

threading.Thread(target=work).start()
"""


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("nbchat.session('a', model='nbchat-echo').send('x')", ""),
        (IN_A_THREAD, "Seine\n"),
    ],
    ids=["while it connects", "in another thread"],
)
def test_the_end_of_the_main_thread_is_not_the_end_of_an_answer(script: str, says: str) -> None:
    """A script exits cleanly while a run connects, and other threads can use nbchat after the main thread."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "NBCHAT_"))}
    done = subprocess.run(
        [sys.executable, "-c", f"import nbchat\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=env | {"NBCHAT_DEMO_PACE": "0"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


def _in_a_child(registry: SessionRegistry, queue: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        registry.create("x")
    except errors.CommandError as error:
        queue.put(str(error))
    else:
        queue.put("it worked")


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork to be safe after"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_touch_the_parents_runs(registry: SessionRegistry) -> None:
    """After a fork the child gets an error that names the cause, and the parent's run continues."""
    provider = ScriptedProvider("a", PAUSE, "b")
    run = registry.create(provider=provider).send("?")
    provider.wait_paused()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_a_child, args=(registry, queue))
    child.start()
    said = queue.get()
    child.join()

    assert "forked" in said
    provider.go()
    assert run.wait(10).text == "ab"
