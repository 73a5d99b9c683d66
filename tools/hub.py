"""`Hub`: a real JupyterHub with users and the service of nbchat, on loopback."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from tools.jupyter_home import environment

ROOT: Final = Path(__file__).parent.parent
SERVICE: Final = ROOT / "docs" / "howto" / "deploy" / "jupyterhub_nbchat.py"
PROXY: Final = ROOT / "js" / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"

START_S: Final = 90.0
"""Longest time for the start, on a busy machine."""

END_S: Final = 60.0
"""Longest time in which the hub ends its servers, its proxy and the service."""


class Hub:
    """A running JupyterHub. Its servers are processes of this user.

    Parameters
    ----------
    home
        Folder of the hub's files. Each user has a folder in it, with the user's name.
    users
        Names of the users.
    store
        The store of the service, as for `nbchat runner --store`.
    teams
        The file of teams.
    variables
        Environment of the users' servers.
    arguments
        Options of the users' servers.
    groups
        The members of groups of users.
    namespace
        The team whose sessions are used by all kernels. `None`: cells choose the runner.

    Raises
    ------
    RuntimeError
        If it does not start.
    """

    def __init__(
        self,
        home: Path,
        users: Sequence[str],
        *,
        store: str,
        teams: Path | None = None,
        variables: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        namespace: str | None = None,
    ) -> None:
        self.home = home
        self.password = secrets.token_urlsafe(12)
        public, inner, proxy, service = free_ports(4)
        self.url = f"http://127.0.0.1:{public}"
        self.service_url = f"{self.url}/services/nbchat/"
        runner = {} if namespace is None else {"NBCHAT_RUNNER": f"{self.service_url}?namespace={namespace}"}
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        for user in users:
            environment(home / user, {})  # writes the settings of JupyterLab
        values = {
            "home": str(home),
            "service": str(SERVICE),
            "url": self.url,
            "hub_url": f"http://127.0.0.1:{inner}",
            "proxy_url": f"http://127.0.0.1:{proxy}",
            "proxy": proxy_command(),
            "password": self.password,
            "users": list(users),
            "groups": {name: {"users": list(members)} for name, members in (groups or {}).items()},
            "server": [
                *(sys.executable, "-m", "jupyterhub.singleuser"),
                *(["--allow-root"] if as_root else []),
                *arguments,
            ],
            "variables": {"PYTHONPATH": str(ROOT), **runner, **(variables or {})},
        }
        self._log = home / "hub.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", str(ROOT / "tools" / "hub_config.py")],
                cwd=home,
                env=environment(home, os.environ)
                | {
                    "PYTHONPATH": str(ROOT),
                    "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
                    "NBCHAT_HUB": json.dumps(values),
                    "NBCHAT_LISTEN": f"127.0.0.1:{service}",
                    "NBCHAT_STORE": store,
                    **({} if teams is None else {"NBCHAT_TEAMS": str(teams)}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_for_start()
        except BaseException:
            self.stop()
            raise

    def _wait_for_start(self) -> None:
        until = time.monotonic() + START_S
        while not (answers(f"{self.url}/hub/api/") and answers(f"{self.service_url}healthz")):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"JupyterHub did not start:\n{self.log()}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        """Return this hub."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the hub."""
        self.stop()

    @property
    def pid(self) -> int:
        """The id of the hub's process."""
        return self._process.pid

    def log(self) -> str:
        """Return what the hub, its service and the users' servers printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        """Wait until the hub ends by itself; return its status."""
        return self._process.wait()

    def stop(self) -> None:
        """End the hub, which ends its servers, its proxy and the service, and wait for all of them."""
        if self._process.poll() is not None:
            return
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, alive = psutil.wait_procs(children, END_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive)


def proxy_command() -> list[str]:
    """Return the command of the hub's proxy.

    Raises
    ------
    RuntimeError
        If it is not installed.
    """
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    node = shutil.which("node", path=os.pathsep.join(folders))
    if node is None or not PROXY.exists():
        raise RuntimeError("the proxy of JupyterHub is not installed; run: make test-js")
    return [node, str(PROXY)]


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that are free, and that the system gives to no other program by itself."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = random.randrange(20_000, 32_000)  # noqa: S311 - not a secret
            try:
                taken = stack.enter_context(socket.socket())
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def answers(url: str) -> bool:
    """Return whether a GET request is answered with a status below 400."""
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - http, to this machine
            return True
    except OSError:
        return False
