"""`Chat`: the chat widget in a notebook, found by role and name as a user finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import NotebookPage

expect.set_options(timeout=30_000)  # generous: the duration depends on the machine


class Chat:
    """The first chat widget of a page."""

    def __init__(self, notebook: NotebookPage) -> None:
        self.notebook = notebook
        self.page = notebook.page

    @property
    def region(self) -> Locator:
        """The widget."""
        return self.page.get_by_role("region", name="Chat sessions").first

    @property
    def tabs(self) -> Locator:
        """All tabs, from left to right."""
        return self.region.get_by_role("tab")

    def tab(self, title: str) -> Locator:
        """Return a session's tab, regardless of its badges."""
        return self.region.get_by_role("tab", name=re.compile(rf"^{re.escape(title)}(?:,|$)"))

    @property
    def box(self) -> Locator:
        """The message box."""
        return self.region.get_by_role("textbox", name="Message")

    @property
    def log(self) -> Locator:
        """The log of the shown session."""
        return self.region.get_by_role("log").first

    def articles(self, who: str) -> Locator:
        """Return the shown messages of `You` or `Assistant`."""
        return self.log.get_by_role("article", name=who)

    @property
    def status(self) -> Locator:
        """The status line."""
        return self.region.get_by_role("status").first

    def button(self, name: str) -> Locator:
        """Return a button by its exact name."""
        return self.region.get_by_role("button", name=name, exact=True)

    def ask(self, text: str) -> None:
        """Type a question, press Enter, and wait until the kernel has received it."""
        self.box.fill(text)
        self.box.press("Enter")
        expect(self.box).to_have_value("")

    def menu(self, item: str) -> None:
        """Choose an item from the menu of the shown session."""
        self.button("Session menu").click()
        role = "menuitemcheckbox" if item in ("Pin", "Show in side view") else "menuitem"
        self.page.get_by_role("menu").get_by_role(role, name=item, exact=True).click()

    def kernel(self, expression: str) -> str:
        """Return the printed value of an expression in the kernel."""
        return self.notebook.execute(f"import nbchat\nprint({expression}, end='')")


DECIDE = """async (card, name) => {
  const button = [...card.querySelectorAll("button")].find((one) => one.textContent === name);
  while (card.isConnected && ["arriving", "asking"].includes(card.dataset.callState)) {
    if (card.dataset.callState === "asking") button.click();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}"""


def decide(card: Locator, button: str) -> None:
    """Press a button of a tool call that asks until it is accepted: presses are ignored at first."""
    card.evaluate(DECIDE, button)


def set_theme(page: Page, theme: str) -> None:
    """Choose one of JupyterLab's themes, and wait until it is applied."""
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)


def sticks_out(root: Locator) -> list[str]:
    """Return the widget's elements that extend beyond its right edge."""
    found: list[str] = root.evaluate("""root => {
      const { right } = root.getBoundingClientRect();
      return [...root.querySelectorAll("button, textarea, .nbchat-composer, article")]
        .filter((e) => e.checkVisibility() && !e.closest("[role=tablist], table, pre"))
        .filter((e) => e.getBoundingClientRect().right > right + 1).map((e) => e.outerHTML.slice(0, 200));
    }""")
    return found


AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"

VIOLATIONS = """async (rules) => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const { violations } = await axe.run(document.querySelector(".nbchat"), { runOnly: tags, rules });
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 300))]);
}"""


def violations(chat: Chat, rules: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the violations that axe finds in the widget's current state."""
    chat.page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[Any] = chat.page.evaluate(VIOLATIONS, rules or {})
    return found
