"""A real JupyterLab with jupyter-server-documents, whose kernels receive messages only from the last page."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, expect

from tests.browser.hosts.served import SLOW_MS, answer, ask, picture, use, visitor
from tests.browser.lab import NotebookPage, Server, write_notebook
from tools.hosts import python_of

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
chat
"""
ASKED = CHAT.replace("\nchat\n", "\nasked = geo.ask('Seine').text\nchat\n")


def view(page: NotebookPage) -> Locator:
    """Return the view of the first cell."""
    return page.page.locator(".nbchat").first


def trust(page: NotebookPage) -> None:
    """Trust outputs until the view is shown; the server does not mark its outputs as trusted."""
    page.evaluate("""void setInterval(() => {
      if (document.querySelector('.nbchat')) return;
      for (const { outputs } of panel.content.model.cells) {
        const all = Array.from({ length: outputs.length }, (_, index) => outputs.get(index));
        if (all.every((output) => output.trusted)) continue;
        outputs.trusted = false;
        outputs.trusted = true;
      }
    }, 100)""")
    expect(view(page)).to_be_visible(timeout=SLOW_MS)


def test_two_pages_under_server_documents(chrome: Browser, tmp_path: Path) -> None:
    """Two pages of a notebook use a session by turns: each opens its connection again to send a question."""
    with (
        Server(tmp_path, python=python_of("documents")) as server,
        visitor(chrome) as first_page,
        visitor(chrome) as second_page,
    ):
        write_notebook(server.root / "chat.ipynb", [CHAT])
        first = NotebookPage(server, first_page, "chat.ipynb").open()
        first.run_cell(0)
        trust(first)
        use(view(first))

        second = NotebookPage(server, second_page, "chat.ipynb").open()
        trust(second)
        expect(answer(view(second))).to_have_attribute("data-run-state", "stopped", timeout=SLOW_MS)
        use(view(second))
        expect(first.output(0)).to_contain_text(re.compile(r"Rhône[\s\S]*word0[\s\S]*Rhône[\s\S]*word0"))
        trust(first)
        ask(view(first), "Loire")
        for page in (first, second):
            # The host may replace a view with its transcript, which also has the question and the answer.
            expect(page.output(0)).to_contain_text(re.compile(r"Loire[\s\S]*Loire"))
        picture(first.page, "server-documents-1")
        picture(second.page, "server-documents-2")


def test_a_reload_under_server_documents(chrome: Browser, tmp_path: Path) -> None:
    """After a reload, the view is shown when the user trusts the outputs; before, there is its transcript."""
    with Server(tmp_path, python=python_of("documents")) as server, visitor(chrome) as tab:
        write_notebook(server.root / "chat.ipynb", [ASKED])
        page = NotebookPage(server, tab, "chat.ipynb").open()
        page.run_cell(0)
        for _ in range(2):
            expect(page.output(0)).to_contain_text(re.compile(r"Seine[\s\S]*Seine"))
            expect(view(page)).to_have_count(0)
            trust(page)
            expect(answer(view(page))).to_contain_text("Seine")
            page.reload()
