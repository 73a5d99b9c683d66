"""JupyterLab with a runner: restarts of the kernel, batches, and two kernels of one notebook."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chat import STOPPED, Chat, cell_of, expect_same, half, turn
from tests.browser.conftest import ARTIFACTS, OpenNotebook, keep
from tests.browser.lab import NotebookPage, Server
from tests.conftest import ROUNDS
from tests.runner.counting_server import WORDS, CountingServer, answer_to
from tests.waiting import wait_for

STATE = """
import json, nbchat
session = nbchat.session("geo")
print(json.dumps([[m.text for m in session.messages], [str(run.state) for run in session.runs]]))
"""


@pytest.mark.timeout(7200)
def test_an_answer_continues_through_a_restart_of_the_kernel(
    notebook: OpenNotebook, server: CountingServer, soak: bool
) -> None:
    """With a second prompt queued, no word is lost or repeated, and the new kernel offers Stop at once."""
    dice = random.Random(None if soak else 5)
    page = notebook([cell_of("local", server.base_url)])
    page.run_cell(0)
    chat = Chat(page)
    expected: list[str] = []
    for number in range(ROUNDS if soak else 1):
        one, two, word = f"one{number}x", f"two{number}x", dice.randrange(WORDS // 2)
        server.hold()
        chat.ask(one)
        expect(chat.articles("Assistant").last).to_contain_text(f"{one}-{word}")
        chat.ask(two)
        expect(chat.region.get_by_text(two, exact=True)).to_be_visible()
        expect(chat.region.get_by_text("continues without the kernel")).to_be_visible()

        page.restart_kernel()
        page.run_cell(0)
        expect(chat.articles("Assistant").last).to_contain_text(f"{one}-{word}")
        expect(chat.button("Stop")).to_be_visible()
        expect(chat.region.get_by_text(two, exact=True)).to_be_visible()
        server.go()
        expect(chat.articles("Assistant").last).to_contain_text(f"{two}-{WORDS - 1}")
        expect(chat.status).to_have_text("done")
        shown = chat.articles("Assistant").nth(-2).inner_text()
        assert " ".join(answer_to(one).split()) in " ".join(shown.split())

        expected += [one, answer_to(one), two, answer_to(two)]
        messages, states = json.loads(page.execute(STATE))
        assert messages == expected
        assert set(states) == {"completed"}
        assert server.asked == expected[::2]


def test_a_page_works_again_after_its_runner_was_killed(
    notebook: OpenNotebook, server: CountingServer
) -> None:
    """The answer is shown as interrupted, with its text and choices, and the next question is answered."""
    page = notebook([cell_of("local", server.base_url)])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("one")
    expect(chat.articles("Assistant").last).to_contain_text("one-150 ")
    page.execute("import nbchat; nbchat.registry.save()")
    pid = page.execute("print(nbchat.registry._backend._link.greeting.pid, end='')")
    os.kill(int(pid), signal.SIGKILL)
    expect(chat.status).to_have_text("interrupted")
    expect(chat.articles("Assistant").last).to_contain_text("one-150 ")
    expect(chat.button("Regenerate").last).to_be_visible()
    server.go()
    chat.ask("two")
    expect(chat.articles("Assistant").last).to_contain_text(f"two-{WORDS - 1}")
    assert server.asked == ["one", "two"]


@pytest.fixture
def second_server(lab: Server, tmp_path: Path) -> Iterator[Server]:
    """Return another JupyterLab on the same notebooks, so that a notebook can have a second kernel."""
    # Only one page saves the notebook, so that the other one is not asked about a changed file.
    settings = {"@jupyterlab/docmanager-extension:plugin": {"autosave": False}}
    variables = {"NBCHAT_RUNNER_DIR": str(lab.root.parent / "runtime" / "nbchat")}
    with Server(tmp_path / "second", "lab", settings, variables, root=lab.root) as server:
        yield server


def test_two_browsers_on_two_kernels_show_the_same(
    notebook: OpenNotebook, second_server: Server, chrome: Browser, server: CountingServer
) -> None:
    """Whichever of the two sends, stops or edits, both show the same transcript afterwards."""
    one = notebook([cell_of("local", server.base_url)])
    with chrome.new_context(locale="en-US", viewport={"width": 1280, "height": 900}) as context:
        two = NotebookPage(second_server, context.new_page(), one.path).open()
        try:
            for page in (one, two):
                page.run_cell(0)
            process = "import os; print(os.getpid())"
            assert one.execute(process) != two.execute(process)
            first, second = chats = [Chat(one), Chat(two)]
            first.ask("one")
            expect_same(chats, half("You", "one", "streaming"))
            second.button("Stop").click()
            expect_same(chats, half("You", "one", "stopped", STOPPED))

            second.articles("You").get_by_role("button", name="Edit").click()
            second.region.get_by_role("textbox", name="Edited text").fill("two")
            second.articles("You").get_by_role("button", name="Send").click()
            expect_same(chats, half("You", "two", "streaming", question="Version 2 of 2"))
            server.go()
            edited = turn("You", "two", "Version 2 of 2")
            expect_same(chats, edited)
            second.ask("three")
            expect_same(chats, edited + turn("You", "three"))
            first.articles("Assistant").last.get_by_role("button", name="Regenerate").click()
            expect_same(chats, edited + turn("You", "three", answer="Version 2 of 2"))
            assert one.uncaught_errors == two.uncaught_errors == []
        except BaseException:
            keep([one, two], ARTIFACTS / "two-kernels")
            raise


BATCH = """
import nbchat
nbchat.config(runner="local", base_url={url!r})
results = nbchat.map([f"p{{n}}" for n in range(6)], model="count", concurrency=2)
print(f"{{results.texts[-1].split()[-1]}}, {{sum(result.restored for result in results)}} restored")
"""


def test_a_batch_continues_through_a_restart_of_the_kernel(
    notebook: OpenNotebook, server: CountingServer
) -> None:
    """The same cell, run again, shows the batch's progress and returns its results; none is asked twice."""
    server.free = {"p0"}
    page = notebook([BATCH.format(url=server.base_url)])
    page.run_cell(0, wait=False)
    expect(page.output(0)).to_contain_text("1 of 6", timeout=120_000)
    expect(page.output(0)).to_contain_text("continues without the kernel")
    wait_for(lambda: len(server.asked) == 3, "two prompts are in progress")

    page.restart_kernel()
    page.evaluate("panel.content.model.cells.get(0).outputs.clear()")
    expect(page.output(0)).not_to_contain_text("of 6")
    page.run_cell(0, wait=False)
    expect(page.output(0)).to_contain_text("1 of 6", timeout=120_000)
    server.go()
    expect(page.output(0)).to_contain_text(f"p5-{WORDS - 1}, 1 restored", timeout=120_000)
    expect(page.output(0)).to_contain_text("6 of 6")
    assert sorted(server.asked) == [f"p{number}" for number in range(6)]
