"""`Replicated` and `Processes`: replicas of a service, in this process and in processes of their own."""

from __future__ import annotations

import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nbchat.batch_engine.request import BatchRequest
from nbchat.core.events import Settings
from nbchat.engine.engine import Engine
from nbchat.engine.journal_reader import read_back
from nbchat.engine.loop_thread import LoopThread
from nbchat.handles.registry import SessionRegistry
from nbchat.runner.link_backend import LinkBackend
from nbchat.service.access import Teams, TokenFile, new_token
from nbchat.service.address import ServiceAddress
from nbchat.service.quotas import DEFAULTS, Quotas
from nbchat.service.replicas import Replicas
from nbchat.service.server import Service
from nbchat.service.storage import RedisStorage
from nbchat.stores.redis import RedisStore
from nbchat.stores.redis_replicas import RedisReplicas
from tests.proxy import Proxy
from tests.service.served import PEOPLE, TEAMS
from tests.waiting import wait_for
from tools.jupyter_home import environment

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from nbchat.batch_engine.reader import BatchReader
    from nbchat.core.transcript import SessionState
    from nbchat.handles.run import Run
    from tests.redis_process import RedisProcess

ROOT: Final = Path(__file__).parents[2]

LEASE_S: Final = 3.0
"""The lease of replicas in processes of their own."""

CODE: Final = """
import sys
from nbchat.cli import main
from nbchat.engine import journal_writer, leased_store
from nbchat.service import namespaces, replicas, server
from nbchat.stores import redis_batch
lease_s = float(sys.argv.pop(1))
for module in (journal_writer, leased_store, server, redis_batch):
    module.LEASE_S = lease_s
replicas.CONNECT_S = 4.0
namespaces.DRAIN_S = 50.0
sys.exit(main())
"""


def batch_of(*prompts: str, concurrency: int = 1, rpm: float | None = None) -> BatchRequest:
    """Return a batch of prompts, which are their own keys."""
    return BatchRequest(
        prompts=tuple(enumerate(prompts)),
        keys=prompts,
        settings=Settings(model="count"),
        concurrency=concurrency,
        rpm=rpm,
        attempts=1,
    )


def texts_of(reader: BatchReader, timeout_s: float = 90.0) -> list[str]:
    """Wait for the end of a batch, and return the answers, or the names of errors, in order."""

    def is_over() -> bool:
        reader.wait()
        return reader.is_over

    wait_for(is_over, "the end of the batch", timeout_s)
    reader.check()
    found = {answer.index: answer for answer in reader.answers}
    reader.close()
    return [one.text if one.error is None else type(one.error).__name__ for _, one in sorted(found.items())]


def status(port: int, path: str, headers: dict[str, str]) -> int:
    """Return the status of a request for a link."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    try:
        connection.request("GET", path, headers=upgrade | headers)
        return connection.getresponse().status
    finally:
        connection.close()


def drains(port: int) -> bool:
    """Return whether the replica at a port is to get no new links; one without live answers ends at once."""
    try:
        return status(port, "/healthz", {}) == 503
    except OSError:
        return True


def has_half(run: Run) -> bool:
    """Return whether half of a run's answer has arrived."""
    return "-150 " in run.text


class Kernels:
    """Kernels of the people `PEOPLE`, and what is on the server of the stores."""

    def __init__(self, folder: Path, redis: RedisProcess) -> None:
        self.folder = folder
        self.redis = redis
        self.tokens: Mapping[str, str] = {person: new_token(folder / "tokens", person) for person in PEOPLE}
        (folder / "teams.toml").write_text(TEAMS, "utf-8")
        self.kernels: list[tuple[Engine, LinkBackend]] = []
        self.directory = RedisReplicas(redis.url, timeout_s=60.0)

    def end_kernels(self) -> None:
        """End the kernels."""
        while self.kernels:
            engine, backend = self.kernels.pop()
            backend.leave(restart=True)
            engine.shutdown()

    def close(self) -> None:
        """End the kernels and the connections."""
        self.end_kernels()
        self.directory.close()

    def registry(self, port: int, person: str, team: str | None = None) -> SessionRegistry:
        """Return a registry in a new kernel of a person, which is linked to a port."""
        query = "" if team is None else f"?namespace={team}"
        environment = {"NBCHAT_RUNNER_TOKEN": self.tokens[person]}
        engine = Engine()
        backend = LinkBackend(ServiceAddress(f"http://127.0.0.1:{port}/{query}", environment), engine)
        self.kernels.append((engine, backend))
        return SessionRegistry(backend=backend)

    def reader(self, port: int, request: BatchRequest, person: str = "ada") -> BatchReader:
        """Return a reader of a batch, in a new kernel of a person that is linked to a port."""
        self.registry(port, person)
        return self.kernels[-1][1].batches.reader(request)

    def stored(self, namespace: str) -> dict[str, SessionState]:
        """Return the sessions of a namespace as they are stored, by title."""
        store = RedisStore(self.redis.url, namespace, timeout_s=60.0)
        try:
            return {one.state.title: one.state for one in read_back(store.read()).sessions}
        finally:
            store.close()


class Replica:
    """A replica in this process."""

    def __init__(self, folder: Path, url: str, quotas: Quotas) -> None:
        self._access = (TokenFile(folder / "tokens"), Teams(folder / "teams.toml"))
        self._has_ended = False
        self.loop = loop = LoopThread()
        storage = RedisStorage(url)

        def join(port: int) -> Replicas:
            self.url = f"http://127.0.0.1:{port}/"
            return Replicas(storage.join(self.url), self.url, loop)

        self.service = loop.call(lambda: Service(loop, storage, *self._access, quotas=quotas))
        self.port = loop.run(self.service.start("127.0.0.1", 0, None, join), 60)

    @property
    def namespaces(self) -> Sequence[str]:
        """The namespaces that it serves."""
        return list(self.service._namespaces)

    def end(self) -> None:
        """End it in order, unless it has ended."""
        if not self._has_ended:
            self._has_ended = True
            self.loop.run(self.service.close(), 60)
            self.loop.close(10)


class Replicated(Kernels):
    """Two replicas in this process. Use it in a `with` statement."""

    def __init__(self, folder: Path, redis: RedisProcess, *, quotas: Quotas = DEFAULTS) -> None:
        super().__init__(folder, redis)
        self._quotas = quotas

    def __enter__(self) -> Self:
        self.one, self.two = (Replica(self.folder, self.redis.url, self._quotas) for _ in range(2))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
        for one in (self.one, self.two):
            one.end()

    def roles(self, namespace: str) -> tuple[Replica, Replica]:
        """Return the replica that holds a namespace, and the other one."""
        holder = self.directory.holder(namespace)
        both = [self.one, self.two]
        both.sort(key=lambda one: one.url != holder)
        assert both[0].url == holder
        return both[0], both[1]


class ReplicaProcess:
    """A replica in a process of its own; `wait` before it is used."""

    def __init__(self, folder: Path, redis_url: str, number: int) -> None:
        self._command = [
            *(sys.executable, "-c", CODE, str(LEASE_S), "runner", "--teams", str(folder / "teams.toml")),
            *("--tokens", str(folder / "tokens")),
        ]
        self._env = environment(folder, os.environ) | {"PYTHONPATH": str(ROOT), "NBCHAT_STORE": redis_url}
        self._log = folder / f"log-{number}"
        self.port = 0
        """Its port; 0 until it is known, where no connection succeeds."""
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the process, at another port than before."""
        self._log.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, "--listen", "127.0.0.1:0"], env=self._env, stderr=log
            )

    @property
    def log(self) -> str:
        """Its log since the last start."""
        return self._log.read_text("utf-8")

    def wait(self) -> None:
        """Wait until the replica can be used."""
        process = self._process
        assert process is not None

        def listening() -> re.Match[str] | None:
            assert process.poll() is None, self.log
            return re.search(r"port (\d+)$", self.log, re.MULTILINE)

        self.port = int(wait_for(listening, "the replica listens", 60.0)[1])
        self.url = f"http://127.0.0.1:{self.port}/"

    @property
    def is_running(self) -> bool:
        """True if the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def suspend(self) -> None:
        """Suspend the process, and wait until all of its threads have stopped."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status

    def ended(self) -> int:
        """Wait for the end of the process, and return its status."""
        assert self._process is not None
        return self._process.wait(60)

    def kill(self) -> None:
        """End the process by SIGKILL, and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class Processes(Kernels):
    """Replicas in processes, and a port that leads to any of them. Use it in a `with` statement."""

    count = 2
    """Number of replicas."""

    def __enter__(self) -> Self:
        self.replicas = [ReplicaProcess(self.folder, self.redis.url, number) for number in range(self.count)]
        self.unhealthy: ReplicaProcess | None = None
        """The replica to which the port does not lead."""
        self._turns = itertools.count()
        self._proxy = Proxy(self._connect)
        self._proxy.__enter__()
        try:
            for one in self.replicas:
                one.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.port = self._proxy.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            self._proxy.__exit__(None, None, None)
            for one in self.replicas:
                one.kill()

    def _connect(self) -> socket.socket:
        """Connect to one replica after the other, as a load balancer."""
        healthy = [one for one in self.replicas if one is not self.unhealthy]
        return socket.create_connection(("127.0.0.1", healthy[next(self._turns) % len(healthy)].port))

    def restore(self) -> None:
        """Start a replica that has ended, and end the kernels."""
        self.unhealthy = None
        self.end_kernels()
        for one in self.replicas:
            if not one.is_running:
                one.start()
                one.wait()

    def roles(self, namespace: str) -> tuple[ReplicaProcess, ReplicaProcess]:
        """Return the replica that holds a namespace, and the other one."""
        holder = self.directory.holder(namespace)
        one, two = self.replicas
        assert holder in (one.url, two.url)
        return (one, two) if holder == one.url else (two, one)
