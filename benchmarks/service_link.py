"""Cost of a service beside a local runner: latency, CPU of 100 streams, and bytes in the store.

Both generate the same answers, in turns, from a server in a process of its own.
"""

import asyncio
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.runner import cpu_s, first_text, percentiles, timed
from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.runner.link import greet
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.places import Place
from nbchat.runner.spawn import LocalRunner
from nbchat.runner.transports import RunnerAddress
from nbchat.service.access import new_token
from nbchat.service.address import ServiceAddress

STREAMS = 100
PER_S = 50
PIECE = " word"
ROUNDS = 4
ROUND_S = 6.0
TIMES = 100


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request of a connection with `PER_S` pieces a second, until it is closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    if (found := re.search(rb"content-length: (\d+)", head, re.IGNORECASE)) is not None:
        await reader.readexactly(int(found[1]))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    piece = b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % PIECE.encode()
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    with suppress(ConnectionError):
        while True:
            due = int((loop.time() - began) * PER_S)
            writer.write(piece * (due - sent))
            await writer.drain()
            sent = due
            await asyncio.sleep(1 / PER_S)
    writer.close()


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def model_server() -> Iterator[str]:
    """Serve a model; yield its URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


@dataclass(slots=True)
class Linked:
    """A kernel and its runner."""

    pid: int
    registry: SessionRegistry
    characters: int = 0

    def stream(self) -> float:
        """Return the CPU of the runner, in percent of a core, while all sessions stream."""
        sessions = [self.registry.get_or_create(f"stream {n}", model="words") for n in range(STREAMS)]
        runs = [session.send("?") for session in sessions]
        for run in runs:
            first_text(run)
        before, begin = cpu_s(self.pid), time.perf_counter()
        time.sleep(ROUND_S)
        used = (cpu_s(self.pid) - before) / (time.perf_counter() - begin) * 100
        self.registry.stop_all()
        for run in runs:
            self.characters += len(run.wait(60).text)
        return used

    def latencies(self) -> tuple[list[float], list[float]]:
        """Return the times of `send()` to its acknowledgement, and of `stop()` to the end of the run."""
        session = self.registry.create("latency", model="words")
        sends, stops = [], []
        for _ in range(TIMES):
            begin = time.perf_counter()
            run = session.send("?")
            sends.append(time.perf_counter() - begin)
            first_text(run)
            stops.append(timed(lambda run=run: (run.stop(), run.wait(30))))  # type: ignore[misc]
        return sends, stops


@contextmanager
def linked(address: RunnerAddress) -> Iterator[SessionRegistry]:
    """Link a kernel."""
    engine = Engine()
    backend = LinkBackend(address, engine)
    backend.restore()
    try:
        yield SessionRegistry(backend=backend)
    finally:
        backend.leave(restart=True)
        engine.shutdown()


@contextmanager
def local_runner(folder: Path) -> Iterator[Linked]:
    """Start a local runner."""
    place = Place(str(folder / "chat.ipynb"), folder)
    with linked(LocalRunner(place)) as registry:
        connection, greeting = greet(place.address, is_kernel=False)
        connection.close()
        try:
            registry.limits.live_runs = STREAMS
            yield Linked(greeting.pid, registry)
        finally:
            os.kill(greeting.pid, signal.SIGTERM)


@contextmanager
def service(folder: Path) -> Iterator[Linked]:
    """Start a service."""
    token = new_token(folder / "tokens", "ada")
    command = [
        *(sys.executable, "-m", "nbchat", "runner", "--listen", "127.0.0.1:0"),
        *("--store", str(folder / "store"), "--tokens", str(folder / "tokens")),
        *("--max-live-runs", str(STREAMS)),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        port = next(found[1] for line in process.stderr if (found := re.search(r"port (\d+)$", line)))
        address = ServiceAddress(f"http://127.0.0.1:{port}/", {"NBCHAT_RUNNER_TOKEN": token})
        with linked(address) as registry:
            yield Linked(process.pid, registry)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def main() -> None:
    """Print the results, with the limits that they have to keep."""
    with tempfile.TemporaryDirectory(prefix="nb-") as name, model_server() as url:
        folder = Path(name)
        os.environ |= {
            "NBCHAT_JOURNAL_DIR": f"{name}/journals",
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "sk",
        }
        with local_runner(folder) as local, service(folder) as served:
            for where, one in (("local runner", local), ("service", served)):
                sends, stops = one.latencies()
                print(f"send() to acknowledgement, {where:12}  {percentiles(sends)}")
                print(f"stop() to the run's end,   {where:12}  {percentiles(stops)}   (p99 at most 200 ms)")
            used = [(local.stream(), served.stream()) for _ in range(ROUNDS)]
            for where, values in zip(("local runner", "service"), zip(*used, strict=True), strict=True):
                used_here = statistics.median(values)
                print(f"{STREAMS} streams of {PER_S}/s, {where:12}  {used_here:6.1f} % of a core")
            extra = statistics.median(of_service - of_local for of_local, of_service in used)
            print(f"extra CPU of the service            {extra:6.1f} % of a core (at most 5 %)")
            characters = served.characters
        stored = sum(path.stat().st_size for path in (folder / "store").glob("*.sqlite*"))
        print(
            f"SQLite: bytes per character         {stored / characters:6.1f}   (with free pages and the log)"
        )


if __name__ == "__main__":
    main()
