"""`Served`: a host's server on loopback, started from its own environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import ARTIFACTS
from tests.waiting import wait_for
from tools.hosts import python_of
from tools.jupyter_home import environment

START_S = 90.0
"""Seconds that a server may take to start on a busy machine."""
SLOW_MS = 60_000
"""Milliseconds that a page may take on a busy machine."""
expect.set_options(timeout=SLOW_MS)
WORDS = " ".join(f"word{i}" for i in range(400))


@contextmanager
def served(
    name: str,
    home: Path,
    arguments: Sequence[str],
    announced: str,
    variables: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Start `python -m ...` in an environment, and return the first group of `announced` in its output.

    Parameters
    ----------
    name
        The environment.
    home
        The folder of the server, of all that it writes, and of its log.
    arguments
        Those after `python -m`.
    announced
        A regular expression for the address that the server prints.
    variables
        Environment variables, in addition to those that isolate the server.
    """
    log = home / f"{name}.log"
    environ = environment(home, os.environ) | {"HOME": str(home), **(variables or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python_of(name), "-m", *arguments],
            cwd=home,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def found() -> object:
        assert process.poll() is None, log.read_text(errors="replace")
        return re.search(announced, log.read_text(errors="replace"))

    try:
        match = wait_for(found, "the server's start", START_S)
        assert isinstance(match, re.Match)
        yield match[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def visitor(chrome: Browser) -> Iterator[Page]:
    """Give a visitor's page without a network."""
    context = chrome.new_context(viewport={"width": 1280, "height": 1000}, locale="en-US")
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()
    page.route(
        lambda url: not re.match(r"(http|ws)://(127\.0\.0\.1|localhost)[:/]", url),
        lambda route: route.abort(),
    )
    try:
        yield page
    finally:
        context.close()


def ask(view: Locator, text: str) -> None:
    """Type a question and press Enter."""
    box = view.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def answer(view: Locator) -> Locator:
    """Return the last answer."""
    return view.locator("article[data-role=assistant]").last


def use(view: Locator) -> None:
    """Ask a question and see the answer; then ask for a long answer, see it stream, and stop it."""
    ask(view, "Rhône")
    expect(answer(view)).to_contain_text("Rhône", timeout=SLOW_MS)
    expect(answer(view)).to_have_attribute("data-run-state", "completed", timeout=SLOW_MS)
    ask(view, WORDS)
    expect(answer(view)).to_contain_text("word5", timeout=SLOW_MS)
    view.get_by_role("button", name="Stop", exact=True).click()
    expect(answer(view)).to_have_attribute("data-run-state", "stopped", timeout=SLOW_MS)


def picture(page: Page, name: str) -> None:
    """Save a screenshot of the page."""
    page.screenshot(path=ARTIFACTS / "hosts" / f"{name}.png", full_page=True)
