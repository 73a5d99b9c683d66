"""Cost of a runner: latency over the link, attaching to a live run, and an idle process."""

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.run import Run
from nbchat.runner.link import greet
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.places import Place

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


def main() -> None:
    """Print all results. The limits are those of the promises: see docs/howto/runner.md."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NBCHAT_JOURNAL_DIR"] = f"{folder}/journals"
        place = Place(f"{folder}/chat.ipynb", Path(folder))
        kernels = [Engine(), Engine()]
        start = time.perf_counter()
        backends = [LinkBackend(place, kernels[0])]
        print(f"start of a runner            {(time.perf_counter() - start) * 1000:8.0f} ms")
        backends[0].restore()  # opens the journal
        registry = SessionRegistry(backend=backends[0])
        connection, greeting = greet(place.address, is_kernel=False)
        connection.close()
        pid = greeting.pid
        try:
            echo = registry.create("echo", model="nbchat-echo")
            echo.ask("warm up")
            sends, stops, attaches = [], [], []
            for _ in range(TIMES):
                runs: list[Run] = []
                sends.append(timed(lambda: runs.append(echo.send("one"))))  # noqa: B023 - called at once
                runs[0].wait(30)
            print(f"send() to acknowledgement    {percentiles(sends)}   (p50 at most 10 ms)")
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
                other = LinkBackend(place, engine)
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
            for backend in backends:
                backend.leave(restart=True)
            for engine in kernels:
                engine.shutdown()


if __name__ == "__main__":
    main()
