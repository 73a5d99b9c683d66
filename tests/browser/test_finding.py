"""Search in a real JupyterLab: words of any session, and the message that contains them."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook

SESSIONS = """
import json
from pathlib import Path
import nbchat

def talk(title, turns):
    path = Path(title + ".jsonl")
    path.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
    nbchat.import_(path)

turns = [(role, f"{role} {n}") for n in range(300) for role in ("user", "assistant")]
turns[5] = ("assistant", "The needle is in *here*.")
talk("long ago", turns)
talk("other", [("user", "hay")])
chat = nbchat.ChatTabs()
chat.show("other")
chat
"""


def test_words_are_found_in_a_session_that_was_never_opened(notebook: OpenNotebook) -> None:
    """The list finds a message that the page has not loaded, and scrolls to it, even while a cell is busy."""
    page = notebook([SESSIONS, "import time; time.sleep(120)"])
    page.run_cell(0)
    region = page.page.get_by_role("region", name="Chat sessions")
    expect(region.get_by_role("tab", name="other")).to_have_attribute("aria-selected", "true", timeout=30_000)
    page.run_cell(1, wait=False)
    region.get_by_role("button", name="All sessions").click()
    dialog = region.get_by_role("dialog", name="All sessions")
    dialog.get_by_role("searchbox").fill("NEEDLE")
    entry = dialog.get_by_role("button", name="long ago").filter(has_text="The needle is")
    expect(entry).to_be_visible(timeout=30_000)
    entry.click()
    expect(region.get_by_role("tab", name="long ago")).to_have_attribute("aria-selected", "true")
    found = region.get_by_role("article").filter(has_text="The needle is")
    expect(found).to_be_in_viewport(timeout=30_000)
    assert page.uncaught_errors == []
    page.interrupt_kernel()
