"""VS Code's own widget manager in a page that follows the known rules of its webview; VS Code is not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect

from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from tests.browser.hosts.served import WORDS, answer, ask, picture, use, visitor
from tests.browser.lab import Server, write_notebook
from tests.browser.test_static_page import ANYWIDGET, fetched

FILES = {
    "services.js": ("@jupyterlab/services@7.6.6", "dist/dist/index.js"),
    "require.js": ("requirejs@2.3.8", "require.js"),
    "ipywidgets.js": ("@vscode/jupyter-ipywidgets8@1.0.9", "dist/ipywidgets.js"),
}
"""By name: the npm package and its file. The Jupyter extension loads the last one into its webview."""

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
if not geo.messages:
    geo.ask("Seine")
chat
"""
BUSY = "import time\nfor _ in range(6000): time.sleep(0.1)"


def serve(route: Route) -> None:
    """Answer with a file of the webview."""
    name = route.request.url.partition("/vscode/")[2]
    if name in FILES:
        package, path = FILES[name]
        route.fulfill(path=fetched(package) / path, content_type="text/javascript")
    else:
        assert name == "nbextensions/anywidget/index.js"
        route.fulfill(path=ANYWIDGET, content_type="text/javascript")


@contextmanager
def webview(chrome: Browser, server: Server, kernel_id: str) -> Iterator[Page]:
    """Open the webview of a kernel."""
    with visitor(chrome) as page:
        page.route(re.compile(r"/vscode/"), serve)
        # Chromium lets only a page that came from the server itself connect to it.
        page.goto(f"{server.url}/login#{kernel_id},{server.token}")
        page.set_content(Path(__file__).with_name("vscode.html").read_text(encoding="utf-8"))
        page.wait_for_function("() => window.webview")
        yield page


def run(page: Page, code: str) -> None:
    """Run a cell until it ends without an error."""
    assert page.evaluate("(code) => webview.run(code)", code) == "ok", page.locator("#container").inner_text()


def stored() -> dict[str, object]:
    """Return the metadata of a notebook with a conversation."""
    registry = SessionRegistry()
    try:
        registry.create("saved", provider=ScriptedProvider("The Seine.")).ask("Which river?")
        return {"nbchat": registry.snapshot()}
    finally:
        registry.shutdown()


def test_vs_codes_widget_manager_shows_chats(chrome: Browser, tmp_path: Path) -> None:
    """A view can be used, also while a cell runs, and after a reload; the file is read and not written."""
    with Server(tmp_path) as server:
        file = server.root / "chat.ipynb"
        write_notebook(file, [CHAT], metadata=stored())
        before = file.read_bytes()
        kernel_id = server.api("kernels", "POST", {"name": "python3"})["id"]
        with webview(chrome, server, kernel_id) as page:
            run(page, f"__vsc_ipynb_file__ = {str(file)!r}")
            run(page, CHAT)
            view = page.locator(".nbchat")
            banner = view.locator("[data-connection]").first
            expect(banner).to_contain_text("Not saved in the notebook file, only in a journal")
            transcript = page.locator(".output", has=page.locator("a[href='#nbchat-transcript']"))
            expect(transcript).to_be_hidden()
            view.get_by_role("tab", name="saved").click()
            expect(answer(view)).to_contain_text("The Seine.")
            view.get_by_role("tab", name="geo").click()
            expect(answer(view)).to_contain_text("Seine")
            use(view)
            expect(transcript).to_contain_text("Rhône")

            page.evaluate("(code) => void webview.run(code)", BUSY)
            page.wait_for_function("() => webview.isBusy()")
            ask(view, WORDS)
            expect(view.locator("article")).to_have_count(8)
            expect(answer(view)).to_contain_text("word5")
            view.get_by_role("button", name="Stop", exact=True).click()
            expect(answer(view)).to_have_attribute("data-run-state", "stopped")
            assert page.evaluate("webview.isBusy()")
            picture(page, "vscode")
            server.api(f"kernels/{kernel_id}/interrupt", "POST")
            page.wait_for_function("() => !webview.isBusy()")

        with webview(chrome, server, kernel_id) as page:
            run(page, CHAT)
            view = page.locator(".nbchat")
            view.get_by_role("tab", name="geo").click()
            expect(view.locator("article")).to_have_count(8)
            use(view)
        assert file.read_bytes() == before
