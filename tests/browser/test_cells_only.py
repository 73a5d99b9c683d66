"""A host that delivers packets only while a cell runs, as Colab does, emulated in JupyterLab.

The widgets get a widget manager that has only `get_model`, without the kernel and the notebook, and comm
messages that arrive while no cell runs are dropped.
"""

from __future__ import annotations

import base64

from playwright.sync_api import Locator, expect

from nbchat.wire.requests import STATIC
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import NotebookPage

STARTED_MS = 30_000
"""Time that an answer may take on a busy machine."""
WORDS = " ".join(f"word{i}" for i in range(40))

WRAPPER = """
import module from "data:text/javascript;base64,CODE";
const plain = (model) => new Proxy(model, {
  get(target, key) {
    if (key === "widget_manager") return { get_model: (id) => target.widget_manager.get_model(id) };
    const value = target[key];
    return typeof value === "function" ? value.bind(target) : value;
  },
});
const wrapped = (method) => method && (({ model, el }) => method({ model: plain(model), el }));
export default { initialize: wrapped(module.initialize), render: wrapped(module.render) };
"""

RULE = r"""(() => {
  globalThis.google = { colab: { kernel: { accessAllowed: true } } };
  let running = false;
  return (event) => {
    const text = testNetwork.text(event);
    const [, state] = /"execution_state": ?"(busy|idle)"/.exec(text) ?? [];
    if (state && /"msg_type": ?"execute_request"/.test(text)) running = state === "busy";
    return !running && /"msg_type": ?"comm_msg"/.test(text) ? [] : [event];
  };
})()"""


def wrapped(name: str) -> str:
    """Return a source of one of nbchat's modules that hides the kernel and the notebook from it."""
    code = base64.b64encode((STATIC / f"{name}.js").read_bytes()).decode()
    return WRAPPER.replace("CODE", code)


SETUP = """
import pathlib, nbchat
from nbchat.jupyter import hub, views
from nbchat.providers.scripted import HANG, ScriptedProvider
hub.Hub._esm = pathlib.Path("hub-module.txt").read_text()
views.View._esm = pathlib.Path("view-module.txt").read_text()
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo")
chat
"""


def view(page: NotebookPage) -> Locator:
    """Return the view."""
    return page.output(0).locator(".nbchat")


def open_chat(notebook: OpenNotebook, *cells: str) -> NotebookPage:
    """Show a chat under the emulated rule."""
    page = notebook([SETUP, *cells])
    for name in ("hub", "view"):
        (page.file.parent / f"{name}-module.txt").write_text(wrapped(name), encoding="utf-8")
    page.tamper(RULE)
    page.run_cell(0)
    return page


def test_waiting_in_a_cell_shows_the_answers(notebook: OpenNotebook) -> None:
    """The page suggests `chat.wait()`; in a cell, that call shows new answers and those missed before."""
    page = open_chat(notebook, f"geo.send({WORDS!r})\nchat.wait()", "geo.wait()")
    banner = view(page).locator("[data-connection]").first
    expect(banner).to_contain_text("run chat.wait() in a cell", timeout=STARTED_MS)

    page.run_cell(1)
    answers = view(page).locator("article[data-role=assistant]")
    expect(answers).to_contain_text("word39", timeout=STARTED_MS)
    expect(answers).to_have_attribute("data-run-state", "completed")

    box = view(page).get_by_role("textbox", name="Message")
    box.fill("Rhône")
    box.press("Enter")
    expect(banner).to_contain_text("run chat.wait() in a cell", timeout=STARTED_MS)
    page.run_cell(2)
    expect(answers.last).to_contain_text("Rhône", timeout=STARTED_MS)
    expect(answers.last).to_have_attribute("data-run-state", "completed")


def test_an_interrupted_wait_leaves_the_answer_alone(notebook: OpenNotebook) -> None:
    """An answer streams into the view while its cell waits; an interrupt ends the wait, but not the run."""
    page = open_chat(
        notebook,
        "long = chat.session('long', provider=ScriptedProvider('so far', HANG))\n"
        "run = long.send('Rivers?')\nchat.wait()",
    )
    page.run_cell(1, wait=False)
    expect(view(page).locator("article[data-role=assistant]")).to_contain_text("so far", timeout=STARTED_MS)
    page.interrupt_kernel()
    page.wait_until("panel.content.widgets[1].model.executionState === 'idle'")
    assert "KeyboardInterrupt" in page.text(1)
    assert page.execute("print(run.state)").strip() == "streaming"
