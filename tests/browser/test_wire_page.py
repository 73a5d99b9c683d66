"""The wire between a real page and a real kernel: its channels, and the display of a broken connection."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import App, NotebookPage

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
session = chat.session("A", model="nbchat-echo", params={"nbchat_pace": 4})
chat
"""
WORDS = " ".join(f"word{i}" for i in range(300))
STARTED_MS = 30_000
"""Milliseconds that a first answer may take on a busy machine, including the embedded server's start."""
BUSY_MS = 15_000
"""Milliseconds that a click may take on a busy machine; other tests measure it on a quiet one."""

THREADS = """
import threading, nbchat
heard = {}
from nbchat.jupyter.process import current
engine = current().engine.loop
post = engine.post
def noted(function, *arguments):
    data = arguments[0] if arguments else None
    if isinstance(data, dict) and data.get("type") == "run_command":
        heard[data["command"]["type"]] = threading.current_thread().name
    return post(function, *arguments)
engine.post = noted
"""
"""Records the thread on which each command of a page arrives."""


def view(page: NotebookPage, cell: int = 0) -> Locator:
    """Return the widget of a cell."""
    return page.output(cell).get_by_role("region", name="Chat sessions")


def connection(page: NotebookPage, cell: int = 0) -> Locator:
    """Return the banner with the state of the connection."""
    return view(page, cell).locator("[data-connection]").first


def ask(page: NotebookPage, text: str, cell: int = 0) -> None:
    """Type a question and press Enter."""
    box = view(page, cell).get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def answer(page: NotebookPage, cell: int = 0) -> Locator:
    """Return the last shown answer."""
    return view(page, cell).get_by_role("log").locator("article[data-role=assistant]").last


@pytest.mark.parametrize(
    ("app", "subshells"),
    [("lab", True), ("lab", False), ("notebook", True)],
    ids=["lab", "no-subshells", "notebook"],
)
def test_messages_of_a_page_come_on_the_control_channel(
    notebook: OpenNotebook, app: App, *, subshells: bool
) -> None:
    """Send and Stop use the control channel and work while a cell is busy, even where comms do not."""
    page = notebook([CHAT, "import time\nfor _ in range(600): time.sleep(0.1)"], app=app, subshells=subshells)
    page.run_cell(0)
    page.execute(THREADS)
    page.run_cell(1, wait=False)
    ask(page, WORDS)
    expect(answer(page)).to_contain_text("word5", timeout=STARTED_MS)
    view(page).get_by_role("button", name="Stop", exact=True).click()
    expect(answer(page)).to_have_attribute("data-run-state", "stopped", timeout=BUSY_MS)
    assert page.evaluate("panel.content.widgets[1].model.executionState") == "running"
    page.interrupt_kernel()
    # The interrupt also ends the requests queued behind the cell.
    page.wait_until("panel.content.widgets[1].model.executionState === 'idle'")
    heard = json.loads(page.execute("import json\nprint(json.dumps(heard))"))
    assert {heard["send"], heard["stop"]} == {"Control"}


def test_a_host_without_a_control_channel_shows_that_it_waits_for_the_cell(notebook: OpenNotebook) -> None:
    """With only the widget's comm, a question waits for the cell, and the page shows that it does."""
    page = notebook([CHAT, "import time\nfor _ in range(600): time.sleep(0.1)"], subshells=False)
    page.evaluate("panel.sessionContext.session.kernel.sendControlMessage = undefined")
    page.run_cell(0)
    expect(connection(page)).to_have_attribute("data-connection", "live", timeout=BUSY_MS)
    page.run_cell(1, wait=False)
    ask(page, "Is anybody there?")
    expect(connection(page)).to_have_attribute("data-connection", "waiting", timeout=BUSY_MS)
    expect(answer(page)).to_have_count(0)
    page.interrupt_kernel()
    expect(answer(page)).to_contain_text("Is anybody there?", timeout=STARTED_MS)
    expect(connection(page)).to_have_attribute("data-connection", "live")


def test_a_channel_that_dies_is_changed(notebook: OpenNotebook) -> None:
    """When the control channel stops working, a question uses the widget's comm and is answered."""
    page = notebook([CHAT])
    page.run_cell(0)
    ask(page, "before")
    expect(answer(page)).to_have_attribute("data-run-state", "completed", timeout=STARTED_MS)
    page.evaluate("void (panel.sessionContext.session.kernel.sendControlMessage = () => ({}))")
    ask(page, "after")
    expect(answer(page)).to_contain_text("after", timeout=STARTED_MS)
    expect(answer(page)).to_have_attribute("data-run-state", "completed", timeout=STARTED_MS)
    expect(connection(page)).to_have_attribute("data-connection", "live")


def test_a_restart_is_shown_and_the_next_kernel_takes_over(notebook: OpenNotebook) -> None:
    """Within 5 s the page reports that the kernel is gone; a new hub from a cell revives all views."""
    page = notebook([CHAT, "nbchat.ChatTabs()"])
    page.run_cell(0)
    page.run_cell(1)
    ask(page, "before")
    expect(answer(page)).to_contain_text("before", timeout=STARTED_MS)

    page.restart_kernel()
    for cell in (0, 1):
        expect(connection(page, cell)).to_have_attribute("data-connection", "restarted", timeout=5000)
    # Earlier text can still be read.
    expect(answer(page)).to_contain_text("before")

    page.run_cell(0)
    for cell in (0, 1):
        expect(connection(page, cell)).to_have_attribute("data-connection", "live", timeout=BUSY_MS)
        # The tab also has a close button next to its title.
        view(page, cell).locator("[role=tab]", has_text="A").first.click(position={"x": 12, "y": 8})
    ask(page, "after", cell=1)
    for cell in (0, 1):
        expect(answer(page, cell)).to_contain_text("after", timeout=STARTED_MS)
    assert page.uncaught_errors == []


def test_a_silent_network_is_shown_as_lost_and_recovers(notebook: OpenNotebook) -> None:
    """Open sockets without any traffic are detected, and the missed text is shown after recovery."""
    page = notebook([CHAT])
    page.run_cell(0)
    ask(page, WORDS)
    expect(answer(page)).to_contain_text("word5", timeout=STARTED_MS)
    page.silence_network()
    expect(connection(page)).to_have_attribute("data-connection", "lost", timeout=10_000)
    page.restore_network()
    expect(connection(page)).to_have_attribute("data-connection", "live", timeout=10_000)
    expect(answer(page)).to_contain_text("word299", timeout=60_000)
    shown = answer(page).locator(".nbc-markdown, .nbchat-markdown").last.text_content() or ""
    assert " ".join(shown.split()) == WORDS


def test_a_dead_connection_is_opened_again_for_a_question(notebook: OpenNotebook) -> None:
    """If a question gets no reply over an open socket, the page opens another one and sends it once."""
    page = notebook([CHAT])
    page.run_cell(0)
    ask(page, "before")
    expect(answer(page)).to_have_attribute("data-run-state", "completed", timeout=STARTED_MS)
    page.kill_sockets()
    ask(page, "after")
    expect(answer(page)).to_contain_text("after", timeout=STARTED_MS)
    expect(answer(page)).to_have_attribute("data-run-state", "completed", timeout=STARTED_MS)
    assert page.execute("print([message.text for message in session.messages])").count("after") == 2


def test_half_of_the_packets_may_be_lost(notebook: OpenNotebook) -> None:
    """With half of the kernel's packets lost, the answer is complete and exact soon after its end."""
    page = notebook([CHAT])
    page.run_cell(0)
    page.tamper("""(() => {
      let seed = 11;
      const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
      return (event) =>
        testNetwork.text(event).includes('"nbchat"') && random() < 0.5 ? [] : [event];
    })()""")
    ask(page, WORDS)
    expect(answer(page)).to_contain_text("word5", timeout=STARTED_MS)
    page.execute("session.runs[-1].wait(60)")
    expect(answer(page)).to_have_attribute("data-run-state", "completed", timeout=5000)
    shown = answer(page).locator(".nbc-markdown, .nbchat-markdown").last.text_content() or ""
    assert " ".join(shown.split()) == WORDS


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_code_of_an_answer_goes_into_a_new_cell(notebook: OpenNotebook, app: App) -> None:
    """Code goes below the view's cell, and runs only if the user asks for it; no other cell runs."""
    page = notebook([CHAT, "untouched = True"], app=app)
    page.run_cell(0)
    ask(page, "```python\nprint(6 * 7)\n```\n\n```sql\nSELECT 1;\n```\n\n```bash\nls\n```")
    expect(answer(page)).to_have_attribute("data-run-state", "completed", timeout=STARTED_MS)

    inserts = answer(page).get_by_role("button", name="Insert into a new cell")
    expect(inserts).to_have_count(3)
    expect(answer(page).get_by_role("button", name="Run in a new cell")).to_have_count(1)
    inserts.nth(0).click()
    page.wait_until("panel.content.widgets.length === 3")
    source = "panel.content.model.cells.get(1).sharedModel.getSource().trim()"
    assert page.evaluate(source) == "print(6 * 7)"
    assert page.evaluate("panel.content.model.cells.get(1).executionCount") is None

    answer(page).get_by_role("button", name="Run in a new cell").click()
    page.wait_until("panel.content.widgets.length === 4")
    page.wait_until("panel.content.model.cells.get(2).executionCount !== null")
    assert page.text(2) == "42\n"
    assert page.evaluate("[1, 3].map((i) => panel.content.model.cells.get(i).executionCount)") == [None, None]

    inserts.nth(1).click()
    inserts.nth(2).click()
    page.wait_until("panel.content.widgets.length === 6")
    cells = page.evaluate(
        "[3, 4].map((i) => panel.content.model.cells.get(i)).map((c) => [c.type, c.sharedModel.getSource()])"
    )
    assert cells == [["markdown", "```sql\nSELECT 1;\n```"], ["code", "%%bash\nls"]]
