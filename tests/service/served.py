"""`Served`: a service in this process, with people, a team, and kernels that are linked to it."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nbchat.engine.engine import Engine
from nbchat.engine.loop_thread import LoopThread
from nbchat.handles.registry import SessionRegistry
from nbchat.runner.link_backend import LinkBackend
from nbchat.service.access import Authority, Teams, TokenFile, new_token
from nbchat.service.address import ServiceAddress
from nbchat.service.metrics import Metrics
from nbchat.service.quotas import DEFAULTS, Quotas
from nbchat.service.server import Service
from nbchat.service.storage import SqliteFolder
from tests.engines import RUNNERS

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from nbchat.service.namespace import Namespace

PEOPLE = ("ada", "bob", "eve")
TEAMS = '[geo]\nada = "owner"\nbob = "editor"\neve = "viewer"\n[secret]\nada = "owner"\n'


class Served:
    """A service with the people `PEOPLE` and the teams `TEAMS`.

    Parameters
    ----------
    folder
        Has its files.
    authority
        Returns what identifies people by their tokens, if that is not a file.
    quotas
        Limits of each namespace.
    """

    def __init__(
        self,
        folder: Path,
        authority: Callable[[], Authority] | None = None,
        *,
        quotas: Quotas = DEFAULTS,
    ) -> None:
        self.folder = folder
        self._quotas = quotas
        self.tokens: Mapping[str, str] = {person: new_token(folder / "tokens", person) for person in PEOPLE}
        self._authority = authority or (lambda: TokenFile(folder / "tokens"))
        self.teams = folder / "teams.toml"
        self.teams.write_text(TEAMS, "utf-8")
        self.port = 0
        self.kernels: list[tuple[Engine, LinkBackend]] = []
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for engine, backend in self.kernels:
            backend.leave(restart=True)
            engine.shutdown()
        self.end()

    def start(self) -> None:
        """Start the service, at the same port as before."""
        self.loop = loop = LoopThread()
        storage = SqliteFolder(self.folder / "store")
        access = (self._authority(), Teams(self.teams))
        self.metrics = Metrics()
        more = {"quotas": self._quotas, "metrics": self.metrics}
        self.service = loop.call(lambda: Service(loop, storage, *access, **more))
        self.port = loop.run(self.service.start("127.0.0.1", self.port), 60)

    def end(self) -> None:
        """End the service in order."""
        self.metrics.close()
        self.loop.run(self.service.close(), 60)
        self.loop.close(10)

    def address(self, person: str, team: str | None = None) -> ServiceAddress:
        """Return the address of the person's namespace, or of a team's."""
        query = "" if team is None else f"?namespace={team}"
        environment = {"NBCHAT_RUNNER_TOKEN": self.tokens[person]}
        return ServiceAddress(f"http://127.0.0.1:{self.port}/{query}", environment)

    def registry(self, person: str, team: str | None = None) -> SessionRegistry:
        """Return a registry in a new kernel of a person."""
        engine = Engine()
        backend = LinkBackend(self.address(person, team), engine)
        self.kernels.append((engine, backend))
        RUNNERS[backend] = self.namespace(person, team).engine
        return SessionRegistry(backend=backend)

    def namespace(self, person: str, team: str | None = None) -> Namespace:
        """Return a namespace that is open."""
        name = f"person-{person}" if team is None else f"team-{team}"
        return self.service._namespaces._opened[name].result()

    def get(
        self, path: str, authorization: str | None = None, more: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Return the status and the body of a request that would open a link where the path has one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            **(more or {}),
        }
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, "" if response.status == 101 else response.read().decode()
        finally:
            connection.close()
