"""Fixtures of the browser tests: one shared server and Chromium, and a page and a notebook for each test.

A failed test leaves screenshots of its pages, their consoles and the server's log in `test-artifacts/`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.lab import CHROMIUM_FLAGS, App, NotebookPage, Server, write_notebook
from tests.runner.counting_server import CountingServer
from tools import chromium

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
FAILED = pytest.StashKey[bool]()

LOOKS: Final[Mapping[str, Any]] = {"viewport": {"width": 1280, "height": 900}, "locale": "en-US"}
"""Options of the contexts that notebooks are opened in."""

SUBSHELLS_OFF = {"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}}


class GetServer(Protocol):
    """Returns the running server of an app."""

    def __call__(self, app: App, *, subshells: bool = True) -> Server:
        """Return the server; without `subshells`, the user has disabled them."""
        ...


class OpenNotebook(Protocol):
    """Writes a notebook and opens it; called again with the same `name`, opens a second page on it."""

    def __call__(
        self,
        cells: Sequence[str] = (),
        *,
        app: App = "lab",
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        kernel: str = "python3",
        subshells: bool = True,
    ) -> NotebookPage:
        """Return the page, with its kernel connected; without `subshells`, the user has disabled them."""
        ...


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests in this folder and give them a time limit; tests of other hosts get another mark."""
    here, parents = Path(__file__).parent, item.path.parents
    if here in parents and here / "hosts" not in parents:
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.timeout(400))  # a limit set by the test itself has precedence


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record whether a test failed, for the fixtures that save artifacts."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetServer]:
    """Give the running server of an app, which is started on first use."""
    running: dict[tuple[App, bool], Server] = {}

    def get(app: App, *, subshells: bool = True) -> Server:
        if (app, subshells) not in running:
            settings = {} if subshells else SUBSHELLS_OFF
            running[app, subshells] = Server(tmp_path_factory.mktemp(app), app, settings)
        return running[app, subshells]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(scope="session")
def lab(servers: GetServer) -> Server:
    """Give the JupyterLab server."""
    return servers("lab")


@pytest.fixture(scope="session")
def profile() -> Iterator[BrowserContext]:
    """Give the profile of a headless Chromium, which keeps the files of Jupyter and their compiled code."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            "", executable_path=chromium.find(), headless=True, args=list(CHROMIUM_FLAGS), **LOOKS
        )
        yield context
        context.close()


@pytest.fixture(scope="session")
def chrome(profile: BrowserContext) -> Browser:
    """Give the Chromium, whose new contexts share nothing with its profile."""
    assert profile.browser is not None
    return profile.browser


@pytest.fixture
def notebook(
    servers: GetServer, profile: BrowserContext, chrome: Browser, request: pytest.FixtureRequest
) -> Iterator[OpenNotebook]:
    """Open notebooks; each page has its own cookies and storage, like that of another user.

    The first page of a test is in the profile, whose cache saves a fifth of the time of opening it.
    """
    opened: list[NotebookPage] = []
    slug = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")

    def open_notebook(
        cells: Sequence[str] = (),
        *,
        app: App = "lab",
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        kernel: str = "python3",
        subshells: bool = True,
    ) -> NotebookPage:
        server = servers(app, subshells=subshells)
        path = f"{name or slug}.ipynb"
        if not any(page.path == path for page in opened):
            write_notebook(server.root / path, cells, metadata, kernel)
        context = chrome.new_context(**LOOKS) if opened else profile
        if context is profile:
            forget(profile, server.url)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(20_000)
        opened.append(NotebookPage(server, context.new_page(), path))
        return opened[-1].open()

    yield open_notebook
    try:
        if request.node.stash.get(FAILED, False):
            keep(opened, ARTIFACTS / slug)
    finally:
        for page in opened[1:]:
            page.page.context.close()
        for tab in profile.pages[1:]:
            tab.close()
        for server in {page.server for page in opened}:
            server.end_kernels()


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """Return a server whose answers stop in the middle until `go`."""
    with CountingServer() as made:
        yield made


def forget(profile: BrowserContext, origin: str) -> None:
    """Remove everything but the cache from a profile whose pages are closed, and reset its settings."""
    profile.clear_cookies()
    profile.clear_permissions()
    profile.unroute_all()
    profile.set_offline(False)
    devtools = profile.new_cdp_session(profile.pages[0])
    devtools.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    devtools.detach()


def keep(pages: Sequence[NotebookPage], folder: Path) -> None:
    """Save the artifacts of a failed test."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages, 1):
        page.screenshot(folder / f"page-{number}.png")
        (folder / f"console-{number}.txt").write_text("\n".join(page.console), encoding="utf-8")
        (folder / f"server-{number}.txt").write_text(page.server.log(), encoding="utf-8")
