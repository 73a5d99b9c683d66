"""Cost of a runner: latency over the link, attaching to a live run, and an idle process.

An acknowledgement waits until its command is on the disk, so the same commit without a runner is printed too.
"""

import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.run import Run
from nbchat.handles.session import Session
from nbchat.runner.link import greet
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.places import Place
from nbchat.runner.spawn import LocalRunner
from nbchat.stores.sqlite import SqliteStore

TIMES = 200
IDLE_S = 10.0


def percentiles(took: list[float]) -> str:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(took)
    p50, p99 = statistics.median(ordered), ordered[int(0.99 * len(ordered))]
    return f"p50 {p50 * 1000:6.1f} ms   p99 {p99 * 1000:6.1f} ms"


def timed(work: Callable[[], object]) -> float:
    """Return how long a call took, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def first_text(run: Run) -> str:
    """Return the first text of a run."""
    return next(iter(run))


def measure_sends(echo: Session, store: SqliteStore) -> None:
    """Print the time to an acknowledgement, and that of a commit to the same disk in this process."""
    sends, commits = [], []
    for number in range(TIMES):
        start = time.perf_counter()
        run = echo.send("one")
        sends.append(time.perf_counter() - start)
        run.wait(30)
        start = time.perf_counter()
        store.remember("number", str(number))
        commits.append(time.perf_counter() - start)
    store.close()
    print(f"send() to acknowledgement    {percentiles(sends)}   (p50 at most 10 ms)")
    print(f"one commit to this disk      {percentiles(commits)}   (part of it)")


def measure_views(place: Place, session: Session) -> None:
    """Print the time until another kernel of the notebook has a change."""
    engine = Engine()
    other = LinkBackend(LocalRunner(place), engine)
    took = []
    for number in range(TIMES):
        title, changed = f"title {number}", threading.Event()
        with other.watch(session.id, changed.set):
            start = time.perf_counter()
            session.title = title
            while other.state(session.id).title != title:
                changed.wait(1)
                changed.clear()
            took.append(time.perf_counter() - start)
    other.leave(restart=True)
    engine.shutdown()
    print(f"a change in another kernel   {percentiles(took)}   (p99 at most 200 ms)")


def main() -> None:
    """Print all results, with the limits that they have to keep."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NBCHAT_JOURNAL_DIR"] = f"{folder}/journals"
        place = Place(f"{folder}/chat.ipynb", Path(folder))
        kernel = Engine()
        start = time.perf_counter()
        backend = LinkBackend(LocalRunner(place), kernel)
        print(f"start of a runner            {(time.perf_counter() - start) * 1000:8.0f} ms")
        backend.restore()  # opens the journal
        registry = SessionRegistry(backend=backend)
        connection, greeting = greet(place.address, is_kernel=False)
        connection.close()
        pid = greeting.pid
        try:
            echo = registry.create("echo", model="nbchat-echo")
            echo.ask("warm up")
            stops, attaches = [], []
            measure_sends(echo, SqliteStore(Path(folder) / "other.sqlite", shared=True))
            measure_views(place, echo)
            slow = registry.create("slow", model="nbchat-slow")
            for _ in range(20):
                run = slow.send("one")
                first_text(run)
                stops.append(timed(lambda: (run.stop(), run.wait(30))))  # noqa: B023 - called at once
            print(f"stop() to the run's end      {percentiles(stops)}   (p99 at most 200 ms)")
            run = slow.send("one")
            first_text(run)
            for _ in range(20):
                engine = Engine()
                begin = time.perf_counter()
                other = LinkBackend(LocalRunner(place), engine)
                first_text(SessionRegistry(backend=other)["slow"].runs[-1])
                attaches.append(time.perf_counter() - begin)
                other.leave(restart=True)
                engine.shutdown()
            print(f"attaching to the first text  {percentiles(attaches)}   (p99 at most 500 ms)")
            run.stop()
            run.wait(30)
            before = cpu_s(pid)
            time.sleep(IDLE_S)
            used = (cpu_s(pid) - before) / IDLE_S * 100
            print(f"idle                         {used:8.2f} % of a core (at most 0.2 %)")
            print(f"resident memory              {rss_mb(pid):8.0f} MB (at most 80 MB)")
        finally:
            os.kill(pid, signal.SIGTERM)
            backend.leave(restart=True)
            kernel.shutdown()


if __name__ == "__main__":
    main()
