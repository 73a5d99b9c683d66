"""The known rules of VS Code's webview, emulated in JupyterLab; VS Code itself is not run.

Widgets run in a webview whose kernel is a proxy: messages are serialized, and control messages are forwarded
to the real kernel. The widget manager has no access to the notebook.
"""

from __future__ import annotations

import base64

from playwright.sync_api import expect

from nbchat.wire.requests import STATIC
from tests.browser.conftest import OpenNotebook
from tests.browser.hosts.served import SLOW_MS, WORDS, answer, ask, picture

WRAPPER = """
import module from "data:text/javascript;base64,CODE";
const managers = new WeakMap();
const proxied = (manager) => {
  const sendControlMessage = (message, ...options) =>
    manager.kernel.sendControlMessage(JSON.parse(JSON.stringify(message)), ...options);
  const { clientId, username } = manager.kernel;
  const kernel = { clientId, username, sendControlMessage };
  const made = { kernel, get_model: (id) => manager.get_model(id) };
  if (!managers.has(manager)) managers.set(manager, made);
  return managers.get(manager);
};
globalThis.proxiedManagers ??= proxied;
const plain = (model) => new Proxy(model, {
  get(target, key) {
    if (key === "widget_manager") return globalThis.proxiedManagers(target.widget_manager);
    const value = target[key];
    return typeof value === "function" ? value.bind(target) : value;
  },
});
const wrapped = (method) => method && (({ model, el }) => method({ model: plain(model), el }));
export default { initialize: wrapped(module.initialize), render: wrapped(module.render) };
"""

SETUP = """
import pathlib, nbchat
from nbchat.jupyter import hub, views
hub.Hub._esm = pathlib.Path("hub-module.txt").read_text()
views.View._esm = pathlib.Path("view-module.txt").read_text()
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
chat
"""


def test_a_proxied_kernel_takes_messages_while_a_cell_runs(notebook: OpenNotebook) -> None:
    """Send and Stop work while a cell is busy, and the page reports that the file is not written."""
    page = notebook([SETUP, "import time\nfor _ in range(1200): time.sleep(0.1)"])
    for name in ("hub", "view"):
        code = base64.b64encode((STATIC / f"{name}.js").read_bytes()).decode()
        file = page.file.parent / f"{name}-module.txt"
        file.write_text(WRAPPER.replace("CODE", code), encoding="utf-8")
    page.run_cell(0)
    view = page.output(0).locator(".nbchat")
    banner = view.locator("[data-connection]").first
    expect(banner).to_contain_text("Not saved in the notebook file", timeout=SLOW_MS)
    page.run_cell(1, wait=False)
    ask(view, WORDS)
    expect(answer(view)).to_contain_text("word5", timeout=SLOW_MS)
    view.get_by_role("button", name="Stop", exact=True).click()
    expect(answer(view)).to_have_attribute("data-run-state", "stopped", timeout=SLOW_MS)
    assert page.evaluate("panel.content.widgets[1].model.executionState") == "running"
    picture(page.page, "vscode-rules")
    page.interrupt_kernel()
    page.wait_until("panel.content.widgets[1].model.executionState === 'idle'")
    assert "nbchat" not in page.metadata()
