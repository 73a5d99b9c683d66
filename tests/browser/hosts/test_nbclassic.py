"""nbchat in a real nbclassic in Chromium."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.hosts.served import answer, picture, served, use, visitor
from tests.browser.lab import write_notebook

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
if not geo.messages:
    geo.ask("Seine")
chat
"""


READY = """() => {
  const notebook = window.Jupyter?.notebook;
  const kernel = notebook?._fully_loaded && notebook.kernel;
  return kernel?.is_connected?.() && kernel.info_reply.status && kernel.widget_manager;
}"""
ARGUMENTS = (
    *("nbclassic", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"),
    "--IdentityProvider.token=t",
)


def test_nbclassic_shows_chats(chrome: Browser, tmp_path: Path) -> None:
    """A view can be used, also after a reload and a restart, and shows that the file is not written."""
    root = tmp_path / "notebooks"
    write_notebook(root / "chat.ipynb", [CHAT])
    arguments = [*ARGUMENTS, f"--ServerApp.root_dir={root}"]
    with (
        served("nbclassic", tmp_path, arguments, r"(http://127\.0\.0\.1:\d+)/") as address,
        visitor(chrome) as page,
    ):
        page.goto(f"{address}/notebooks/chat.ipynb?token=t")
        page.wait_for_function(READY)
        page.evaluate("() => Jupyter.notebook.execute_all_cells()")
        view = page.locator(".nbchat")
        banner = view.locator("[data-connection]").first
        expect(answer(view)).to_contain_text("Seine")
        use(view)
        expect(banner).to_contain_text("Not saved in the notebook file, only in a journal")
        transcript = page.locator("a[href='#nbchat-transcript']")
        expect(transcript).to_have_count(1)
        expect(page.locator(".output_area", has=transcript)).to_be_hidden()
        picture(page, "nbclassic")

        page.evaluate("() => Jupyter.notebook.save_notebook()")
        assert "nbchat" not in json.loads((root / "chat.ipynb").read_text(encoding="utf-8"))["metadata"]
        page.reload()
        page.wait_for_function(READY)
        expect(answer(view)).to_contain_text("word5")
        use(view)
        expect(view.locator("article")).to_have_count(10)

        page.evaluate("() => void Jupyter.notebook.kernel.restart()")
        expect(banner).not_to_have_attribute("data-connection", "live")
        page.wait_for_function(READY)
        page.evaluate("() => Jupyter.notebook.execute_all_cells()")
        expect(banner).to_have_attribute("data-connection", "live")
        expect(answer(view)).to_contain_text("word5")
        expect(view.locator("article")).to_have_count(10)
        use(view)
        picture(page, "nbclassic-restarted")
