"""Notebook 7 in Chromium: the reload of its page; `make test` covers its other features."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.hosts.served import answer, picture, use

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
chat
"""


def test_notebook_7_shows_chats_after_a_reload(notebook: OpenNotebook) -> None:
    """After a reload of the saved notebook, the view has its conversation and can be used."""
    page = notebook([CHAT], app="notebook")
    page.run_cell(0)
    view = page.output(0).locator(".nbchat")
    use(view)
    page.save()
    page.reload()
    expect(answer(view)).to_have_attribute("data-run-state", "stopped")
    use(view)
    expect(view.locator("article")).to_have_count(8)
    picture(page.page, "notebook-7")
