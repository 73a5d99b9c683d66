"""Several chats stream in the kernel while tabs are only views, in a real JupyterLab with the real client."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import App, NotebookPage

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
chat.session("A", model="nbchat-echo", params={"nbchat_pace": PACE})
chat.session("B", model="nbchat-echo", params={"nbchat_pace": PACE})
chat
"""

expect.set_options(timeout=30_000)  # generous: the duration depends on the machine

A, B = (" ".join(f"{name}{i}" for i in range(300)) for name in ("apple", "berry"))
"""Plain words, so that the shown text equals the answer exactly."""


def opened(
    notebook: OpenNotebook, *more: str, pace: float = 1, app: App = "lab", kernel: str = "python3"
) -> NotebookPage:
    """Open a notebook whose first cell shows two sessions, and run that cell."""
    page = notebook([CHAT.replace("PACE", str(pace)), *more], app=app, kernel=kernel)
    page.run_cell(0)
    expect(tab(page, "A")).to_be_visible()
    return page


def region(page: NotebookPage | Page) -> Locator:
    """Return the widget."""
    return (
        (page.page if isinstance(page, NotebookPage) else page)
        .get_by_role("region", name="Chat sessions")
        .first
    )


def tab(page: NotebookPage, title: str) -> Locator:
    """Return a session's tab."""
    return region(page).get_by_role("tab", name=re.compile(rf"^{title}\b"))


def answers(page: NotebookPage) -> Locator:
    """Return the shown answers."""
    return region(page).get_by_role("log").locator("article[data-role=assistant]")


def said(page: NotebookPage) -> str:
    """Return the text of the last shown answer, with white space collapsed."""
    shown = answers(page).last.locator(".nbchat-markdown, .nbc-markdown").last
    return " ".join((shown.text_content() or "").split())


def kernel_says(page: NotebookPage, expression: str) -> str:
    """Return the printed value of an expression in the kernel."""
    return page.execute(f"import nbchat\nprint({expression}, end='')")


def ask(page: NotebookPage, text: str) -> None:
    """Type a question and press Enter."""
    box = region(page).get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def button(page: NotebookPage, name: str) -> Locator:
    """Return a button of the composer."""
    return region(page).get_by_role("button", name=name, exact=True)


def expect_state(page: NotebookPage, title: str, state: str, timeout_s: float = 30) -> None:
    """Wait until a session's tab shows a state."""
    expect(tab(page, title)).to_have_attribute("data-run-state", state, timeout=timeout_s * 1000)


def test_both_stream_while_the_view_switches(notebook: OpenNotebook) -> None:
    """After twenty switches during two streams, both answers are complete, each in its own session."""
    page = opened(notebook)
    tab(page, "A").click()
    ask(page, A)
    expect_state(page, "A", "streaming")
    tab(page, "B").click()
    ask(page, B)
    expect_state(page, "B", "streaming")
    for _ in range(20):
        for title, own, other in (("A", "apple", "berry"), ("B", "berry", "apple")):
            tab(page, title).click()
            log = region(page).get_by_role("log")
            expect(log).to_contain_text(f"{own}0")
            assert other not in (log.text_content() or "")
    for title, text in (("A", A), ("B", B)):
        expect_state(page, title, "completed", 60)
        tab(page, title).click()
        expect(answers(page)).to_contain_text(text.split()[-1])
        assert said(page) == text
        assert kernel_says(page, f"nbchat.session({title!r}).messages[1].text") == text
    assert page.uncaught_errors == []
    assert page.foreign_requests == []


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_stop_stops_its_own_session_alone(notebook: OpenNotebook, app: App) -> None:
    """Stop in A, after B was started and A shown again, ends A at once and leaves B streaming."""
    page = opened(notebook, pace=8, app=app)
    tab(page, "A").click()
    ask(page, A)
    expect_state(page, "A", "streaming")
    tab(page, "B").click()
    ask(page, B)
    expect_state(page, "B", "streaming")
    tab(page, "A").click()
    button(page, "Stop").click()
    expect_state(page, "A", "stopped", 10)
    expect(button(page, "Stop")).to_have_count(0)
    expect_state(page, "B", "streaming")
    text = kernel_says(page, "nbchat.session('A').messages[1].text")
    assert A.startswith(text)
    assert said(page) == text.strip()
    tab(page, "B").click()
    button(page, "Stop").click()
    expect_state(page, "B", "stopped", 10)


def test_stop_before_the_first_token(notebook: OpenNotebook) -> None:
    """Stop before the first token takes effect at once, and the composer is ready."""
    page = opened(notebook)
    page.execute("chat.session('S', model='nbchat-slow')")
    tab(page, "S").click()
    ask(page, "Take your time.")
    button(page, "Stop").click()
    expect_state(page, "S", "stopped", 10)
    expect(region(page).get_by_role("textbox", name="Message")).to_be_editable()
    expect(button(page, "Send")).to_be_visible()


SLEEP = "import time\ntime.sleep(60)"
BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: sum(range(1000))"


@pytest.mark.parametrize(
    ("cell", "app", "requirement"),
    [
        (SLEEP, "lab", None),
        (BUSY, "lab", None),
        (SLEEP, "notebook", None),
        (SLEEP, "lab", "ipykernel==7.3.0"),
    ],
    ids=["sleep", "cpu", "notebook7", "ipykernel7.3"],
)
def test_the_page_works_while_a_cell_is_busy(
    notebook: OpenNotebook, lab: object, cell: str, app: App, requirement: str | None
) -> None:
    """Send, tabs and Stop work while the kernel's main thread runs a cell, and the answer continues."""
    kernel = "python3" if requirement is None else lab.add_kernel(requirement)  # type: ignore[attr-defined]
    page = opened(notebook, cell, pace=8, app=app, kernel=kernel)
    page.run_cell(1, wait=False)
    tab(page, "A").click()
    ask(page, A)
    expect_state(page, "A", "streaming")
    expect(answers(page)).to_contain_text("apple3")
    tab(page, "B").click()
    tab(page, "A").click()
    button(page, "Stop").click()
    expect_state(page, "A", "stopped", 10)
    assert page.evaluate("panel.content.widgets[1].model.executionState") == "running"
    page.interrupt_kernel()


def test_a_reload_in_mid_stream_changes_nothing(notebook: OpenNotebook) -> None:
    """After a reload the view has the text from its first character, still streams, and can be stopped."""
    page = opened(notebook, pace=20)  # slow enough for a reload on a busy machine
    tab(page, "A").click()
    ask(page, A)
    expect(answers(page)).to_contain_text("apple5")
    page.save()
    page.reload()
    expect_state(page, "A", "streaming")
    tab(page, "A").click()
    expect(answers(page)).to_contain_text("apple30")
    assert said(page).startswith("apple0 apple1 apple2 apple3")
    expect(button(page, "Pause")).to_be_visible()
    button(page, "Stop").click()
    expect_state(page, "A", "stopped", 10)
    assert said(page) == kernel_says(page, "nbchat.session('A').messages[1].text").strip()
    assert kernel_says(page, "len(nbchat.session('A').runs)") == "1"


def test_a_cut_websocket_comes_back_and_converges(notebook: OpenNotebook) -> None:
    """Text generated while the network was cut is shown after it is restored."""
    page = opened(notebook)
    tab(page, "A").click()
    ask(page, A)
    expect(answers(page)).to_contain_text("apple5")
    page.cut_network()
    page.restore_network()
    expect(answers(page)).to_contain_text("apple299", timeout=60_000)
    expect_state(page, "A", "completed")
    assert said(page) == A


LOSSY = """(() => {
  let seed = 7, held = [];
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  return (event) => {
    if (!testNetwork.text(event).includes('"nbchat"')) return [event];
    const dice = random();
    if (dice < 0.1) return [];
    if (dice < 0.2) return [event, event];
    if (dice < 0.3) { held.push(event); return []; }
    const late = held; held = [];
    return [event, ...late];
  };
})()"""


def test_a_lossy_line_converges(notebook: OpenNotebook) -> None:
    """With 30 % of the frames dropped, repeated or out of order, the view equals the transcript."""
    page = opened(notebook)
    page.tamper(LOSSY)
    tab(page, "A").click()
    ask(page, A)
    tab(page, "B").click()
    ask(page, B)
    for title, text in (("A", A), ("B", B)):
        expect_state(page, title, "completed", 60)
        tab(page, title).click()
        expect(answers(page)).to_contain_text(text.split()[-1])
        assert said(page) == text


def test_two_pages_and_two_views_are_equal(notebook: OpenNotebook) -> None:
    """A question asked in one view is answered in all, on both pages; drafts stay in their page."""
    first = opened(notebook, "nbchat.session('A')", pace=1)
    first.run_cell(1)
    first.save()
    second = notebook(name=first.path.removesuffix(".ipynb"))
    tab(second, "A").click()
    tab(first, "A").click()
    region(second).get_by_role("textbox", name="Message").fill("a draft")
    ask(first, A)
    for page in (first, second):
        expect_state(page, "A", "completed", 60)
        expect(answers(page)).to_contain_text("apple299")
        assert said(page) == A
    single = first.output(1).get_by_role("log").locator("article[data-role=assistant]")
    expect(single).to_contain_text("apple299")
    expect(region(second).get_by_role("textbox", name="Message")).to_have_value("a draft")
    expect(region(first).get_by_role("textbox", name="Message")).to_have_value("")


def test_closing_a_tab_announces_that_the_answer_continues(notebook: OpenNotebook) -> None:
    """Closing a tab does not end its answer: the page reports this, and offers Stop and Reopen."""
    page = opened(notebook, pace=8)
    tab(page, "A").click()
    ask(page, A)
    expect_state(page, "A", "streaming")
    tab(page, "A").focus()
    page.page.keyboard.press("Delete")
    expect(tab(page, "A")).to_have_count(0)
    assert kernel_says(page, "nbchat.session('A').status") == "streaming"
    notice = region(page).get_by_text(re.compile("continues in the background")).first
    expect(notice).to_be_visible()
    button(page, "Stop").click()
    page.execute("nbchat.session('A').runs[-1].wait(60)")
    assert kernel_says(page, "nbchat.session('A').status") == "stopped"


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (
            "os.environ['OPENAI_BASE_URL'] = 'http://127.0.0.1:9/v1'; os.environ['OPENAI_API_KEY'] = 'sk-x'",
            "127.0.0.1",
        ),
        ("nbchat.session('A').model = 'no-such-model'", "no-such-model"),
    ],
    ids=["unreachable", "unknown-model"],
)
def test_trouble_is_shown_beside_its_message(notebook: OpenNotebook, setup: str, message: str) -> None:
    """A run that fails shows its cause in the page, keeps the question, and can be retried."""
    page = opened(notebook)
    page.execute(f"import os\nnbchat.registry.limits.retries = 0\n{setup}")
    tab(page, "A").click()
    ask(page, "Is anybody there?")
    expect_state(page, "A", "failed")
    log = region(page).get_by_role("log")
    expect(log).to_contain_text("Is anybody there?")
    expect(log).to_contain_text(message)
    expect(log.get_by_role("button", name="Retry")).to_be_visible()
    assert "Traceback" not in (log.text_content() or "")


NAMELESS = """
from nbchat.providers.scripted import ScriptedProvider
nbchat.config(titles="model")
nameless = nbchat.registry.create(
    provider=ScriptedProvider(
        lambda request: ["Rivers of Paris"] if "<question>" in request.messages[-1].text else ["The Seine."]
    )
)
nameless.ask("Which rivers cross it?")
"""


def test_tabs_keep_their_names_and_their_order(notebook: OpenNotebook) -> None:
    """A title from a model appears on its tab; the user's tab order survives reloads and kernel restarts."""
    page = opened(notebook)
    page.execute(NAMELESS)
    named = tab(page, "Rivers of Paris")
    expect(named).to_be_visible()
    named.focus()
    for _ in range(2):
        page.page.keyboard.press("Shift+ArrowLeft")
    order = ["Rivers of Paris", "A", "B"]
    tabs = region(page).get_by_role("tab")
    expect(tabs).to_have_text(order)
    page.save()
    page.reload()
    expect(tabs).to_have_text(order)
    page.restart_kernel()
    page.run_cell(0)
    expect(tabs).to_have_text(order)


LOAD = """
import asyncio, json, time
import nbchat
from nbchat.jupyter.process import current
hub = current().host.hub()
sent = []
down = hub.send
def counted(content, buffers=None):
    sent.append((time.monotonic(), sum(map(len, buffers or []))))
    down(content, buffers)
hub.send = counted
text = " ".join(f"w{i}" for i in range(600))
runs = [nbchat.session(f"L{i}", model="nbchat-echo", params={"nbchat_pace": 1}).send(text) for i in range(20)]
turns = 0
while any(not run.is_over for run in runs):
    await asyncio.sleep(0.01)
    turns += 1
print(json.dumps({"sent": sent, "turns": turns, "exact": all(run.text == text for run in runs)}))
"""


@pytest.mark.timeout(600)  # 12,000 deltas through a browser that shares its cores
def test_twenty_sessions_keep_the_wires_limits(notebook: OpenNotebook) -> None:
    """Twenty concurrent answers cause at most 30 messages a second, lose nothing, and block no loop."""
    page = opened(notebook, LOAD)
    page.run_cell(1)
    measured = json.loads(page.text(1))

    assert measured["exact"]
    times = [at for at, _ in measured["sent"]]
    assert max(size for _, size in measured["sent"]) <= 256 * 1024
    for start in times:
        assert sum(start <= at < start + 10 for at in times) <= 300
    # `make bench` measures the delay of the loop.
    assert measured["turns"] > 0
    expect_state(page, "L19", "completed")


def test_forged_messages_change_nothing(notebook: OpenNotebook) -> None:
    """Invalid messages of a page are ignored and counted, and harm no session."""
    page = opened(notebook)
    for forged in (
        {"type": "run_command", "page": "x", "epoch": "k-old", "command": {"type": "stop_all", "id": "1"}},
        {"type": "set_key", "key": "sk-stolen"},
        {"message": None},
        [1, 2],
        "x" * 100_000,
    ):
        page.evaluate(
            """(() => {
                const kernel = panel.sessionContext.session.kernel;
                const header = {
                    msg_id: crypto.randomUUID(), msg_type: "nbchat_request", session: kernel.clientId,
                    username: kernel.username, date: new Date().toISOString(), version: "5.3",
                    subshell_id: null,
                };
                const message = {
                    header, parent_header: {}, metadata: {}, channel: "control",
                    content: { message: argument }, buffers: [],
                };
                kernel.sendControlMessage(message, false, true).done.catch(() => {});
            })()""",
            forged,
        )
    page.execute("import time\nwhile nbchat.registry.stats().get('wire_errors', 0) < 3: time.sleep(0.05)")
    tab(page, "A").click()
    ask(page, "still well")
    expect_state(page, "A", "completed")
    assert said(page) == "still well"
