"""Exporting a conversation from the page."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook

CHAT = """
import nbchat
from nbchat.providers.scripted import ScriptedProvider
chat = nbchat.ChatTabs()
rivers = chat.session("rivers", provider=ScriptedProvider("The **Loire**."))
rivers.ask("Which river is the longest?")
chat
"""


def test_a_conversation_is_exported_from_the_session_menu(notebook: OpenNotebook) -> None:
    """The browser downloads HTML, Markdown and a notebook, and Markdown is also copied to the clipboard."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    expect(chat.articles("Assistant")).to_contain_text("The Loire.")
    before = {path.name for path in page.server.root.iterdir()}
    for kind, beginning in (("HTML", "<!doctype html>"), ("Markdown", "<!-- nbchat:"), ("notebook", "{")):
        with page.page.expect_download() as download:
            chat.menu(f"Export as {kind}")
        ending = {"HTML": "html", "Markdown": "md", "notebook": "ipynb"}[kind]
        assert download.value.suggested_filename == f"rivers.{ending}"
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert text.lower().startswith(beginning)
        assert "Loire" in text
        expect(chat.region.get_by_text(f"Exported as rivers.{ending}.").first).to_be_visible()
    chat.menu("Copy as Markdown")
    expect(chat.region.get_by_text("Copied the conversation as Markdown.").first).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("# rivers")
    assert "The **Loire**." in copied
    assert {path.name for path in page.server.root.iterdir()} == before
    assert page.uncaught_errors == []
