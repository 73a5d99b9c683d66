"""The openai client is imported in the background before the first question."""

import json
import os
import subprocess
import sys
from typing import Any

WATCH = """
import importlib.abc, json, sys, threading

imported_on = {}

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        imported_on.setdefault(name, threading.current_thread())

sys.meta_path.insert(0, Watch())
"""

REPORT = """
thread = imported_on.get("openai")
print(json.dumps(thread and {"name": thread.name, "daemon": thread.daemon}))
"""


def thread_that_imported_openai(script: str) -> Any:
    """Run a script in a fresh process, and return the name of the thread that imported openai, or None."""
    code = WATCH + script + REPORT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WAIT = """
for thread in threading.enumerate():
    if thread.name == "nbchat-warm-up":
        thread.join()
"""


def test_a_session_loads_the_client_in_the_background() -> None:
    """Creating a session imports the openai client on a daemon thread, and sends nothing."""
    script = "import nbchat\nsession = nbchat.session('geo')\n" + WAIT + "assert not session.runs\n"
    assert thread_that_imported_openai(script) == {"name": "nbchat-warm-up", "daemon": True}


def test_a_restored_session_loads_the_client_in_the_background() -> None:
    """Restoring a session imports the openai client as creating one does."""
    script = (
        "import nbchat\n"
        "from nbchat.providers.scripted import ScriptedProvider\n"
        "nbchat.session('geo', provider=ScriptedProvider())\n"
        "snapshot = nbchat.registry.snapshot()\n"
        "nbchat.registry['geo'].delete()\n"
        "assert 'openai' not in imported_on\n"
        "nbchat.registry.restore(snapshot)\n" + WAIT
    )
    assert thread_that_imported_openai(script) == {"name": "nbchat-warm-up", "daemon": True}


def test_the_registry_alone_loads_no_client() -> None:
    """Importing nbchat and reading the registry do not import the openai client."""
    assert thread_that_imported_openai("import nbchat\nlist(nbchat.registry)\n" + WAIT) is None


def test_a_session_with_another_provider_loads_no_client() -> None:
    """Sessions with another provider, by object or by name, do not import the openai client."""
    script = (
        "import nbchat\n"
        "from nbchat.providers.scripted import ScriptedProvider\n"
        "nbchat.session('object', provider=ScriptedProvider())\n"
        "nbchat.config(provider='another')\n"
        "nbchat.session('name')\n" + WAIT
    )
    assert thread_that_imported_openai(script) is None


def test_the_first_answer_imports_no_module_of_the_client() -> None:
    """The background import covers all modules of the client and its libraries that an answer needs."""
    script = (
        "import sys, threading, nbchat\n"
        "session = nbchat.session('geo', model='nbchat-echo')\n" + WAIT + "before = set(sys.modules)\n"
        "assert session.ask('Seine').text == 'Seine'\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - {'nbchat'}))\n"
    )
    environment = {**os.environ, "NBCHAT_DEMO_PACE": "0"}
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
