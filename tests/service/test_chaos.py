"""Faults at random in the kernel, the replicas and the store of a service, while answers arrive."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.redis_process import RedisProcess
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.replicated import Processes, ReplicaProcess, drains, has_half
from tests.service.script import Script
from tests.waiting import wait_for
from tools.jupyter_home import environment

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Stand:
    """A kernel that sends prompts, another one that watches, and two replicas, all of one team.

    Use it in a `with` statement.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.watcher = processes.registry(processes.port, "ada", "secret")
        self._env = environment(processes.folder, os.environ) | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "NBCHAT_RUNNER": f"http://127.0.0.1:{processes.port}/?namespace=secret",
            "NBCHAT_RUNNER_TOKEN": processes.tokens["ada"],
            "OPENAI_BASE_URL": os.environ["OPENAI_BASE_URL"],
            "OPENAI_API_KEY": "sk-test",
        }

    def __enter__(self) -> Self:
        self.kernel = Script(self._env)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kernel.kill()

    def replace_kernel(self) -> None:
        """Start a new kernel in place of the one that was killed."""
        self.kernel = Script(self._env)

    def holder(self) -> ReplicaProcess:
        """Return the replica that holds the team's namespace."""
        return self.processes.roles("team-secret")[0]


@contextmanager
def nothing(_: Stand) -> Iterator[None]:
    """Let nothing fail."""
    yield


@contextmanager
def lost_link(stand: Stand) -> Iterator[None]:
    """Lose the link of the watching kernel."""
    link = stand.processes.kernels[0][1]._link
    assert link is not None
    link._transport.abort()
    yield


@contextmanager
def killed_kernel(stand: Stand) -> Iterator[None]:
    """Kill the kernel that sent the prompt."""
    stand.kernel.kill()
    yield
    stand.replace_kernel()


@contextmanager
def suspended_kernel(stand: Stand) -> Iterator[None]:
    """Suspend the kernel that sent the prompt until the answer has ended."""
    stand.kernel.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stand.kernel.send_signal(signal.SIGCONT)


@contextmanager
def killed_replica(stand: Stand) -> Iterator[None]:
    """Kill the replica that receives the answer."""
    holder = stand.processes.unhealthy = stand.holder()
    holder.kill()
    yield
    holder.start()
    holder.wait()


@contextmanager
def suspended_replica(stand: Stand) -> Iterator[None]:
    """Suspend the replica that receives the answer until another one has taken over."""
    holder = stand.processes.unhealthy = stand.holder()
    before = holder.log.count("has taken over")
    holder.suspend()
    try:
        yield
    finally:
        holder.send_signal(signal.SIGCONT)
    wait_for(lambda: holder.log.count("has taken over") > before, "the holder is replaced")


@contextmanager
def ended_replica(stand: Stand) -> Iterator[None]:
    """End the replica that receives the answer in order."""
    holder = stand.processes.unhealthy = stand.holder()
    holder.send_signal(signal.SIGTERM)
    wait_for(partial(drains, holder.port), "the replica drains")
    yield
    assert holder.ended() == 0
    holder.start()
    holder.wait()


@contextmanager
def killed_store(stand: Stand) -> Iterator[None]:
    """Kill the server of the store until the answer has ended."""
    stand.processes.redis.kill()
    yield
    stand.processes.redis.start()


@contextmanager
def suspended_store(stand: Stand) -> Iterator[None]:
    """Suspend the server of the store until the answer has ended."""
    stand.processes.redis.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stand.processes.redis.send_signal(signal.SIGCONT)


FAULTS: dict[Callable[[Stand], AbstractContextManager[None]], str] = {
    nothing: "completed",
    lost_link: "completed",
    killed_kernel: "completed",
    suspended_kernel: "completed",
    killed_replica: "interrupted",
    suspended_replica: "interrupted",
    ended_replica: "completed",
    killed_store: "completed",
    suspended_store: "completed",
}
"""The faults, and the state in which a run ends that has one."""


@pytest.fixture
def stand(tmp_path: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Return kernels and replicas that use the counting server."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setattr("nbchat.runner.link.PING_S", 1.0)
    with RedisProcess() as redis, Processes(tmp_path, redis) as processes, Stand(processes) as made:
        yield made


@pytest.mark.timeout(7200)  # leases expire; the long version takes half an hour
@pytest.mark.parametrize("seed", [17, 18])
def test_faults_at_random_lose_nothing(stand: Stand, server: CountingServer, soak: bool, seed: int) -> None:
    """Whatever fails, each question is asked once, each run has one end, and a complete answer is whole."""
    dice = random.Random(seed)
    prompts = [f"c{number}" for number in range(500 if soak else 10)]
    ends = []
    for prompt in prompts:
        server.hold()
        send = f"nbchat.registry.create({prompt!r}, model='count').send({prompt!r}).state"
        assert stand.kernel.value(send) in ("queued", "connecting", "streaming")
        until(lambda prompt=prompt: prompt in stand.watcher and stand.watcher[prompt].runs)
        run = stand.watcher[prompt].runs[0]
        wait_for(partial(has_half, run), "half of the answer has arrived", 60.0)
        fault = dice.choice(list(FAULTS))
        with fault(stand):
            server.go()
            run.wait(120)
        stand.processes.unhealthy = None
        ends.append(FAULTS[fault])
        assert run.state == ends[-1], fault.__name__
        assert run.state == "interrupted" or run.text == answer_to(prompt)
        seen = f"nbchat.registry[{prompt!r}].runs[0].wait(120).state"
        assert stand.kernel.value(seen) == run.state, fault.__name__
    expected = [("geo", []), *((prompt, [end]) for prompt, end in zip(prompts, ends, strict=True))]

    def stored() -> list[tuple[str, list[str]]]:
        sessions = stand.processes.stored("team-secret")
        return [(title, [run.state for run in state.runs]) for title, state in sessions.items()]

    until(lambda: stored() == expected)
    assert server.asked == prompts
