"""Cost of a service: the CPU time of a stream, and simulated loads for groups of people.

The figures are measured on this machine. The table is calculated from constants, so it is the same on each
machine; `docs/howto/deploy.md` has it.
"""

import heapq
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runner import cpu_s, rss_mb
from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.runner.link_backend import LinkBackend
from nbchat.service.access import new_token
from nbchat.service.address import ServiceAddress

STREAMS = 20
WINDOW_S = 10.0


# Measured on two cores that were busy with other work, with Python 3.11 and Redis 7.

STREAM_CORES = 0.009
"""Cores of the service for a live answer of 64 tokens/s, with one kernel linked."""
WRITE_CPU_S = 50e-6
"""CPU time of Redis for a fenced write (`benchmarks/redis_store.py`)."""
BYTES_PER_CHAR = 1.3
"""Stored bytes for each character of a transcript: the mean of sessions of 1 to 50 answers.

It is 2.2 for events, which are folded when they exceed 64 KB, and 0.5 for a folded session
(`benchmarks/stored.py`).
"""
WRITES_PER_S = 4.0
"""Writes of a namespace that has a live answer."""

# Assumed.

QUESTIONS_PER_HOUR = 10.0
"""Questions of a person who is working."""
TOKENS = 600.0
"""Mean length of an answer; lengths are distributed exponentially."""
TOKENS_PER_S = 50.0
CHARS_PER_TOKEN = 4.0
HOURS_PER_YEAR = 4 * 250.0
"""Hours in which a person is working."""

SIMULATED_S = 2 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of a group of people."""

    people: int
    mean_live: float
    most_live: int
    writes_per_s: float
    """Mean number of fenced writes."""
    service_cores: float
    """With the largest number of live answers."""
    store_cores: float
    """With the largest number of namespaces that have one."""
    gb_per_year: float


def simulate(people: int) -> Load:
    """Return the load of people who each ask at random times, with answers of random lengths.

    Each person has a namespace. Questions during an answer are queued, and counted as live.
    """
    dice = random.Random(1)
    ends: list[float] = []
    free = [0.0] * people
    now = live_s = 0.0
    most = 0
    while now < SIMULATED_S:
        now += dice.expovariate(people * QUESTIONS_PER_HOUR / 3600)
        person, answer_s = dice.randrange(people), dice.expovariate(TOKENS_PER_S / TOKENS)
        free[person] = max(now, free[person]) + answer_s
        live_s += answer_s
        heapq.heappush(ends, free[person])
        while ends[0] < now:
            heapq.heappop(ends)
        most = max(most, len(ends))
    mean = live_s / now
    chars_per_s = mean * TOKENS_PER_S * CHARS_PER_TOKEN
    return Load(
        people=people,
        mean_live=mean,
        most_live=most,
        writes_per_s=mean * WRITES_PER_S,
        service_cores=most * STREAM_CORES,
        store_cores=most * WRITES_PER_S * WRITE_CPU_S,
        gb_per_year=chars_per_s * 3600 * HOURS_PER_YEAR * BYTES_PER_CHAR / 1e9,
    )


def table() -> str:
    """Return the simulated loads as a table in Markdown."""
    lines = [
        "| people at work | live answers: mean, most | writes/s | cores: service | cores: Redis | GB/year |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for people in (10, 100, 1_000, 10_000):
        load = simulate(people)
        lines.append(
            f"| {people:,} | {load.mean_live:.1f}, {load.most_live} | {load.writes_per_s:,.0f} "
            f"| {load.service_cores:.2f} | {load.store_cores:.3f} | {load.gb_per_year:.1f} |"
        )
    return "\n".join(lines)


@contextmanager
def process(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give a process of nbchat that serves, and its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "nbchat", *arguments],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as made:
        try:
            assert made.stdout is not None
            for line in made.stdout:
                if (found := re.search(r"(?:port |127\.0\.0\.1:)(\d+)", line)) is not None:
                    yield made, int(found[1])
                    return
            sys.exit("nbchat does not serve")
        finally:
            made.terminate()
            made.communicate()


def measure() -> None:
    """Print the CPU time of a stream of a service, with one kernel linked."""
    with tempfile.TemporaryDirectory() as folder, process("serve", "--port", "0") as (_, models):
        token = new_token(Path(folder) / "tokens", "ada")
        options = ("--listen", "127.0.0.1:0", "--store", f"{folder}/store", "--tokens", f"{folder}/tokens")
        with process("runner", *options) as (service, port):
            os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{models}/v1"
            os.environ["OPENAI_API_KEY"] = "none"
            kernel = Engine()
            backend = LinkBackend(
                ServiceAddress(f"http://127.0.0.1:{port}/", {"NBCHAT_RUNNER_TOKEN": token}), kernel
            )
            registry = SessionRegistry(backend=backend)
            print(f"memory without sessions      {rss_mb(service.pid):8.0f} MB")
            runs = [
                registry.create(f"s{number}", model="nbchat-long").send("8000 words")
                for number in range(STREAMS)
            ]
            for run in runs:
                next(iter(run))
            before, chars = cpu_s(service.pid), sum(len(run.text) for run in runs)
            time.sleep(WINDOW_S)
            used, more = cpu_s(service.pid) - before, sum(len(run.text) for run in runs) - chars
            live = sum(not run.is_over for run in runs)
            print(f"answers that were live       {live:8d} of {STREAMS}")
            print(f"text of an answer            {more / STREAMS / WINDOW_S:8.0f} characters/s")
            print(f"a live answer                {used / STREAMS / WINDOW_S * 100:8.2f} % of a core")
            for run in runs:
                run.stop()
            backend.leave(restart=True)
            kernel.shutdown()


def main() -> None:
    """Print the figures and the table."""
    measure()
    print(f"\n{table()}")


if __name__ == "__main__":
    main()
