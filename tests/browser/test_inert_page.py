"""Texts from models in outputs and exports, in JupyterLab and nbconvert: no script runs and nothing loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ARTIFACTS, OpenNotebook
from tests.browser.lab import NotebookPage, wait_for
from tests.hostile import HOSTILE

GOOD = (
    "It costs $5 to $10 per customer.\n\nA formula: $x < y$, and\n\n"
    "$$\n\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix}\n$$\n\n"
    "- in a list:\n\n  ```python\n  if a < b:\n      print('$x$')\n  ```\n"
)
PRICES = "It costs $5 to $10 per customer."

SETUP = f"""%load_ext nbchat
import nbchat
from IPython.display import display
from nbchat.providers.base import ReasoningDelta, ToolCallDelta
from nbchat.providers.scripted import ScriptedProvider
texts = {[GOOD, *HOSTILE]!r}
"""
VIEW = """
chat = nbchat.ChatTabs()
for text in texts:
    call = ToolCallDelta(index=0, id="c", name=text, arguments=text)
    provider = ScriptedProvider(ReasoningDelta(text), text, call)
    session = nbchat.session(text[:60], provider=provider, model=text[:60].splitlines()[0], instructions=text)
    session.ask(text, attachments=[nbchat.FilePart(name=text, text=text)])
good = chat.session("good", provider=ScriptedProvider(texts[0]))
good.ask("And?")
chat
"""
RESULTS = """
for text in texts[{begin}:{end}]:
    session = nbchat.session(provider=ScriptedProvider(text))
    display(session.ask("q"))
    display(session.send("q").wait())
    display(nbchat.session(provider=ScriptedProvider(nbchat.RequestRejected(text))).send("q").wait())
    display(nbchat.map(["q"], provider=ScriptedProvider(text), progress=False)[0])
    session.delete()
"""
MAGIC = """
for text in texts[{begin}:{end}]:
    nbchat.session("magic", provider=ScriptedProvider(text))
    get_ipython().run_cell_magic("chat", "-s magic", "q")
"""
CHUNK = 12
"""Texts in one cell, of which JupyterLab shows 50 outputs."""
CHUNKS = [{"begin": at, "end": at + CHUNK} for at in range(0, 1 + len(HOSTILE), CHUNK)]
CELLS = (SETUP, VIEW, *(code.format(**chunk) for code in (RESULTS, MAGIC) for chunk in CHUNKS))

INTRUDERS = """(root) => [...root.querySelectorAll("*")].filter((element) => {
  if (element.closest("mjx-container, .MathJax, .nbchat")) return false;
  const { position, zIndex } = getComputedStyle(element);
  const attributes = [...element.attributes].filter(({ value }) => value !== "").map(({ name }) => name);
  return ["fixed", "absolute", "sticky"].includes(position) || zIndex !== "auto" ||
    attributes.some((name) => name.startsWith("on") || name === "style" || name === "id") ||
    ["SCRIPT", "IFRAME", "OBJECT", "EMBED", "FORM", "INPUT", "IMG", "SVG", "STYLE"].includes(element.tagName);
}).map((element) => element.outerHTML.slice(0, 300))"""
"""Elements that a model's text must not create in an output."""


class Watch:
    """Records a page's requests, and the dialogs of scripts that ran."""

    def __init__(self, page: Page) -> None:
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def saw_nothing(self) -> None:
        """Assert that no script ran, and that none of the texts caused a request."""
        assert self.dialogs == []
        assert [url for url in self.requests if "evil.example" in url or "q=secret" in url] == []


def outputs_are_inert(page: NotebookPage) -> None:
    """Assert that no text has become markup in the outputs, and that the harmless answer is typeset."""
    for cell in range(1, len(CELLS)):
        output = page.output(cell)
        output.scroll_into_view_if_needed()
        assert output.locator(".jp-RenderedHTML").count() > 0
        assert output.locator(".jp-RenderedMarkdown").count() == 0
        for rendered in output.locator(".jp-RenderedHTML").all():
            assert rendered.evaluate(INTRUDERS) == []
    expect(page.output(2).get_by_text(PRICES).first).to_be_visible()
    good = page.output(2).locator(".jp-RenderedHTML").first
    expect(good.locator("mjx-container")).to_have_count(2)
    expect(good.locator("pre")).to_have_text("if a < b:\n    print('$x$')\n")


def test_no_text_does_anything_in_an_output(notebook: OpenNotebook) -> None:
    """Results, `%%chat` and transcripts are inert: live, after reload, and in an untrusted notebook."""
    page = notebook(CELLS)
    watch = Watch(page.page)
    page.run_all()
    for cell in range(len(CELLS)):
        assert "Traceback" not in page.text(cell), page.text(cell)
    outputs_are_inert(page)
    wait_for(lambda: "And?" in _transcript(page), "the transcript")
    page.save()
    watch.saw_nothing()

    page.reload()
    outputs_are_inert(page)
    watch.saw_nothing()
    assert page.uncaught_errors == []

    # Without the view, the transcript next to it is shown.
    page.evaluate("""(() => {
      const { outputs } = panel.content.model.cells.get(1);
      const isView = (one) => JSON.stringify(one.data ?? {}).includes("widget-view");
      outputs.fromJSON(outputs.toJSON().filter((one) => !isView(one)));
    })()""")
    outputs_are_inert(page)
    expect(page.output(1).get_by_text(PRICES).first).to_be_visible()
    watch.saw_nothing()

    # Another user does not trust the notebook, and that user's JupyterLab sanitizes it again.
    saved = json.loads(page.file.read_text(encoding="utf-8"))
    for cell in saved["cells"]:
        cell["outputs"] = [one for one in cell["outputs"] if "widget-view" not in json.dumps(one)]
    foreign = page.file.with_name("foreign.ipynb")
    foreign.write_text(json.dumps(saved), encoding="utf-8")
    other = NotebookPage(page.server, page.page.context.new_page(), foreign.name)
    watch = Watch(other.page)
    other.open()
    outputs_are_inert(other)
    expect(other.output(1).get_by_text(PRICES).first).to_be_visible()
    watch.saw_nothing()

    # The same for an HTML page that is passed on to others.
    in_a_browser(convert(page.file), page.page.context.browser, "nbconvert")


def convert(file: Path) -> Path:
    """Return the HTML page that nbconvert makes of a notebook."""
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", file.name]
    subprocess.run(command, check=True, capture_output=True, cwd=file.parent)
    return file.with_suffix(".html")


def in_a_browser(file: Path, browser: Browser | None, name: str) -> None:
    """Open a page from disk, without a network, and assert that it is inert and readable."""
    assert browser is not None
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    try:
        page = context.new_page()
        watch = Watch(page)
        page.route(re.compile("^http"), lambda route: route.abort())
        page.goto(file.as_uri())
        for output in page.locator(".jp-RenderedHTML, .jp-RenderedMarkdown, article").all():
            assert output.evaluate(INTRUDERS) == []
        expect(page.get_by_text(PRICES).first).to_be_visible()
        watch.saw_nothing()
        foreign = [url for url in watch.requests if url.startswith("http")]
        assert all(url.startswith("https://cdnjs.cloudflare.com/ajax/libs/") for url in foreign), foreign
        page.screenshot(path=ARTIFACTS / "inert" / f"{name}.png")
    finally:
        context.close()


def _transcript(page: NotebookPage) -> str:
    outputs = page.evaluate("panel.content.model.cells.get(1).outputs.toJSON()")
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)


def test_no_text_does_anything_in_an_export(notebook: OpenNotebook) -> None:
    """An exported page in a browser, a notebook in JupyterLab and nbconvert's output of it are inert."""
    page = notebook(CELLS)
    page.run_cell(0)
    page.run_cell(1)
    folder = page.file.parent
    wait_for(lambda: "And?" in json.dumps(page.metadata()), "the conversations in the metadata")
    page.save()
    for name in ("all.html", "all.ipynb"):
        command = [sys.executable, "-m", "nbchat", "export", page.file.name, "-o", name]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    in_a_browser(folder / "all.html", page.page.context.browser, "export")
    in_a_browser(convert(folder / "all.ipynb"), page.page.context.browser, "notebook-export")

    other = NotebookPage(page.server, page.page.context.new_page(), "all.ipynb")
    watch = Watch(other.page)
    other.open()
    cells = other.page.locator(".jp-MarkdownOutput")
    expect(cells.get_by_text(PRICES).first).to_be_attached()
    for cell in cells.all():
        assert cell.evaluate(INTRUDERS) == []
    watch.saw_nothing()


def test_raw_outputs_of_an_earlier_version_are_replaced(notebook: OpenNotebook) -> None:
    """When a view is shown, raw Markdown of earlier versions becomes plain text, and is saved as such."""
    page = notebook(["import nbchat; chat = nbchat.ChatTabs(); chat", "nbchat.ask('x')", "%%chat\nx"])
    answer = {"text/markdown": "<b>bold</b>", "text/plain": "<Message m-1 assistant, 11 characters>"}
    streamed = {"text/markdown": "<b>bold</b>", "text/plain": "<b>bold</b>"}
    for cell, data in ((1, answer), (2, streamed)):
        page.evaluate(
            "panel.content.model.cells.get(argument[0]).outputs.fromJSON("
            "[{ output_type: 'display_data', metadata: {}, data: argument[1] }])",
            [cell, data],
        )
        expect(page.output(cell).locator(".jp-RenderedMarkdown")).to_be_visible()
    page.run_cell(0)
    for cell in (1, 2):
        expect(page.output(cell).locator(".jp-RenderedMarkdown")).to_have_count(0)
        expect(page.output(cell)).to_have_text("<b>bold</b>")
    page.save()
    assert "text/markdown" not in page.file.read_text(encoding="utf-8")
