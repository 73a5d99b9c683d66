"""`LinkedNotebook`: a notebook whose answers are generated in a runner, and its kernels."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from nbchat.core.errors import NbchatError
from nbchat.runner.link import Link, greet
from nbchat.runner.places import Place
from tests.kernels import Kernel
from tools.jupyter_home import environment

ROOT = Path(__file__).parents[2]

EMPTY = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


class LinkedNotebook(AbstractContextManager["LinkedNotebook"]):
    """A notebook file, the environment of its kernels, and the processes of its runners."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.path = folder / "chat.ipynb"
        self.path.write_text(EMPTY, "utf-8")
        self.env: Mapping[str, str] = environment(folder, os.environ) | {
            "PYTHONPATH": str(ROOT),
            "JPY_SESSION_NAME": str(self.path),
            "NBCHAT_RUNNER": "local",
            "NBCHAT_RUNNER_DIR": str(folder / "r"),
            **variables,
        }
        self._kernels = ExitStack()
        self._pids: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, NbchatError):
            self.pid()
        self._kernels.close()
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)

    @property
    def place(self) -> Place:
        """The files of the runner."""
        return Place(str(self.path), self.folder / "r")

    def kernel(self) -> Kernel:
        """Start a kernel of this notebook."""
        return self._kernels.enter_context(Kernel(self.folder, self.env))

    def pid(self) -> int:
        """Return the process id of the runner that listens now."""
        connection, greeting = greet(self.place.address, is_kernel=False)
        connection.close()
        self._pids.add(greeting.pid)
        return greeting.pid

    def ends_with_it(self, pid: int) -> None:
        """End another runner with this object."""
        self._pids.add(pid)

    @contextlib.contextmanager
    def link(self) -> Iterator[Link]:
        """Return a link like that of the command line."""
        link = Link(*greet(self.place.address, is_kernel=False), lambda *_: None, lambda _link: None)
        link.start()
        try:
            yield link
        finally:
            link.close()

    def nbchat(self, *arguments: str) -> str:
        """Return the output of the command `nbchat`."""
        command = [sys.executable, "-m", "nbchat", *arguments]
        return subprocess.run(
            command, env=dict(self.env), capture_output=True, text=True, check=True, cwd=self.folder
        ).stdout


def said(kernel: Kernel, code: str) -> str:
    """Run a cell that must not fail, and return its printed output."""
    cell = kernel.run(code, 120)
    assert cell.error is None, cell.traceback
    return cell.stdout.strip()
