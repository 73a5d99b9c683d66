"""JupyterLab with a runner: the kernel is restarted in the middle of an answer, and the answer continues."""

from __future__ import annotations

import json
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


def test_an_answer_continues_through_a_restart_of_the_kernel(
    notebook: OpenNotebook, server: CountingServer
) -> None:
    """With a second prompt queued, no word is lost or doubled, and the new kernel offers Stop at once."""
    page = notebook([CELL.format(url=server.base_url)])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("one")
    expect(chat.articles("Assistant").last).to_contain_text("one-150 ")
    chat.ask("two")
    expect(chat.region.get_by_text("two", exact=True)).to_be_visible()
    expect(chat.region.get_by_text("continues without the kernel")).to_be_visible()

    page.restart_kernel()
    page.run_cell(0)
    expect(chat.articles("Assistant").last).to_contain_text("one-150 ")
    expect(chat.button("Stop")).to_be_visible()
    expect(chat.region.get_by_text("two", exact=True)).to_be_visible()
    server.go()
    expect(chat.articles("Assistant").last).to_contain_text(f"two-{WORDS - 1}")
    expect(chat.articles("Assistant")).to_have_count(2)
    expect(chat.status).to_have_text("done")

    messages, states = json.loads(page.execute(STATE))
    assert messages == ["one", answer_to("one"), "two", answer_to("two")]
    assert states == ["completed", "completed"]
    assert server.asked == ["one", "two"]
    shown = chat.articles("Assistant").nth(0).inner_text()
    assert " ".join(answer_to("one").split()) in " ".join(shown.split())
