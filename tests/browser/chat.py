"""`Chat`: the chat widget in a notebook, found by role and name as a user finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import NotebookPage
from tests.runner.counting_server import WORDS, answer_to
from tests.waiting import wait_for

expect.set_options(timeout=30_000)  # generous: the duration depends on the machine

SHOWN = """region => {
  const text = (element) => (element?.textContent ?? "").replace(/\\s+/g, " ").trim();
  const log = region.querySelector("[role=log]");
  const messages = [...log.querySelectorAll("article")].map((article) => [
    article.getAttribute("aria-label"),
    text(article.querySelector(".nbchat-body")),
    article.dataset.runState ?? "",
    article.querySelector("[role=img][aria-label^=Version]")?.getAttribute("aria-label") ?? "",
    text(article.querySelector(".nbchat-cause p")),
  ]);
  const queue = [...region.querySelectorAll(".nbchat-queue-item")].map((item) => [
    text(item.querySelector(".nbchat-queue-author")) || "You",
    text(item.querySelector(".nbchat-queue-text")),
    "queued",
    "",
    "",
  ]);
  return [...messages, ...queue];
}"""


class Shown(NamedTuple):
    """A message as it is shown in the log, or a question that is shown in the queue."""

    who: str
    """`Assistant`, or the name of the author."""
    text: str
    state: str = ""
    """State of the answer's run; `queued` for a question in the queue."""
    version: str = ""
    """`Version 1 of 2`, if there are several."""
    note: str = ""
    """How the answer ended, if that is described."""


def cell_of(runner: str, base_url: str, *, token: str = "", title: str = "geo", model: str = "count") -> str:
    """Return a cell that shows a session, with the URL of a service or `local` as runner."""
    before = f"import os\nos.environ['NBCHAT_RUNNER_TOKEN'] = {token!r}\n" if token else ""
    return f"""{before}import nbchat
nbchat.config(runner={runner!r}, base_url={base_url!r})
chat = nbchat.ChatTabs()
chat.session({title!r}, model={model!r})
chat
"""


class Chat:
    """The first chat widget of a page.

    Parameters
    ----------
    notebook
        The page.
    user
        The name that other pages show for the user.
    """

    def __init__(self, notebook: NotebookPage, user: str = "You") -> None:
        self.notebook = notebook
        self.page = notebook.page
        self._user = user

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

    def shown(self) -> list[Shown]:
        """Return the messages and the queue as they are shown at this moment."""
        shown = [Shown(*values) for values in self.region.evaluate(SHOWN)]
        return [one._replace(who=self._user) if one.who == "You" else one for one in shown]

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


STOPPED = "Stopped. The text so far is kept."


def turn(who: str, text: str, question: str = "", answer: str = "") -> list[Shown]:
    """Return a question and its whole answer by `CountingServer`, with their versions."""
    return [
        Shown(who, text, version=question),
        Shown("Assistant", answer_to(text).strip(), "completed", answer),
    ]


def half(who: str, text: str, state: str, note: str = "", question: str = "") -> list[Shown]:
    """Return a question and the half of its answer that `CountingServer` sends before it waits."""
    return [
        Shown(who, text, version=question),
        Shown("Assistant", answer_to(text, WORDS // 2).strip(), state, note=note),
    ]


def expect_same(chats: Sequence[Chat], expected: Sequence[Shown]) -> None:
    """Wait until each page shows exactly these messages."""
    for chat in chats:
        _expect_shown(chat, expected)


def _expect_shown(chat: Chat, expected: Sequence[Shown]) -> None:
    shown: list[Shown] = []

    def is_expected() -> bool:
        nonlocal shown
        shown = chat.shown()
        return shown == expected

    with suppress(TimeoutError):
        wait_for(is_expected, "the messages")
    assert shown == expected  # fails with the difference


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
