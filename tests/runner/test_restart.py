"""Restarts by SIGKILL in the middle of answers: the runner finishes them, and the next kernel has them."""

import json
import os
import platform
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbchat.core.ids import new_id
from nbchat.jupyter.control import REQUEST
from nbchat.stores.owner import has_ended
from tests.conftest import ROUNDS
from tests.kernels import Kernel
from tests.runner.counting_server import WORDS, CountingServer, answer_to
from tests.runner.notebooks import EMPTY, LinkedNotebook, said
from tests.waiting import wait_for

ASK = """
import nbchat
session = nbchat.session("geo", model="count")
first, second = session.send("one"), session.send("two")
for _ in first:
    if "one-150 " in first.text:
        break
print(first.state, second.state)
"""

ATTACH = """
import nbchat
session = nbchat.session("geo")
print(*[run.state for run in session.runs], "one-150 " in session.run.text)
"""

FINISH = """
nbchat.registry.wait_all(60)
import json
print(json.dumps([[m.text for m in session.messages], [str(run.state) for run in session.runs]]))
"""


@pytest.fixture
def notebook(tmp_path: Path, server: CountingServer) -> Iterator[LinkedNotebook]:
    """Return a notebook whose answers come from that server through a runner."""
    with LinkedNotebook(tmp_path, OPENAI_BASE_URL=server.base_url) as made:
        yield made


def test_a_killed_kernel_loses_neither_text_nor_a_queued_prompt(
    notebook: LinkedNotebook, server: CountingServer, soak: bool
) -> None:
    """After SIGKILL of the kernel both answers are complete and exact, and each question was sent once."""
    dice = random.Random(None if soak else 7)
    kernel = notebook.kernel()
    expected: list[str] = []
    for number in range(ROUNDS if soak else 1):
        server.hold()
        one, two, word = f"one{number}x", f"two{number}x", f"{dice.randrange(WORDS // 2)} "
        ask = (
            ASK.replace('"one"', f'"{one}"').replace('"two"', f'"{two}"').replace("one-150 ", f"{one}-{word}")
        )
        assert said(kernel, ask) == "streaming queued"
        kernel.restart()
        attach = ATTACH.replace("one-150 ", f"{one}-{word}")
        assert said(kernel, attach).endswith("streaming queued True")
        server.go()
        messages, states = json.loads(said(kernel, FINISH))
        expected += [one, answer_to(one), two, answer_to(two)]
        assert messages == expected
        assert set(states) == {"completed"}
        assert server.asked == expected[::2]


def test_a_prompt_of_a_page_survives_its_kernel(notebook: LinkedNotebook, server: CountingServer) -> None:
    """A question asked in a page is answered in full although its kernel is killed during the answer."""
    kernel = notebook.kernel()
    found = said(
        kernel,
        "import nbchat\nchat = nbchat.ChatTabs()\nsession = chat.session('geo', model='count')\n"
        "print(session.id, chat.hub.epoch)",
    )
    session_id, epoch = found.split()
    command = {"type": "send", "id": new_id("cmd_"), "session_id": session_id, "text": "one"}
    message = {"type": "run_command", "page": "p", "epoch": epoch, "command": command}
    kernel.post(REQUEST, {"message": message})
    started = (
        "import time\nwhile 'one-150 ' not in (session.run.text if session.run else ''): time.sleep(0.01)"
    )
    said(kernel, started)
    kernel.restart()
    server.go()
    said(kernel, "import nbchat\nsession = nbchat.session('geo')")
    messages, states = json.loads(said(kernel, FINISH))
    assert messages == ["one", answer_to("one")]
    assert states == ["completed"]


def test_stop_works_from_the_next_kernel(notebook: LinkedNotebook) -> None:
    """The next kernel can stop a run of an earlier one, and the text is kept."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    kernel.restart()
    said(kernel, ATTACH)
    assert said(kernel, "print(session.stop_all(), [str(run.wait(30).state) for run in session.runs])") == (
        "2 ['stopped', 'stopped']"
    )
    assert "one-150 " in said(kernel, "print(session.runs[0].text)")


def test_a_killed_runner_is_replaced_and_ends_each_run_once(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """After SIGKILL of the runner its live run is `interrupted` once, with its text; the session works."""
    kernel = notebook.kernel()
    said(kernel, ASK.replace(', session.send("two")', ", None").replace("second.state", "second"))
    # The journal is flushed every 250 ms; the text of at most the last second may be lost.
    said(kernel, "nbchat.registry.save()")
    os.kill(notebook.pid(), signal.SIGKILL)
    assert said(kernel, "first.wait(60); print(first.state, first.error.code)") == "interrupted kernel_gone"
    assert (
        said(kernel, "print('one-150 ' in first.text, len(session.runs), len(session.messages))")
        == "True 1 2"
    )
    server.go()
    assert said(kernel, "print(session.ask('two').text)") == answer_to("two").strip()
    assert server.asked == ["one", "two"]


@pytest.mark.parametrize("is_copy", [False, True])
def test_the_runner_of_a_renamed_notebook_is_found(
    notebook: LinkedNotebook, server: CountingServer, is_copy: bool
) -> None:
    """A new kernel of a renamed notebook has its live answers; one of a copy has a runner of its own."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    saved = json.loads(said(kernel, "import json; print(json.dumps(nbchat.registry.snapshot()))"))
    text = json.dumps({**json.loads(EMPTY), "metadata": {"nbchat": saved}})
    pid = notebook.pid()
    moved = notebook.path.with_name("moved.ipynb")
    moved.write_text(text, "utf-8")
    if is_copy:
        notebook.path.write_text(text, "utf-8")
    else:
        notebook.path.unlink()
    with Kernel(notebook.folder, {**notebook.env, "JPY_SESSION_NAME": str(moved)}) as second:
        shown = "print(nbchat.registry._backend._link.greeting.pid)"
        found = int(said(second, f"import nbchat; session = nbchat.session('geo'); {shown}"))
        notebook.ends_with_it(found)
        states = said(second, "print([str(run.state) for run in session.runs])")
        if is_copy:
            assert found != pid
            assert states == "['interrupted', 'interrupted']"
        else:
            assert found == pid
            assert states == "['streaming', 'queued']"
    assert server.asked == ["one"]


ASK_ONCE = """
import threading, nbchat
outcome = []
def ask():
    try:
        nbchat.ask("one", model="count")
    except nbchat.NbchatError as error:
        outcome.append(f"{type(error).__name__} {error.code}")
asking = threading.Thread(target=ask)
asking.start()
kept = nbchat.registry.create(model="count", temporary=True)
run = kept.send("two")
import time
while not all(any(f"{prompt}-150 " in info.text for info in nbchat.registry.all_streaming())
              for prompt in ("one", "two")):
    time.sleep(0.01)
"""


def test_a_killed_runner_interrupts_questions_that_are_not_saved(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """After SIGKILL of the runner `ask` raises `KernelGone`, its text is kept, and the next `ask` works."""
    kernel = notebook.kernel()
    said(kernel, ASK_ONCE)
    os.kill(notebook.pid(), signal.SIGKILL)
    assert said(kernel, "asking.join(); print(outcome)") == "['KernelGone kernel_gone']"
    shown = "run.wait(60); print(run.state, run.error.code, 'two-150 ' in run.text, len(kept.messages))"
    assert said(kernel, shown) == "interrupted kernel_gone True 2"
    refused = "try:\n    kept.send('three')\nexcept nbchat.SessionGone as error:\n    print(error)"
    assert "ended with its runner" in said(kernel, refused)
    server.go()
    assert said(kernel, "print(nbchat.ask('four', model='count').text)") == answer_to("four").strip()
    assert sorted(server.asked) == ["four", "one", "two"]


@pytest.mark.timeout(300)  # several unanswered pings, the start of a runner, and the expiry of a lease
def test_a_kernel_replaces_a_runner_that_is_suspended(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """A kernel notices that its runner does not answer; its runs end once, and the next one is answered."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    said(kernel, "nbchat.registry.save()")
    old = notebook.pid()
    os.kill(old, signal.SIGSTOP)
    ends = "first.wait(110); second.wait(10); print(first.state, second.state, 'one-150 ' in first.text)"
    assert said(kernel, ends) == "interrupted interrupted True"
    assert notebook.pid() != old
    server.go()
    ask = "print(nbchat.session('new', model='count').ask('three').text)"
    assert said(kernel, ask) == answer_to("three").strip()
    assert server.asked == ["one", "three"]


@pytest.mark.timeout(300)  # three processes start, and a lease expires
def test_a_suspended_runner_is_replaced_and_ends_nothing_twice(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """After SIGSTOP, a new runner and SIGCONT, the old one writes nothing more, and each run ends once."""
    first = notebook.kernel()
    said(first, ASK)
    said(first, "nbchat.registry.save()")
    old = notebook.pid()
    os.kill(old, signal.SIGSTOP)
    second = notebook.kernel()
    attach = "import nbchat; session = nbchat.session('geo')"
    states = "nbchat.registry.wait_all(60); print([str(run.state) for run in session.runs])"
    assert said(second, f"{attach}; {states}") == "['interrupted', 'interrupted']"
    texts = said(second, "print([message.text for message in session.messages])")
    assert "one-150 " in texts

    os.kill(old, signal.SIGCONT)
    server.go()  # the rest of the answer arrives in the old runner
    wait_for(lambda: has_ended(f"{platform.node()} {old}"), "the old runner ends", 120)
    assert notebook.pid() != old
    for kernel in (first, second):
        assert said(kernel, states) == "['interrupted', 'interrupted']"
        assert said(kernel, "print([message.text for message in session.messages])") == texts
    assert server.asked == ["one"]
