"""Batches in a runner: they continue without their kernel, and the same call attaches to them."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from nbchat.batch_engine.batch import Batch
from nbchat.batch_engine.request import BatchRequest
from nbchat.core.events import Settings
from nbchat.runner import linked_batches
from nbchat.runner.link_backend import LinkBackend
from tests.kernels import Cell, Kernel
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import Linked, until
from tests.runner.notebooks import LinkedNotebook, said
from tests.waiting import wait_for

PROMPTS = [f"p{number}" for number in range(12)]

MAP = """
import json, nbchat
results = nbchat.map([f"p{n}" for n in range(12)], model="count", concurrency=3,
                     progress=lambda now: print("done", now.done, now.continues, flush=True)%s)
print("texts", json.dumps(results.texts))
"""

CANARY = "sk-canary-1b7e40ad92"


@pytest.fixture
def notebook(tmp_path: Path, server: CountingServer) -> Iterator[LinkedNotebook]:
    """Return a notebook whose answers come from that server through a runner."""
    with LinkedNotebook(tmp_path, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=CANARY) as made:
        yield made


def begun(kernel: Kernel, more: str = "", *, done: int = 0) -> Cell:
    """Start the batch in a cell, or attach to it, and return the cell when it shows this progress."""
    cell = kernel.start(MAP % more)
    return kernel.follow(cell, lambda now: f"done {done} True\n" in now.stdout or now.over, 120)


def texts(kernel: Kernel, cell: Cell) -> list[str | None]:
    """Wait for the end of the batch's cell, and return the texts of the results."""
    kernel.follow(cell, lambda now: now.over, 120)
    assert cell.error is None, cell.traceback
    found: list[str | None] = json.loads(cell.stdout.rpartition("texts ")[2])
    return found


def kill(kernel: Kernel) -> None:
    """Kill the process of a kernel, without the interrupt that Jupyter sends first."""
    pid = kernel._manager.provisioner.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not kernel._manager.is_alive(), "the kernel has ended")


def batches(notebook: LinkedNotebook) -> list[list[int]]:
    """Return the numbers of answers and of prompts of the runner's batches."""
    with notebook.link() as link:
        found: list[list[int]] = link.call("batches", 30)
        return found


def test_a_batch_continues_without_its_kernel(notebook: LinkedNotebook, server: CountingServer) -> None:
    """After SIGKILL of the kernel each prompt is asked once, and the same call has all answers."""
    kernel = notebook.kernel()
    begun(kernel)
    wait_for(lambda: len(server.asked) == 3, "three prompts are in progress")
    kill(kernel)
    server.go()
    wait_for(lambda: batches(notebook) == [[12, 12]], "the batch is complete without a kernel")
    kernel.restart()
    cell = begun(kernel, done=12)
    assert texts(kernel, cell) == [answer_to(prompt) for prompt in PROMPTS]
    assert said(kernel, "print({result.restored for result in results})") == "{True}"
    assert sorted(server.asked) == sorted(PROMPTS)
    assert batches(notebook) == []
    assert not list(notebook.folder.rglob("*.jsonl"))


def test_the_next_kernel_attaches_to_a_batch_in_progress(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """The same call in the next kernel shows the progress so far, and asks nothing again."""
    server.free = {"p0", "p1"}
    kernel = notebook.kernel()
    begun(kernel, done=2)
    wait_for(lambda: len(server.asked) == 5, "three prompts are in progress")
    assert "a batch with 2 of 12 answers" in notebook.nbchat("runner", "list")
    for path in notebook.folder.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
    kill(kernel)
    kernel.restart()
    cell = begun(kernel, done=2)
    assert cell.stdout.splitlines()[0] == "done 2 True"
    server.go()
    assert texts(kernel, cell) == [answer_to(prompt) for prompt in PROMPTS]
    assert said(kernel, "print(sum(result.restored for result in results))") == "2"
    assert sorted(server.asked) == sorted(PROMPTS)
    assert cell.stdout.count("done ") == 11


def test_the_same_call_after_the_end_asks_again(notebook: LinkedNotebook, server: CountingServer) -> None:
    """A batch whose results were returned is over: without a journal, the same call is a new batch."""
    server.go()
    kernel = notebook.kernel()
    for _ in range(2):
        assert texts(kernel, begun(kernel)) == [answer_to(prompt) for prompt in PROMPTS]
    assert Counter(server.asked) == dict.fromkeys(PROMPTS, 2)


def test_an_interrupt_in_another_kernel_stops_a_batch(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """An interrupt in a second kernel stops the batch for both, and the same call then asks the rest."""
    server.free = {"p0", "p1"}
    first, second = notebook.kernel(), notebook.kernel()
    waiting = begun(first, done=2)
    wait_for(lambda: len(server.asked) == 5, "three prompts are in progress")
    attached = begun(second, done=2)
    second.interrupt()
    second.follow(attached, lambda cell: cell.over, 120)
    assert attached.error == "KeyboardInterrupt"
    first.follow(waiting, lambda cell: cell.over, 120)
    assert waiting.error == "CommandError"
    assert "2 of 12 prompts were answered" in waiting.traceback
    assert batches(notebook) == []
    assert len(server.asked) == 5
    server.go()
    assert texts(second, begun(second, done=2)) == [answer_to(prompt) for prompt in PROMPTS]
    assert Counter(server.asked) == dict.fromkeys(PROMPTS, 1) | dict.fromkeys(("p2", "p3", "p4"), 2)


def test_a_killed_runner_asks_nothing_twice(notebook: LinkedNotebook, server: CountingServer) -> None:
    """After SIGKILL of the runner the cell continues; prompts in progress fail, and can be asked again."""
    server.free = {"p0", "p1", "p2"}
    kernel = notebook.kernel()
    cell = begun(kernel, done=3)
    wait_for(lambda: len(server.asked) == 6, "three prompts are in progress")
    os.kill(notebook.pid(), signal.SIGKILL)
    server.go()
    expected = [None if prompt in ("p3", "p4", "p5") else answer_to(prompt) for prompt in PROMPTS]
    assert texts(kernel, cell) == expected
    assert said(kernel, "print({result.error.code for result in results.failed})") == "{'kernel_gone'}"
    assert sorted(server.asked) == sorted(PROMPTS)
    again = begun(kernel, ", retry_interrupted=True", done=9)
    assert texts(kernel, again) == [answer_to(prompt) for prompt in PROMPTS]
    assert Counter(server.asked) == dict.fromkeys(PROMPTS, 1) | dict.fromkeys(("p3", "p4", "p5"), 2)
    assert not list(notebook.folder.rglob("*.jsonl"))


def test_without_a_journal_a_killed_runner_asks_nothing_twice(tmp_path: Path, server: CountingServer) -> None:
    """If nothing may be written, prompts without an answer have the error `KernelGone`."""
    server.free = {"p0", "p1", "p2"}
    variables = {"OPENAI_BASE_URL": server.base_url, "NBCHAT_JOURNAL": "0"}
    with LinkedNotebook(tmp_path, **variables) as notebook:
        kernel = notebook.kernel()
        cell = begun(kernel, done=3)
        wait_for(lambda: len(server.asked) == 6, "three prompts are in progress")
        assert not list(tmp_path.rglob("*.jsonl"))
        os.kill(notebook.pid(), signal.SIGKILL)
        assert texts(kernel, cell) == [answer_to(prompt) for prompt in PROMPTS[:3]] + [None] * 9
        assert sorted(server.asked) == sorted(PROMPTS[:6])


def test_a_runner_that_is_ended_hands_its_batch_over(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """After SIGTERM, prompts in progress are finished, and the next runner asks the rest."""
    kernel = notebook.kernel()
    cell = begun(kernel)
    wait_for(lambda: len(server.asked) == 3, "three prompts are in progress")
    os.kill(notebook.pid(), signal.SIGTERM)
    wait_for(lambda: not notebook.place.address.exists(), "the runner accepts no new kernels")
    server.go()
    assert texts(kernel, cell) == [answer_to(prompt) for prompt in PROMPTS]
    assert sorted(server.asked) == sorted(PROMPTS)


@pytest.mark.parametrize("is_vanished", [True, False])
def test_a_batch_ends_without_a_reader(
    notebook: LinkedNotebook, server: CountingServer, is_vanished: bool
) -> None:
    """A batch ends `orphan_s` after its kernel vanished, and at once with a kernel that is shut down."""
    kernel = notebook.kernel()
    said(kernel, "import nbchat\nnbchat.registry.limits.orphan_s = 1.0")
    begun(kernel)
    wait_for(lambda: len(server.asked) == 3, "three prompts are in progress")
    if is_vanished:
        kill(kernel)
        wait_for(lambda: batches(notebook) == [], "the batch was ended")
    else:
        kernel._manager.shutdown_kernel()
        wait_for(lambda: not notebook.place.address.exists(), "the runner has ended")
    assert len(server.asked) == 3


def test_a_batch_of_a_provider_object_runs_in_its_kernel(notebook: LinkedNotebook) -> None:
    """A batch whose provider is a Python object runs in the kernel, and its progress shows that."""
    code = (
        "import nbchat\nfrom nbchat.providers.scripted import ScriptedProvider\n"
        "provider = ScriptedProvider(lambda request: [request.messages[-1].text.upper()])\n"
        "told = []\n"
        "results = nbchat.map(['a', 'b'], provider=provider, progress=told.append)\n"
        "print(results.texts, {now.continues for now in told}, told[0])"
    )
    expected = "['A', 'B'] {False} 0 of 2, 0.0/s, about 2 tokens to send, ends with this kernel"
    assert said(notebook.kernel(), code) == expected
    assert batches(notebook) == []


def test_errors_of_a_journal_are_those_of_a_batch_in_the_kernel(notebook: LinkedNotebook) -> None:
    """A file that is no journal raises `ValueError`, one that cannot be opened `StoreError`."""
    kernel = notebook.kernel()
    (notebook.folder / "notes.txt").write_text("one line of something\n")
    for journal, error in (("notes.txt", "ValueError"), (".", "StoreError")):
        assert (
            kernel.run(f"import nbchat\nnbchat.map(['a'], model='count', journal={journal!r})").error == error
        )
    assert (notebook.folder / "notes.txt").read_text() == "one line of something\n"


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch, server: CountingServer) -> Iterator[Linked]:
    """Return a runner in this process, whose kernels use that server."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with TemporaryDirectory(prefix="nb-") as short, Linked(Path(short)) as made:  # for a socket's path
        yield made


def request_of(prompt: str, **changes: Any) -> BatchRequest:
    """Return a batch of one prompt."""
    key = f"{prompt} {changes.pop('instructions', '')}"
    fields: dict[str, Any] = {"settings": Settings(model="count"), "concurrency": 1, "attempts": 1, **changes}
    return BatchRequest(prompts=((0, prompt),), keys=(key,), **fields)


def test_a_call_with_other_arguments_does_not_attach(
    linked: Linked, server: CountingServer, tmp_path: Path
) -> None:
    """Other prompts, settings, or another journal are another batch; other rates are not."""
    linked.registry()
    batches = linked.kernels[0][1].batches
    changes: list[dict[str, Any]] = [
        {},
        {"instructions": "Be brief."},
        {"journal": str(tmp_path / "a.jsonl")},
    ]
    readers = [batches.reader(request_of("one", **change)) for change in changes]
    readers.append(batches.reader(request_of("two")))
    readers.append(batches.reader(request_of("one", concurrency=5, rpm=600.0, attempts=3)))
    for reader in readers:
        reader.open()
    until(lambda: sorted(server.asked) == ["one", "one", "one", "two"])
    server.go()
    for reader, prompt in zip(readers, ("one", "one", "one", "two", "one"), strict=True):
        until(lambda reader=reader: reader.is_over)
        assert [answer.text for answer in reader.answers] == [answer_to(prompt)]
    assert len(server.asked) == 4


def interrupted(
    linked: Linked, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[LinkBackend, BatchRequest, Batch]:
    """Start a batch, and interrupt its caller before the batch is stopped."""
    monkeypatch.setattr(linked_batches, "RESTART_S", 3600.0)
    linked.registry()
    backend = linked.kernels[0][1]
    request = request_of("one")
    reader = backend.batches.reader(request)
    reader.open()
    until(lambda: server.asked == ["one"])
    batch = linked.server.batches.find(request.id)
    assert batch is not None
    reader.stop(is_interrupt=True)
    until(lambda: batch.is_paused)
    return backend, request, batch


def test_a_restart_after_an_interrupt_does_not_stop_a_batch(
    linked: Linked, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jupyter interrupts a kernel that it restarts: the batch pauses, and continues when the kernel ends."""
    backend, request, batch = interrupted(linked, server, monkeypatch)
    backend.leave(restart=True)
    until(lambda: not batch.is_paused)
    server.go()
    until(lambda: batch.end == "complete")
    linked.registry()
    again = linked.kernels[1][1].batches.reader(request)
    assert again.open() == 1
    until(lambda: again.is_over)
    assert [answer.text for answer in again.answers] == [answer_to("one")]
    assert server.asked == ["one"]


def test_the_same_call_after_an_interrupt_continues_the_batch(
    linked: Linked, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that attaches before an interrupted batch is stopped keeps it in progress."""
    backend, request, batch = interrupted(linked, server, monkeypatch)
    again = backend.batches.reader(request)
    assert again.open() == 0
    assert not batch.is_paused
    assert linked.kernels[0][0].loop.call(lambda: dict(backend.batches._stops)) == {}
    server.go()
    until(lambda: again.is_over)
    assert [answer.text for answer in again.answers] == [answer_to("one")]
    assert server.asked == ["one"]


def test_a_lost_link_does_not_repeat_a_batch(linked: Linked, server: CountingServer) -> None:
    """A kernel whose link breaks attaches to its batch again, and receives all answers."""
    linked.registry()
    backend = linked.kernels[0][1]
    reader = backend.batches.reader(request_of("one"))
    reader.open()
    until(lambda: server.asked == ["one"])
    link = backend._link
    assert link is not None
    link._transport.abort()
    server.go()

    def is_over() -> bool:
        reader.wait()
        return reader.is_over

    until(is_over)
    assert [answer.text for answer in reader.answers] == [answer_to("one")]
    assert server.asked == ["one"]
