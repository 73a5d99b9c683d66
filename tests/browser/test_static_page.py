"""A notebook that was executed and converted to HTML, opened with the widget manager of such pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import ARTIFACTS
from tools.jupyter_home import environment

CELLS = (
    "import nbchat; chat = nbchat.ChatTabs(); geo = chat.session('geo', model='nbchat-echo'); chat",
    "geo.ask('Which **river** is it?'); geo",
    "import ipywidgets; ipywidgets.IntSlider(value=7)",
)
SERVED: Final[Mapping[str, tuple[str, str]]] = {
    "html-manager": ("@jupyter-widgets/html-manager@1.0.15", "dist/embed-amd.js"),
    "require": ("requirejs@2.3.8", "require.js"),
}
"""By a part of the URL: the npm package and its file that a page loads from a CDN."""
ANYWIDGET = Path(sys.prefix) / "share" / "jupyter" / "nbextensions" / "anywidget" / "index.js"


def fetched(package: str) -> Path:
    """Return the folder with an npm package's files, which is downloaded once for each environment."""
    folder = Path(sys.prefix) / "share" / "nbchat-npm" / package.rsplit("/", 1)[-1]
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}-{os.getpid()}")
        unfinished.mkdir(parents=True)
        npm = shutil.which("npm", path=os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]]))
        assert npm is not None
        subprocess.run([npm, "pack", "--silent", package], check=True, capture_output=True, cwd=unfinished)
        (archive,) = unfinished.glob("*.tgz")
        with tarfile.open(archive) as files:
            files.extractall(unfinished, filter="data")
        try:
            unfinished.rename(folder)
        except OSError:  # another test was faster
            shutil.rmtree(unfinished)
    return folder / "package"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Execute a notebook without a page, convert it to HTML, and return the file."""
    home = tmp_path_factory.mktemp("static")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    environ = environment(home, os.environ) | {"NBCHAT_DEMO_PACE": "0", "HOME": str(home)}
    environ.pop("JPY_SESSION_NAME", None)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        here = {"metadata": {"path": str(home)}}
        NotebookClient(notebook, timeout=60, kernel_name="python3", resources=here).execute()
    file = home / "page.ipynb"
    nbformat.write(notebook, file)
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", file.name]
    subprocess.run(command, check=True, capture_output=True, cwd=home, env=environ)
    return file.with_suffix(".html")


def opened(chrome: Browser, file: Path, *, online: bool) -> Page:
    """Open the page; if `online`, files from a CDN are served from disk."""
    page = chrome.new_context(viewport={"width": 1000, "height": 900}).new_page()

    def serve(route: Route) -> None:
        address = route.request.url
        path = ANYWIDGET if "anywidget" in address else None
        for part, (package, name) in SERVED.items():
            if path is None and part in address:
                path = fetched(package) / name
        if online and path is not None:
            route.fulfill(path=path, content_type="text/javascript")
        else:
            route.abort()

    page.route(lambda url: url.startswith("http"), serve)
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("online", [True, False], ids=["online", "offline"])
def test_a_converted_notebook_shows_the_conversation(
    chrome: Browser, page_file: Path, *, online: bool
) -> None:
    """Both views show only their transcripts; online, other widgets are rendered beside them."""
    page = opened(chrome, page_file, online=online)
    try:
        if online:
            expect(page.locator(".widget-slider, .jupyter-widget-slider")).to_be_visible(timeout=30_000)
            expect(page.locator(".nbchat")).to_have_count(2, timeout=30_000)
        transcripts = page.locator(".jp-OutputArea-child", has=page.locator('a[href="#nbchat-transcript"]'))
        expect(transcripts).to_have_count(2)
        for transcript in transcripts.all():
            expect(transcript).to_be_visible()
            expect(transcript).to_contain_text("Which river is it?")
        for shown in page.locator(".nbchat").all():
            expect(shown).to_be_hidden()
        expect(page.get_by_role("alert")).to_have_count(0)
        name = "online" if online else "offline"
        page.screenshot(path=ARTIFACTS / "hosts" / f"html-{name}.png", full_page=True)
    finally:
        page.context.close()
