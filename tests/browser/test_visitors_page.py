"""A real Panel server with two browsers: each visitor has a registry, and sees no other's conversations."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import ARTIFACTS
from tests.browser.lab import START_S, wait_for
from tools.jupyter_home import environment

ANYWIDGET = Path(sys.prefix) / "share" / "jupyter" / "nbextensions" / "anywidget" / "index.js"
"""The file that pages load from a CDN."""
STARTED_MS = 30_000
WORDS = " ".join(f"word{i}" for i in range(300))

APP = """
import nbchat
import panel as pn

pn.extension("ipywidgets")
try:
    nbchat.ChatTabs()
except nbchat.CommandError as error:
    pn.pane.Str(str(error)).servable()
registry = nbchat.SessionRegistry()
pn.state.on_session_destroyed(lambda context: registry.shutdown())
chat = nbchat.ChatTabs(registry=registry)
chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
pn.pane.IPyWidget(chat, sizing_mode="stretch_width").servable()
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[str]:
    """Serve the app, and return its address."""
    file, log = tmp_path / "app.py", tmp_path / "panel.log"
    file.write_text(APP, encoding="utf-8")
    environ = environment(tmp_path, os.environ) | {"HOME": str(tmp_path), "BOKEH_RESOURCES": "server"}
    command = [sys.executable, "-m", "panel", "serve", str(file), "--address", "127.0.0.1", "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--allow-websocket-origin", "*"], env=environ, stdout=output, stderr=output
        )
    try:
        found = wait_for(
            lambda: process.poll() is not None or re.search(r"running at: (http://\S+)", log.read_text()),
            "Panel's start",
            START_S,
        )
        assert isinstance(found, re.Match), log.read_text()
        yield found[1]
    finally:
        process.terminate()
        process.wait(15)


def visit(chrome: Browser, address: str) -> Page:
    """Open the app as another visitor, without a network; the widgets' module is served from disk."""
    page = chrome.new_context(viewport={"width": 1000, "height": 700}).new_page()

    def serve(route: Route) -> None:
        if "anywidget" in route.request.url:
            route.fulfill(
                path=ANYWIDGET,
                content_type="text/javascript",
                headers={"access-control-allow-origin": "*"},
            )
        else:
            route.abort()

    page.route(lambda url: not url.startswith("http://127.0.0.1:"), serve)
    page.goto(address)
    return page


def test_visitors_of_a_panel_server_are_kept_apart(chrome: Browser, app: str) -> None:
    """Two browsers show only their own conversations, and a view of the shared registry is refused."""
    pages = [visit(chrome, app) for _ in range(2)]
    try:
        for page, question in zip(pages, ("Seine", "Rhône"), strict=True):
            box = page.get_by_role("textbox", name="Message")
            box.fill(question, timeout=STARTED_MS)
            box.press("Enter")
            answer = page.locator("article[data-role=assistant]")
            expect(answer).to_contain_text(question, timeout=STARTED_MS)
            expect(answer).to_have_attribute("data-run-state", "completed", timeout=STARTED_MS)
        for number, (page, question) in enumerate(zip(pages, ("Seine", "Rhône"), strict=True)):
            articles = page.locator("article")
            expect(articles).to_have_count(2)
            expect(articles.first).to_contain_text(question)
            expect(page.get_by_text("Panel serves all visitors")).to_be_visible()
            box = page.get_by_role("textbox", name="Message")
            box.fill(WORDS)
            box.press("Enter")
            answer = page.locator("article[data-role=assistant]").last
            expect(answer).to_contain_text("word5", timeout=STARTED_MS)
            page.get_by_role("button", name="Stop", exact=True).click()
            expect(answer).to_have_attribute("data-run-state", "stopped", timeout=STARTED_MS)
            page.screenshot(path=ARTIFACTS / "hosts" / f"panel-{number}.png")
    finally:
        for page in pages:
            page.context.close()
