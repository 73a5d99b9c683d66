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

from tests.browser.chat import Chat
from tests.browser.conftest import ARTIFACTS, OpenNotebook, keep
from tests.browser.lab import NotebookPage, Server
from tests.conftest import ROUNDS
from tests.runner.counting_server import WORDS, CountingServer, answer_to
from tests.waiting import wait_for

CELL = """
import nbchat
nbchat.config(runner="local", base_url={url!r})
chat = nbchat.ChatTabs()
chat.session("geo", model="count")
chat
"""

STATE = """
import json, nbchat
session = nbchat.session("geo")
print(json.dumps([[m.text for m in session.messages], [str(run.state) for run in session.runs]]))
"""


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """Return a server whose answers stop in the middle until `go`."""
    with CountingServer() as made:
        yield made


@pytest.mark.timeout(7200)
def test_an_answer_continues_through_a_restart_of_the_kernel(
    notebook: OpenNotebook, server: CountingServer, soak: bool
) -> None:
    """With a second prompt queued, no word is lost or repeated, and the new kernel offers Stop at once."""
    dice = random.Random(None if soak else 5)
    page = notebook([CELL.format(url=server.base_url)])
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
    page = notebook([CELL.format(url=server.base_url)])
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


TRANSCRIPT = """() => JSON.stringify(
  [...document.querySelectorAll(".nbchat [role=log] article")].map((one) => one.innerText))"""

OBSERVE = f"""() => {{
  const seen = (window.testSeen = {{}});
  const look = () => (seen[({TRANSCRIPT})()] ??= Date.now());
  const options = {{ subtree: true, childList: true, characterData: true, attributes: true }};
  new MutationObserver(look).observe(document.querySelector(".nbchat"), options);
}}"""
"""Record in `testSeen` when each state of the transcript was shown first, in milliseconds."""


class TwoPages:
    """Two pages on one notebook, each with its own kernel."""

    def __init__(self, one: NotebookPage, two: NotebookPage) -> None:
        self.pages = (one, two)
        self.chats = (Chat(one), Chat(two))
        for page in self.pages:
            page.page.evaluate(OBSERVE)

    def agree(self, text: str) -> int:
        """Wait until both show the same transcript with this text; return its delay between them in ms."""

        def same() -> str | None:
            first, second = (page.page.evaluate(TRANSCRIPT) for page in self.pages)
            return first if first == second and text in first else None

        shown = wait_for(same, f"both show {text!r}")
        times = [
            page.page.evaluate("(text) => window.testSeen[text] ?? Date.now()", shown) for page in self.pages
        ]
        return int(abs(times[0] - times[1]))


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
    one = notebook([CELL.format(url=server.base_url)])
    with chrome.new_context(locale="en-US", viewport={"width": 1280, "height": 900}) as context:
        two = NotebookPage(second_server, context.new_page(), one.path).open()
        try:
            for page in (one, two):
                page.run_cell(0)
            process = "import os; print(os.getpid())"
            assert one.execute(process) != two.execute(process)
            both = TwoPages(one, two)
            first, second = both.chats
            delays = {}

            first.ask("one")
            delays["send"] = both.agree("one-199")
            second.button("Stop").click()
            delays["stop in the other"] = both.agree("The text so far is kept.")
            for chat in both.chats:
                expect(chat.status).to_have_text("stopped")

            second.articles("You").get_by_role("button", name="Edit").click()
            second.region.get_by_role("textbox", name="Edited text").fill("two")
            second.articles("You").get_by_role("button", name="Send").click()
            delays["edit in the other"] = both.agree("two-199")
            server.go()
            delays["end of the answer"] = both.agree(f"two-{WORDS - 1}")
            for chat in both.chats:
                expect(chat.status).to_have_text("done")

            second.ask("three")
            delays["send in the other"] = both.agree(f"three-{WORDS - 1}")
            first.articles("Assistant").last.get_by_role("button", name="Regenerate").click()
            expect(first.articles("Assistant").last.get_by_role("img", name="Version 2 of 2")).to_be_visible()
            expect(first.status).to_have_text("done")
            delays["regenerate"] = both.agree("three")
            print("ms until both are equal:", delays)  # noqa: T201 - figures for the reader of the log
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
