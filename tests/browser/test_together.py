"""Two people, each with a kernel and a page, in one team of a service."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat import STOPPED, Chat, Shown, cell_of, expect_same, half, turn
from tests.browser.conftest import OpenNotebook
from tests.runner.counting_server import WORDS, CountingServer
from tests.service.served import Served


def others(chat: Chat) -> Locator:
    """Return the list of other people in a page."""
    return chat.region.get_by_role("list", name="Also here").get_by_role("listitem")


def last_question(chat: Chat) -> Locator:
    """Return the last question in a page, of any author."""
    return chat.log.locator("article[data-role=user]").last


def test_two_people_share_a_session(
    notebook: OpenNotebook, server: CountingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both pages show the same when either asks, stops or edits, with the authors, and who else is here."""
    monkeypatch.setattr("nbchat.service.presence.TYPING_S", 600.0)  # until it is sent, on a slow machine too
    with Served(tmp_path) as served:
        chats = []
        for name in ("ada", "bob"):
            runner = f"http://127.0.0.1:{served.port}/?namespace=geo"
            cell = cell_of(runner, server.base_url, token=served.tokens[name])
            page = notebook([cell], name=f"together-{name}")
            page.run_cell(0)
            chats.append(Chat(page, name))
        ada, bob = chats
        expect(others(ada)).to_have_text([re.compile(r"bob \(editor\)$")])
        expect(others(bob)).to_have_text([re.compile(r"ada \(owner\)$")])

        ada.box.press_sequentially("of-ada")
        expect(bob.region.get_by_text("ada is typing…")).to_be_visible()
        bob.box.fill("of-bob")
        for chat in chats:
            chat.box.press("Enter")
        for chat in chats:
            expect(chat.box).to_have_value("")
        expect(bob.region.get_by_text("is typing…")).to_have_count(0)
        server.go()
        for chat in chats:
            expect(chat.articles("Assistant")).to_have_count(2)
            expect(chat.articles("Assistant").last).to_contain_text(f"-{WORDS - 1}")
        assert sorted(server.asked) == ["of-ada", "of-bob"]
        before = [line for asked in server.asked for line in turn(asked.removeprefix("of-"), asked)]
        expect_same(chats, before)

        # Both ask while an answer streams, which the other person stops.
        server.hold()
        ada.ask("one")
        expect_same(chats, before + half("ada", "one", "streaming"))
        queue = [Shown("bob", "two", "queued"), Shown("ada", "three", "queued")]
        bob.ask("two")
        expect_same(chats, before + half("ada", "one", "streaming") + queue[:1])
        ada.ask("three")
        expect_same(chats, before + half("ada", "one", "streaming") + queue)
        bob.button("Stop").click()
        before += half("ada", "one", "stopped", STOPPED)
        expect_same(chats, before + half("bob", "two", "streaming") + queue[1:])
        server.go()
        expect_same(chats, before + turn("bob", "two") + turn("ada", "three"))

        # One edits the other's question, and the other goes back to the earlier version.
        last_question(bob).get_by_role("button", name="Edit").click()
        bob.region.get_by_role("textbox", name="Edited text").fill("four")
        bob.region.get_by_role("textbox", name="Edited text").press("Enter")
        before += turn("bob", "two")
        expect_same(chats, before + turn("bob", "four", "Version 2 of 2"))
        last_question(ada).get_by_role("button", name="Previous version").click()
        expect_same(chats, before + turn("ada", "three", "Version 1 of 2"))
        assert server.asked[2:] == ["one", "two", "three", "four"]

        pid = bob.kernel("__import__('os').getpid()")
        os.kill(int(pid), signal.SIGKILL)
        expect(others(ada)).to_have_count(0)
