"""Keys of the view in JupyterLab and Notebook 7: handled by the chat or passed to the notebook."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import App

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
geo, code = chat.session("geo"), chat.session("code")
chat
"""

CELLS = """() => Array.from(document.querySelectorAll('.jp-Notebook .jp-CodeCell'),
    cell => cell.querySelector('.jp-InputPrompt').textContent)"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_keys_that_edit_stay_in_the_chat_and_chords_pass(notebook: OpenNotebook, app: App) -> None:
    """No key pressed in the chat adds, deletes, moves or runs a cell, and Ctrl+S saves the notebook."""
    notebook_page = notebook([CHAT, "1 + 1"], app=app)
    notebook_page.run_cell(0)
    page = notebook_page.page
    region = page.get_by_role("region", name="Chat sessions")
    expect(region.get_by_role("tab", name="geo")).to_be_visible()
    region.get_by_role("tab", name="geo").click()
    before = page.evaluate(CELLS)

    box = region.get_by_role("textbox", name="Message")
    box.click()
    page.keyboard.type("abdd00xz")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Alt+Enter")
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+x")
    expect(box).to_have_value("")
    page.keyboard.press("Control+v")
    expect(box).to_have_value("abdd00xz\n")
    for place in (
        region.get_by_role("tab", name="geo"),
        region.get_by_role("log"),
        region.get_by_role("button", name="Session menu"),
    ):
        place.focus()
        for key in ("a", "b", "d", "d", "0", "0", "j", "k", "m", "y", "ArrowUp", "ArrowDown"):
            page.keyboard.press(key)
        expect(place).to_be_focused()
    assert page.evaluate(CELLS) == before

    box.click()
    page.keyboard.press("Control+s")
    dirty = ".jp-mod-dirty, .jp-NotebookCheckpoint:has-text('unsaved')"
    expect(page.locator(dirty)).to_have_count(0)
    expect(box).to_be_focused()
