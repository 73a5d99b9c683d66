"""nbchat in a real Voilà in Chromium."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.hosts.served import answer, picture, served, use, visitor
from tests.browser.lab import write_notebook

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
asked = geo.ask("Seine").text
chat
"""


def test_voila_shows_chats_of_each_visitor(chrome: Browser, tmp_path: Path) -> None:
    """A view can be used; another visitor and a reload get a new kernel, and nothing is written."""
    write_notebook(tmp_path / "chat.ipynb", [CHAT])
    arguments = ["voila", "chat.ipynb", "--no-browser", "--Voila.ip=127.0.0.1"]
    with (
        served("voila", tmp_path, arguments, r"(http://(?:127\.0\.0\.1|localhost):\d+/)") as address,
        visitor(chrome) as page,
        visitor(chrome) as other,
    ):
        page.goto(address)
        view = page.locator(".nbchat")
        expect(answer(view)).to_contain_text("Seine")
        expect(view.locator("[data-connection]").first).to_contain_text(
            "Not saved; lost when this page is reloaded or closed"
        )
        use(view)
        expect(view.locator("article")).to_have_count(6)
        picture(page, "voila")
        for fresh in (other, page):
            fresh.goto(address)
            shown = fresh.locator(".nbchat")
            expect(answer(shown)).to_contain_text("Seine")
            expect(shown.locator("article")).to_have_count(2)
    assert not list(tmp_path.rglob("journals/*.sqlite"))
