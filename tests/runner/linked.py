"""`Linked`: registries that are linked to a runner in this process, with the same socket and messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.runner.engine import RunnerEngine
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.places import Place
from nbchat.runner.server import RunnerServer
from nbchat.runner.spawn import LocalRunner
from tests.engines import RUNNERS
from tests.waiting import wait_for

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Linked:
    """A runner, and any number of kernels that are linked to it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.place = Place(str(folder / "chat.ipynb"), folder)
        self.engine = RunnerEngine()
        self.server = self.engine.loop.call(lambda: RunnerServer(self.place, self.engine))
        self.engine.loop.run(self.server.start())
        self.kernels: list[tuple[Engine, LinkBackend]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for engine, backend in self.kernels:
            backend.leave(restart=True)
            engine.shutdown()
        self.engine.loop.run(self.server.close())
        self.engine.shutdown()

    def registry(self) -> SessionRegistry:
        """Return a registry in a new kernel."""
        engine = Engine()
        backend = LinkBackend(LocalRunner(self.place), engine)
        self.kernels.append((engine, backend))
        RUNNERS[backend] = self.engine
        return SessionRegistry(backend=backend)


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    wait_for(condition, "the condition of the test")
