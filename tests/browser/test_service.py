"""JupyterLab with a service as runner: another kernel, and a kernel that is restarted."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat, cell_of
from tests.browser.conftest import OpenNotebook
from tests.runner.counting_server import WORDS, CountingServer, answer_to
from tests.service.served import Served


def test_a_page_and_a_kernel_elsewhere_show_the_same_sessions(
    notebook: OpenNotebook, server: CountingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel of the person reads, asks and renames; the page's answer survives its own kernel."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with Served(tmp_path) as served:
        runner = f"http://127.0.0.1:{served.port}/"
        page = notebook([cell_of(runner, server.base_url, token=served.tokens["ada"])])
        page.run_cell(0)
        chat = Chat(page)
        chat.ask("one")
        expect(chat.articles("Assistant").last).to_contain_text("one-150 ")
        expect(chat.region.get_by_text("continues without the kernel")).to_be_visible()
        page.restart_kernel()
        server.go()

        elsewhere = served.registry("ada")["geo"]
        assert elsewhere.runs[0].wait(60).text == answer_to("one")
        elsewhere.ask("two", timeout=60)
        elsewhere.title = "rivers"
        page.run_cell(0)
        expect(chat.tab("rivers")).to_be_visible()
        chat.tab("rivers").click()
        expect(chat.articles("Assistant").last).to_contain_text(f"two-{WORDS - 1}")
        elsewhere.send("three")
        expect(chat.articles("Assistant").last).to_contain_text(f"three-{WORDS - 1}")
        assert server.asked == ["one", "two", "three"]
