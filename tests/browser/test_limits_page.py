"""What a real page and a real server bear."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook

SHOWN = """
import time
import nbchat
from IPython.display import display
chat = nbchat.ChatTabs()
session = chat.session("A", model="nbchat-echo", params={"nbchat_pace": 2})
display(chat)
"""
FLOOD = """
run = session.send(WORDS)
next(iter(run))
until = time.monotonic() + 5
while time.monotonic() < until:
    print("flood " * 50_000, flush=True)
    time.sleep(0.1)
"""
WORDS = " ".join(f"word{i}" for i in range(300))


def test_a_flood_of_output_loses_nothing_of_an_answer(notebook: OpenNotebook) -> None:
    """B9, T31: while a cell prints so much that the server drops messages, the chat converges."""
    page = notebook([SHOWN + FLOOD.replace("WORDS", repr(WORDS))])
    page.run_cell(0)
    assert "data rate exceeded" in page.text(0), "the server dropped what was said in between"
    shown = page.output(0).get_by_role("region", name="Chat sessions").get_by_role("log")
    answer = shown.locator("article[data-role=assistant]").last
    page.execute("run.wait(60)")
    expect(answer).to_have_attribute("data-run-state", "completed", timeout=30_000)
    text = answer.locator(".nbchat-markdown, .nbc-markdown").last.text_content() or ""
    assert " ".join(text.split()) == WORDS
