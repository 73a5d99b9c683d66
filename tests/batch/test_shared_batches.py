"""`nbchat.map` with a journal on a server: several processes send one batch, at one rate."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

import nbchat
from nbchat.core.ids import new_id
from nbchat.providers.base import Request
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from nbchat.stores import redis_batch
from tests.batch.limited_server import LimitedServer, most_within
from tests.redis_process import RedisProcess
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]

LEASE_S = 2.0

WORKER = """
import json, sys
import nbchat
from nbchat.providers.openai import OpenAIProvider
from nbchat.stores import redis_batch

redis_batch.LEASE_S = float(sys.argv[1])
settings = json.loads(sys.argv[2])
provider = OpenAIProvider(base_url=settings.pop("base_url"), api_key="any")
prompts = [f"prompt {number}" for number in range(settings.pop("prompts"))]
results = nbchat.map(prompts, provider=provider, model="limited", progress=False, attempts=1, **settings)
print(json.dumps([type(result.error).__name__ if result.error else result.text for result in results]))
"""
"""Prints the answer to each prompt, or the name of its error."""


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisProcess]:
    """Start a server for the tests of this module; each uses a batch of its own."""
    with RedisProcess() as server:
        yield server


@pytest.fixture
def journal(redis_server: RedisProcess) -> str:
    """Return the URL of a batch that no other test uses."""
    return f"{redis_server.url}#{new_id('b-')}"


class Workers:
    """Processes that send the same batch. Use it in a `with` statement."""

    def __init__(self, **settings: Any) -> None:
        self._command = [sys.executable, "-c", WORKER, str(LEASE_S), json.dumps(settings)]
        self._stack = ExitStack()
        self.live: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self.live:
            process.kill()
        self._stack.close()

    def start(self) -> None:
        """Start one more."""
        process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(process)
        self.live.append(process)

    def check(self) -> bool:
        """Return True; fail if one has failed."""
        assert not any(process.poll() for process in self.live)
        return True

    def kill(self) -> None:
        """End the oldest one by SIGKILL."""
        process = self.live.pop(0)
        process.kill()
        process.wait()

    def results(self) -> list[list[str]]:
        """Wait for the end of all, and return their results."""
        found = []
        for process in self.live:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0
            found.append(json.loads(output))
        return found


@pytest.mark.timeout(600)
def test_several_processes_send_one_batch(journal: str, soak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though processes are killed, each prompt is sent once or reported as unknown, below the common rate.

    The long version kills one every 5 s, against a limit of 1,200 a minute. Its rate is 5 % lower, as
    documented, since requests can arrive closer together than they were sent.
    """
    prompts, workers, kills, rpm = (2000, 4, 20, 1140) if soak else (60, 2, 1, 1200)
    settings = {"prompts": prompts, "journal": journal, "rpm": rpm, "concurrency": 8}
    with (
        LimitedServer(takes_s=0.1) as server,
        Workers(base_url=server.base_url, **settings) as processes,
    ):
        for _ in range(workers):
            processes.start()
        began = time.monotonic()
        for number in range(kills):
            due = began + 5.0 * (number + 1)

            def is_due() -> bool:
                return time.monotonic() >= due if soak else len(server.times) >= prompts // 3  # noqa: B023 - used at once

            wait_for(lambda: processes.check() and is_due(), "the time to kill one", 120)
            processes.kill()
            processes.start()
        found = processes.results()
        monkeypatch.setattr(redis_batch, "LEASE_S", LEASE_S)
        asked = dict(server.asked)
        texts = [f"prompt {number}" for number in range(prompts)]
        again = nbchat.map(
            texts, model="limited", provider=ScriptedProvider(), journal=journal, progress=False
        )
    assert max(asked.values()) == 1
    if soak:
        assert most_within(server.times, 10.0) <= 200
    for results in [*found, [result.text or type(result.error).__name__ for result in again]]:
        for text, result in zip(texts, results, strict=True):
            assert result in {text.upper(), "KernelGone"}
            assert result == "KernelGone" or asked[text] == 1


def test_calls_at_the_same_time_share_prompts_and_failures(journal: str) -> None:
    """Each of several equal calls returns all outcomes; each prompt is sent once, also one that fails."""
    texts = [*(f"prompt {number}" for number in range(10)), "bad"]
    asked: Counter[str] = Counter()
    opened = threading.Barrier(4)

    def script(request: Request) -> list[Any]:
        text = request.messages[-1].text
        asked[text] += 1
        return [PAUSE, nbchat.RequestRejected("not this one.") if text == "bad" else text.upper()]

    def call(provider: ScriptedProvider) -> list[str]:
        shown: list[nbchat.BatchProgress] = []

        def progress(now: nbchat.BatchProgress) -> None:
            if not shown:
                opened.wait(60)
            shown.append(now)

        results = nbchat.map(texts, provider=provider, journal=journal, concurrency=20, progress=progress)
        assert not any(result.restored for result in results)
        return [result.text or type(result.error).__name__ for result in results]

    providers = [ScriptedProvider(script) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(call, provider) for provider in providers]
        opened.wait(60)
        while not all(one.done() for one in calls):
            for provider in providers:
                provider.go()
            wait(calls, 0.05)
        results = [one.result() for one in calls]
    assert results == [[*(text.upper() for text in texts[:-1]), "RequestRejected"]] * 3
    assert asked == dict.fromkeys(texts, 1)
    (last,) = nbchat.map(["bad"], provider=ScriptedProvider("good"), journal=journal, progress=False)
    assert last.text == "good"


def test_a_stopped_call_leaves_its_prompts_to_the_others(journal: str) -> None:
    """A prompt in progress in a call that is stopped is sent by another call, before its lease expires."""
    started = threading.Event()

    def progress(_now: nbchat.BatchProgress) -> None:
        if started.is_set():
            raise RuntimeError("stop")

    def script(request: Request) -> list[Any]:
        return [PAUSE, "late"] if request.messages[-1].text == "a" else [HANG]

    held, other = ScriptedProvider(script), ScriptedProvider("answer")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(nbchat.map, ["a", "b"], provider=held, journal=journal, progress=progress)
        held.wait_paused()
        second = threads.submit(nbchat.map, ["a", "b"], provider=other, journal=journal, progress=False)
        started.set()
        held.go()
        with pytest.raises(RuntimeError, match="stop"):
            first.result(60)
        assert second.result(60).texts == ["late", "answer"]


def test_without_the_extra_the_error_names_it(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the library is not installed, nothing is sent, and the error has the command that installs it."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(nbchat.ConfigError, match=r"jupyter-nbchat\[redis\]"):
        nbchat.map(["a"], provider=ScriptedProvider("x"), journal=journal, progress=False)
