"""Time until a change of one person is shown to another: sends, stops and edits in two pages on one service.

Two people, each with a kernel and a page of JupyterLab in Chromium, share a session of a team, and act in
turns. A time starts when a key or the pointer goes down, and ends in each page after the frame that shows the
change. Everything is on one machine, so that the pages have the same clock.
"""

import math
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Locator, sync_playwright

from benchmarks.service import process
from nbchat.service.access import new_token
from tests.browser.chat import Chat, cell_of
from tests.browser.lab import CHROMIUM_FLAGS, NotebookPage, Server, write_notebook
from tools import chromium

PEOPLE: Final = ("ada", "bob")
TEAMS: Final = '[geo]\nada = "owner"\nbob = "editor"\n'
ROUNDS: Final = 20
LIMIT_MS: Final = 300

WATCH: Final = """() => {
  const bench = (window.bench = { pressed: 0, shown: null });
  for (const type of ["keydown", "pointerdown"]) {
    const note = ({ timeStamp }) => { bench.pressed = performance.timeOrigin + timeStamp; };
    document.addEventListener(type, note, { capture: true });
  }
  const region = document.querySelector(".nbchat");
  const last = (name) => [...region.querySelectorAll(`article${name}`)].at(-1);
  // Each returns a function that returns whether the change is shown.
  const changes = {
    "send": (text) => () => last("[data-role=user]")?.innerText.includes(text),
    "send during an answer": (text) => () => region.querySelector(".nbchat-queue")?.innerText.includes(text),
    "stop": () => {
      const answer = last("[data-role=assistant]");
      return () => answer.querySelector(".nbchat-cause").innerText.includes("Stopped.");
    },
    "edit": (text) => () => last("[data-role=user]")?.innerText.includes(text),
  };
  bench.watch = (kind, text) => {
    const isShown = changes[kind](text);
    bench.shown = new Promise((resolve) => {
      const observer = new MutationObserver(() => {
        if (!isShown()) return;
        observer.disconnect();
        // The frame is drawn after its callbacks, and the next task comes after that.
        requestAnimationFrame(() => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => resolve(performance.timeOrigin + performance.now());
          port2.postMessage(null);
        });
      });
      const options = { subtree: true, childList: true, characterData: true, attributes: true };
      observer.observe(region, options);
    });
  };
}"""
"""Defines `bench` in a page: when a key or the pointer went down last, and when a change is shown."""


def figures(times: list[float]) -> str:
    """Return the median, the 95th percentile and the maximum, in milliseconds."""
    ordered = sorted(times)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return "".join(f"{one:8.0f}" for one in (statistics.median(ordered), p95, ordered[-1]))


class Pages:
    """The pages of both people, and the times of their changes."""

    def __init__(self, chats: list[Chat]) -> None:
        self.chats = chats
        for chat in chats:
            chat.page.evaluate(WATCH)
        self.own: dict[str, list[float]] = {}
        """Milliseconds from the press to the change in the same page, by the kind of change."""
        self.other: dict[str, list[float]] = {}
        """Milliseconds from the press to the change in the other person's page."""

    def press(self, kind: str, actor: int, target: Locator, key: str = "", *, text: str = "") -> None:
        """Press a key, or click without one, and wait until both pages show the change."""
        for chat in self.chats:
            chat.page.evaluate("([kind, text]) => bench.watch(kind, text)", [kind, text])
        if key:
            target.press(key)
        else:
            target.click()
        own, other = self.chats[actor].page, self.chats[1 - actor].page
        pressed = own.evaluate("() => bench.pressed")
        for page, times in ((own, self.own), (other, self.other)):
            times.setdefault(kind, []).append(page.evaluate("() => bench.shown") - pressed)

    def send(self, kind: str, actor: int, text: str) -> None:
        """Send a question."""
        box = self.chats[actor].box
        box.fill(text)
        self.press(kind, actor, box, "Enter", text=text)

    def stop(self, actor: int) -> None:
        """Stop the answer as soon as both pages show text of it."""
        for chat in self.chats:
            chat.articles("Assistant").last.locator(".nbchat-body p").first.wait_for()
        self.press("stop", actor, self.chats[actor].button("Stop"))

    def edit(self, actor: int, text: str) -> None:
        """Edit the last question."""
        chat = self.chats[actor]
        chat.log.locator("article[data-role=user]").last.get_by_role("button", name="Edit").click()
        editor = chat.region.get_by_role("textbox", name="Edited text")
        editor.fill(text)
        self.press("edit", actor, editor, "Enter", text=text)

    def round(self, number: int) -> None:
        """Make changes of each kind; the people change places in the next round."""
        one, two = number % 2, 1 - number % 2
        self.send("send", one, f"first {number}")
        self.stop(two)
        self.edit(two, f"edited {number}")
        self.send("send during an answer", one, f"second {number}")
        self.stop(one)
        self.stop(two)


@contextmanager
def pages(folder: Path) -> Iterator[Pages]:
    """Start a service, a Jupyter server and Chromium, and open the page of each person."""
    (folder / "teams").write_text(TEAMS, encoding="utf-8")
    tokens = [new_token(folder / "tokens", person) for person in PEOPLE]
    options = ("--store", f"{folder}/store", "--tokens", f"{folder}/tokens", "--teams", f"{folder}/teams")
    with (
        process("serve", "--port", "0") as (_, models),
        process("runner", "--listen", "127.0.0.1:0", *options) as (_, port),
        Server(folder / "jupyter") as server,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=chromium.find(), args=list(CHROMIUM_FLAGS))
        chats = []
        for person, token in zip(PEOPLE, tokens, strict=True):
            runner, models_url = f"http://127.0.0.1:{port}/?namespace=geo", f"http://127.0.0.1:{models}/v1"
            cell = cell_of(runner, models_url, token=token, model="nbchat-long")
            write_notebook(server.root / f"{person}.ipynb", [cell])
            page = NotebookPage(server, browser.new_context(locale="en-US").new_page(), f"{person}.ipynb")
            page.open().run_cell(0)
            chats.append(Chat(page))
            chats[-1].box.wait_for()
        yield Pages(chats)
        browser.close()


def main() -> None:
    """Print the times of each kind of change."""
    with tempfile.TemporaryDirectory(prefix="nb-") as name, pages(Path(name)) as both:
        both.round(0)
        both.own.clear()  # pages load some of their code at its first use
        both.other.clear()
        for number in range(1, ROUNDS + 1):
            both.round(number)
    print(f"{'ms until it is shown':24}{'in the same page':^24}   {'in the other page':^24}")
    print(f"{'':24}{'p50':>8}{'p95':>8}{'max':>8}   {'p50':>8}{'p95':>8}{'max':>8}   times")
    for kind, own in both.own.items():
        print(f"{kind:24}{figures(own)}   {figures(both.other[kind])}   {len(own):5}")
    print(f"limit in the other page: {LIMIT_MS} ms")


if __name__ == "__main__":
    main()
