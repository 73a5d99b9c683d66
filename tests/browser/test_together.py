"""Two people, each with a kernel and a page, in one team of a service."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook
from tests.runner.counting_server import CountingServer, answer_to
from tests.service.served import Served
from tests.waiting import wait_for

CELL = """
import nbchat, os
os.environ["NBCHAT_RUNNER_TOKEN"] = {token!r}
nbchat.config(runner="http://127.0.0.1:{port}/?namespace=geo", base_url={url!r})
chat = nbchat.ChatTabs()
chat.session("rivers", model="count")
chat
"""


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """Return a server whose answers stop in the middle until `go`."""
    with CountingServer() as made:
        yield made


class Member:
    """A person with a page."""

    def __init__(self, name: str, chat: Chat) -> None:
        self.name = name
        self.chat = chat

    @property
    def others(self) -> Locator:
        """The list of other people."""
        return self.chat.region.get_by_role("list", name="Also here").get_by_role("listitem")

    def transcript(self) -> list[tuple[str, str]]:
        """Return the shown messages with the names of their authors."""
        shown = []
        for article in self.chat.log.get_by_role("article").all():
            who = article.get_attribute("aria-label") or ""
            text = " ".join((article.locator(".nbchat-body").text_content() or "").split())
            shown.append((self.name if who == "You" else who, text))
        return shown


def test_two_people_share_a_session(
    notebook: OpenNotebook, server: CountingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees the other, the other's typing, and all questions in one order with their authors' names."""
    monkeypatch.setattr("nbchat.service.presence.TYPING_S", 600.0)  # until it is sent, on a slow machine too
    with Served(tmp_path) as served:
        members = []
        for name in ("ada", "bob"):
            cell = CELL.format(token=served.tokens[name], port=served.port, url=server.base_url)
            page = notebook([cell], name=f"together-{name}")
            page.run_cell(0)
            members.append(Member(name, Chat(page)))
        ada, bob = members
        expect(ada.others).to_have_text([re.compile(r"bob \(editor\)$")])
        expect(bob.others).to_have_text([re.compile(r"ada \(owner\)$")])

        ada.chat.box.press_sequentially("of-ada")
        expect(bob.chat.region.get_by_text("ada is typing…")).to_be_visible()
        bob.chat.box.fill("of-bob")
        for member in members:
            member.chat.box.press("Enter")
        for member in members:
            expect(member.chat.box).to_have_value("")
        expect(bob.chat.region.get_by_text("is typing…")).to_have_count(0)
        server.go()
        for member in members:
            expect(member.chat.articles("Assistant")).to_have_count(2)
            expect(member.chat.articles("Assistant").last).to_contain_text("-399")
            expect(member.chat.status).to_have_text("done")
        expected = []
        for asked in server.asked:
            expected += [(asked.removeprefix("of-"), asked), ("Assistant", answer_to(asked).strip())]
        assert sorted(server.asked) == ["of-ada", "of-bob"]
        for member in members:
            wait_for(lambda member=member: member.transcript() == expected, f"the page of {member.name}")
            expect(member.chat.log.get_by_text("You", exact=True)).to_have_count(1)

        pid = bob.chat.kernel("__import__('os').getpid()")
        os.kill(int(pid), signal.SIGKILL)
        expect(ada.others).to_have_count(0)
