"""nbchat in a real marimo in Chromium, in edit mode and in run mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.hosts.served import SLOW_MS, answer, picture, served, use, visitor

APP = """
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    import nbchat

    own = mo.app_meta().mode == "run"
    registry = nbchat.SessionRegistry() if own else nbchat.registry
    return mo, nbchat, own, registry


@app.cell
def _(nbchat, registry):
    chat = nbchat.ChatTabs(registry=registry)
    geo = chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 4})
    chat
    return chat, geo


@app.cell
def _(geo):
    geo
    return


@app.cell
def _(geo, mo):
    mo.md("asked: " + geo.ask("Seine").text + "; sent: " + geo.send("Loire").wait(60).text)
    return


@app.cell
def _(mo, nbchat, own):
    refused = ""
    if own:
        try:
            nbchat.ChatTabs()
        except nbchat.CommandError as error:
            refused = str(error)
    mo.md("refused: " + refused)
    return
"""


@contextmanager
def marimo(mode: str, home: Path) -> Iterator[str]:
    """Serve the app, and return its address."""
    file = home / "app.py"
    file.write_text(APP, encoding="utf-8")
    settings = "[tool.marimo.runtime]\nauto_instantiate = true\n"  # run all cells at the start
    (home / "pyproject.toml").write_text(settings, encoding="utf-8")
    options = ["--headless", "--no-token", "--host", "127.0.0.1"]
    if mode == "edit":
        options.append("--skip-update-check")
    with served("marimo", home, ["marimo", mode, str(file), *options], r"URL: (http://\S+)") as address:
        yield address.replace("localhost", "127.0.0.1")


def test_run_mode_shows_chats_of_each_visitor(chrome: Browser, tmp_path: Path) -> None:
    """Both kinds of view and blocking calls work; another visitor and a reload see nothing of this visit."""
    with marimo("run", tmp_path) as address, visitor(chrome) as page, visitor(chrome) as other:
        page.goto(address)
        views = page.locator(".nbchat")
        expect(views).to_have_count(2, timeout=SLOW_MS)
        expect(page.get_by_text("asked: Seine; sent: Loire")).to_be_visible(timeout=SLOW_MS)
        expect(page.get_by_text("refused: marimo run serves all visitors")).to_be_visible()
        for view in views.all():
            expect(answer(view)).to_contain_text("Loire", timeout=SLOW_MS)
        use(views.first)
        expect(views.last.locator("article")).to_have_count(8)
        picture(page, "marimo-run")

        for fresh in (other, page):
            fresh.goto(address)
            expect(answer(fresh.locator(".nbchat").first)).to_contain_text("Loire", timeout=SLOW_MS)
            expect(fresh.locator(".nbchat").first.locator("article")).to_have_count(4)


def test_edit_mode_shows_chats_and_survives_running_cells_again(chrome: Browser, tmp_path: Path) -> None:
    """Both kinds of view work, also after the cell of the first one ran again, and after a reload."""
    with marimo("edit", tmp_path) as address, visitor(chrome) as page:
        page.goto(address)
        views = page.locator(".nbchat")
        expect(page.get_by_text("asked: Seine; sent: Loire")).to_be_visible(timeout=SLOW_MS)
        expect(answer(views.first)).to_contain_text("Loire", timeout=SLOW_MS)
        use(views.first)
        picture(page, "marimo-edit")

        cell = page.locator("[data-testid=cell-editor]", has_text="ChatTabs(registry").locator(
            "xpath=ancestor::*[.//*[@data-testid='run-button']][1]"
        )
        cell.hover()
        cell.get_by_test_id("run-button").first.click()
        # The cells that use its session run again, and ask again.
        expect(views.last.locator("article")).to_have_count(12, timeout=SLOW_MS)
        expect(answer(views.last)).to_have_attribute("data-run-state", "completed", timeout=SLOW_MS)
        use(views.last)
        expect(views.first.locator("article")).to_have_count(16, timeout=SLOW_MS)
        page.reload()
        expect(views).to_have_count(2, timeout=SLOW_MS)
        for view in views.all():
            expect(view.locator("article")).to_have_count(16, timeout=SLOW_MS)
        use(views.first)
        expect(views.last.locator("article")).to_have_count(20, timeout=SLOW_MS)
