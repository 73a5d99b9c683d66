"""Load on a real page and a real server: a flood of output, and hundreds of sessions."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import CDPSession, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import NotebookPage

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
ROUNDS = """
def rounds(first, last):
    for number in range(first, last):
        one = chat.session(f"round {number}", model="nbchat-echo", params={"nbchat_pace": 0.5})
        run = one.send("**word** `code` $x$ " * 200)
        next(iter(run))
        run.stop()
        run.wait(30)
        one.close()
        one.delete()
        time.sleep(0.05)  # as users are, a little slower than the screen
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


def counters(page: NotebookPage, devtools: CDPSession) -> dict[str, int]:
    """Return the numbers of nodes, listeners and comms, and the heap size, after garbage collection."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    for _ in range(3):  # objects released by finalizers are collected in the next round
        devtools.send("HeapProfiler.collectGarbage")
    found = devtools.send("Memory.getDOMCounters")
    heap = devtools.send("Runtime.getHeapUsage")
    return {
        "nodes": int(found["nodes"]),
        "listeners": int(found["jsEventListeners"]),
        "heap": int(heap["usedSize"]),
        "comms": int(page.execute("print(len(get_ipython().kernel.comm_manager.comms), end='')")),
    }


@pytest.mark.timeout(600)  # takes four minutes on a busy machine
def test_two_hundred_sessions_leave_nothing_in_the_page(notebook: OpenNotebook) -> None:
    """Creating, using and deleting 200 sessions leaks no nodes, listeners, comms or memory."""
    page = notebook([SHOWN])
    page.run_cell(0)
    devtools = page.page.context.new_cdp_session(page.page)
    page.execute(ROUNDS)
    tabs = page.output(0).get_by_role("region", name="Chat sessions").get_by_role("tab")

    expect(tabs.first).to_be_visible()
    there = tabs.count()

    def after(first: int, last: int) -> dict[str, int]:
        page.execute(f"rounds({first}, {last})")
        expect(tabs).to_have_count(there, timeout=30_000)
        return counters(page, devtools)

    stops = (0, 60, 95, 130, 165, 200)  # the first is larger than the number of deletions that can be undone
    found = [after(first, last) for first, last in pairwise(stops)]
    # A leak grows in each interval. State that is kept once, such as the last answer, grows in only one.
    grown = {
        name: min(later[name] - earlier[name] for earlier, later in pairwise(found)) for name in found[0]
    }
    assert grown["comms"] <= 0, found
    assert grown["nodes"] <= 35, found
    assert grown["listeners"] <= 17, found
    assert grown["heap"] <= 35 * 20_000, found
    assert page.uncaught_errors == []
