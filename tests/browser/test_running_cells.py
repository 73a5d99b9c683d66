"""A cell that runs while a user works in a chat: its outputs stay complete, and the chat is not blocked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import App, NotebookPage
from tests.waiting import wait_for

SETUP = """
import pathlib, sys, threading, time
import nbchat
from IPython.display import display

folder = pathlib.Path({folder!r})
produced, fired = [], []

def released():
    (folder / "begun").touch()
    return (folder / "release").exists()

def lines(name):
    number = 0
    while not released():
        yield f"{{name}} {{number}}"
        number += 1
        time.sleep(0.02)

def out(line):  # in one write, since threads share the stream
    produced.append(line)
    print(line + "\\n", end="")

def shown(line):
    produced.append(line)
    display({{"text/plain": line + "\\n"}}, raw=True)

def note(change):
    (folder / "new").write_text(change.new)
    (folder / "new").rename(folder / "active")

for event in ("pre_execute", "post_execute"):
    get_ipython().events.register(event, lambda event=event: fired.append(event))

chat = nbchat.ChatTabs()
chat.session("B", model="nbchat-echo")
chat.session("A", model="nbchat-echo", params={{"nbchat_pace": 4}})
chat.observe(note, "active")
chat
"""
WORDS = " ".join(f"word{i}" for i in range(300))


@dataclass(frozen=True)
class State:
    """A cell that runs while the user works in the chat, until the test lets it end."""

    source: str
    elsewhere: str = ""
    """Expression for the text that the cell put elsewhere than in its outputs."""
    answer: str = ""
    """Input typed at the cell's prompt, which ends the cell."""
    among: bool = False
    """The outputs contain more than the lines that were produced."""
    figures: int = 0
    runs: int = 1
    """Cell executions that IPython counts for it: a magic may run its own body as a cell."""
    sends: bool = False
    """The cell's own widgets send messages on their comms, which make the kernel busy."""


STATES: Mapping[str, State] = {
    "threads print": State("""
workers = [threading.Thread(target=lambda name=name: [out(line) for line in lines(name)]) for name in "xyz"]
for worker in workers: worker.start()
for worker in workers: worker.join()
"""),
    "an executor's workers display": State("""
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool:
    for name in "xyz":
        pool.submit(lambda name=name: [shown(line) for line in lines(name)]);
"""),
    "a figure": State(
        """
%matplotlib inline
import matplotlib.pyplot as plt
_, axes = plt.subplots()
axes.plot([1, 2])
for line in lines("plot"): out(line)
""",
        figures=1,
    ),
    "%%capture": State(
        """%%capture captured
for line in lines("c"):
    out(line)
    shown(line + "!")
""",
        elsewhere="captured.stdout + ''.join(one.data['text/plain'] for one in captured.outputs)",
        runs=2,
    ),
    "input()": State('out("hello " + input("Who? "))', answer="Ada", among=True),
    # The states above run on every change, all of them in `make soak`.
    "threads display": State("""
workers = [threading.Thread(target=lambda name=name: [shown(line) for line in lines(name)]) for name in "xyz"]
for worker in workers: worker.start()
for worker in workers: worker.join()
"""),
    "an Output widget": State(
        """
import ipywidgets
widget = ipywidgets.Output()
display(widget)
with widget:
    for line in lines("w"): out(line)
""",
        elsewhere="''.join(one['text'] for one in widget.outputs)",
        sends=True,
    ),
    "await": State("""
import asyncio
number = 0
while not released():
    out(f"a {number}")
    number += 1
    await asyncio.sleep(0.02)
"""),
    "capture_output()": State(
        """
from IPython.utils.capture import capture_output
with capture_output() as captured:
    for line in lines("c"):
        out(line)
        shown(line + "!")
""",
        elsewhere="captured.stdout + ''.join(one.data['text/plain'] for one in captured.outputs)",
    ),
    "tqdm": State(
        """
from tqdm import tqdm
count = sum(1 for _ in tqdm(lines("q"), file=sys.stdout, mininterval=0))
produced.append(f"{count}it")
""",
        among=True,
    ),
    "logging": State("""
import logging
log = logging.getLogger("cell")
log.propagate = False
log.addHandler(logging.StreamHandler(sys.stdout))
def work():
    for line in lines("log"):
        produced.append(line)
        log.warning(line)
worker = threading.Thread(target=work)
worker.start()
worker.join()
"""),
    "%%time": State('%%time\nfor line in lines("t"): out(line)', among=True),
    "a debugger": State(
        """
import pdb
def stopped():
    number = 41
    pdb.set_trace()
    out(f"number {number + 1}")
stopped()
""",
        answer="c",
        among=True,
    ),
    "a stream of the user's own": State(
        """
import contextlib
class Stream:
    text = ""
    def write(self, text):  # it has no flush()
        self.text += text
stream = Stream()
with contextlib.redirect_stdout(stream):
    for line in lines("s"): out(line)
""",
        elsewhere="stream.text",
    ),
    "a computation": State("""
number = 0
while not released():
    if number % 1000 == 0: out(f"n {number}")
    number += 1
"""),
}
FIRST = 5
"""Number of states that run on every change."""


def outputs(page: NotebookPage, index: int) -> list[dict[str, Any]]:
    """Return a cell's outputs in the document."""
    found: list[dict[str, Any]] = page.evaluate(
        "panel.content.model.cells.get(argument).outputs.toJSON()", index
    )
    return found


def values(page: NotebookPage, *expressions: str) -> list[Any]:
    """Return the values of expressions in the kernel."""
    found: list[Any] = json.loads(page.execute(f"import json\nprint(json.dumps([{', '.join(expressions)}]))"))
    return found


def _whole(page: NotebookPage, state: State, last: str) -> str | None:
    (text,) = values(page, state.elsewhere)
    return text if last in text.splitlines() else None


def use_the_chat(chat: Chat, folder: Path, question: str, ids: Mapping[str, str]) -> None:
    """Ask, stop the answer and change tabs, and wait until each has taken effect."""
    chat.ask(f"{question} {WORDS}")
    answer = chat.articles("Assistant").last
    expect(answer).to_contain_text(f"{question} word0")
    chat.button("Stop").click()
    expect(answer).to_have_attribute("data-run-state", "stopped")
    for title in ("B", "A"):
        chat.tab(title).click(position={"x": 12, "y": 8})
        active = folder / "active"
        wait_for(lambda: active.exists() and active.read_text() == ids[title], f"the choice of tab {title}")  # noqa: B023 - called at once


@pytest.mark.timeout(900)  # fifteen states in `make soak`
@pytest.mark.parametrize(
    ("app", "subshells"),
    [("lab", True), ("lab", False), ("notebook", True)],
    ids=["lab", "no-subshells", "notebook"],
)
def test_a_running_cell_and_the_chat_do_not_disturb_each_other(
    notebook: OpenNotebook, app: App, subshells: bool, soak: bool, tmp_path: Path
) -> None:
    """A cell's outputs are complete and in place; Send, Stop and tab changes take effect while it runs."""
    states = dict(list(STATES.items())[: None if soak else FIRST])
    cells = [SETUP.format(folder=str(tmp_path)), *[state.source for state in states.values()]]
    page = notebook(cells, app=app, subshells=subshells)
    page.run_cell(0)
    chat = Chat(page)
    (ids,) = values(page, "{s.title: s.id for s in nbchat.registry.values()}")
    chat.ask("a first answer, for which the server starts")
    expect(chat.articles("Assistant").last).to_have_attribute("data-run-state", "completed")
    page.evaluate("""(() => {
      const { kernel } = panel.sessionContext.session;
      window.statuses = [];
      kernel.statusChanged.connect((_, status) => window.statuses.push(status));
      window.comms = [];
      kernel.anyMessage.connect((_, { msg, direction }) => {
        if (direction === "send" && msg.header.msg_type.startsWith("comm_")) window.comms.push(msg.content);
      });
    })()""")

    for index, (name, state) in enumerate(states.items(), 1):
        for file in ("begun", "release"):
            (tmp_path / file).unlink(missing_ok=True)
        before, count = values(page, "len(fired)", "get_ipython().execution_count")
        page.execute("produced.clear()")
        page.wait_until("panel.sessionContext.session.kernel.status === 'idle'")
        page.evaluate("void [window.statuses.splice(0), window.comms.splice(0)]")

        page.run_cell(index, wait=False)
        if state.answer:
            expect(page.cell(index).locator("input.jp-Stdin-input")).to_be_visible()
        else:
            wait_for((tmp_path / "begun").exists, f"the beginning of {name}")
        use_the_chat(chat, tmp_path, name, ids)
        cell = f"panel.content.widgets[{index}].model"
        assert page.evaluate(f"{cell}.executionState") == "running", name
        if state.answer:
            page.cell(index).locator("input.jp-Stdin-input").fill(state.answer)
            page.cell(index).locator("input.jp-Stdin-input").press("Enter")
        (tmp_path / "release").touch()
        page.wait_until(f"{cell}.executionState === 'idle'")
        page.wait_until("panel.sessionContext.session.kernel.status === 'idle'")

        statuses = page.evaluate("window.statuses")
        assert state.sends or statuses == ["busy", "idle"], f"{name}: {statuses}"
        assert state.sends or page.evaluate("window.comms") == [], name
        assert page.evaluate(f"{cell}.executionCount") == count, name
        produced, events, elsewhere = values(page, "produced", f"fired[{before}:]", state.elsewhere or "''")
        # In addition to the cell: the request that emptied `produced`, and the one that reads these values.
        assert state.sends or events.count("pre_execute") == state.runs + 2, f"{name}: {events}"
        assert produced, name
        figures = [one for one in outputs(page, index) if "image/png" in one.get("data", {})]
        assert len(figures) == state.figures, name
        text = page.text(index)
        if state.sends:  # the cell shows the widget, whose messages may arrive after the cell has ended
            elsewhere = wait_for(partial(_whole, page, state, produced[-1]), f"the last line of {name}")
            text = ""
        if state.elsewhere:
            assert text == "", f"{name}: {text}"
            text = elsewhere
        found = [line for line in text.splitlines() if not line.startswith("<Figure")]
        if state.among:
            assert [line for line in produced if line not in text] == [], f"{name}: {text}"
        else:
            assert sorted(found) == sorted(produced), name
