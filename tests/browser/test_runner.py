"""JupyterLab with a runner: an answer continues through a restart of the kernel."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook
from tests.runner.counting_server import WORDS, CountingServer, answer_to

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
    dice = random.Random(5)
    page = notebook([CELL.format(url=server.base_url)])
    page.run_cell(0)
    chat = Chat(page)
    expected: list[str] = []
    for number in range(100 if soak else 1):
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
