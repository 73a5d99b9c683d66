"""A real JupyterHub with two users, whose kernels share a team's sessions through the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chat import STOPPED, Chat, cell_of, expect_same, half, turn
from tests.browser.conftest import ARTIFACTS, FAILED, keep
from tests.browser.lab import NotebookPage, write_notebook
from tests.runner.counting_server import CountingServer, answer_to
from tools.hub import Hub

USERS = ("ada", "bob")
ROLES = '[geo]\nada = "owner"\n"@students" = "{students}"\n[secret]\nada = "owner"\n'

FOREIGN = """
import nbchat
nbchat.config(runner="{runner}")
nbchat.session("any")
"""

MESSAGES = "import json, nbchat; print(json.dumps([m.text for m in nbchat.session('rivers').messages]))"


class UserServer:
    """The server of one user in a hub, and the browser in which the user is logged in."""

    def __init__(self, hub: Hub, user: str, page: Page) -> None:
        self.hub = hub
        self.user = user
        self.page = page
        self.url = f"{hub.url}/user/{user}"
        self.root = hub.home / user

    def log(self) -> str:
        """Return what the hub and its servers printed."""
        return self.hub.log()

    def address(self, path: str) -> str:
        """Return the URL of a notebook's page."""
        return f"{self.url}/lab/workspaces/{Path(path).stem}/tree/{path}"

    def log_in(self) -> None:
        """Log in on the hub's page, which starts the server, and wait until JupyterLab is shown."""
        self.page.goto(f"{self.hub.url}/hub/login")
        self.page.get_by_label("Username").fill(self.user)
        self.page.get_by_label("Password").fill(self.hub.password)
        self.page.get_by_role("button", name="Sign in").click()
        self.wait_for_lab()

    def wait_for_lab(self) -> None:
        """Wait until JupyterLab is shown."""
        self.page.wait_for_url(lambda url: url.startswith(f"{self.url}/lab"), timeout=120_000)

    def stop(self) -> None:
        """Stop the server on the hub's page, as culling does, and wait until it has ended."""
        self.page.goto(f"{self.hub.url}/hub/home")
        self.page.get_by_role("button", name="Stop My Server").click()
        expect(self.page.get_by_role("button", name="Start My Server")).to_be_visible(timeout=60_000)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub with two users, who are in one team."""
    teams = tmp_path / "teams.toml"
    teams.write_text(ROLES.format(students="editor"), encoding="utf-8")
    home = tmp_path / "hub"
    home.mkdir()
    arguments = ["--LabApp.expose_app_in_browser=True"]
    store, groups = str(tmp_path / "store"), {"students": ["bob"]}
    with Hub(home, USERS, store=store, teams=teams, arguments=arguments, groups=groups) as made:
        yield made


class Team:
    """Two users of a hub, each with a server, a kernel, and a chat of the same sessions."""

    def __init__(self, hub: Hub, chrome: Browser, server: CountingServer) -> None:
        self.pages: list[NotebookPage] = []
        for user, foreign in zip(USERS, ("nothing", "secret"), strict=True):
            context = chrome.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
            context.set_default_timeout(30_000)
            own = UserServer(hub, user, context.new_page())
            runner = f"{hub.service_url}?namespace="
            cells = [
                FOREIGN.format(runner=f"{runner}{foreign}"),
                cell_of(f"{runner}geo", server.base_url, title="rivers"),
            ]
            write_notebook(own.root / "chat.ipynb", cells)
            self.pages.append(NotebookPage(own, own.page, "chat.ipynb"))
        self.ada, self.bob = self.chats = [
            Chat(page, user) for page, user in zip(self.pages, USERS, strict=True)
        ]

    def open(self) -> None:
        """Log both users in and open their notebooks, with a key in each kernel."""
        for page in self.pages:
            page.server.log_in()
        for page in self.pages:
            page.open()
            key = f"sk-canary-of-{page.server.user}"
            page.execute(f"import os; os.environ['OPENAI_API_KEY'] = {key!r}")

    def messages(self) -> list[list[str]]:
        """Return the transcript in each kernel."""
        return [json.loads(page.execute(MESSAGES)) for page in self.pages]


@pytest.fixture
def team(hub: Hub, chrome: Browser, server: CountingServer, request: pytest.FixtureRequest) -> Iterator[Team]:
    """Return two users."""
    made = Team(hub, chrome, server)
    yield made
    try:
        if request.node.stash.get(FAILED, False):
            keep(made.pages, ARTIFACTS / "hub")
    finally:
        for page in made.pages:
            page.page.context.close()


def kept(secret: str, hub: Hub, folder: Path) -> list[str]:
    """Return the places where the service has a secret: files, its environment, and its arguments."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # programs remove files of theirs at any time
            if path.is_file() and secret.encode() in path.read_bytes():
                found.append(str(path))
    for process in psutil.Process(hub.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "runner" in process.cmdline() and secret in f"{process.cmdline()} {process.environ()}":
                found.append(str(process))
    return found


def test_two_users_of_a_hub_share_a_team_s_sessions(
    hub: Hub, team: Team, server: CountingServer, tmp_path: Path
) -> None:
    """Their views are equal, roles hold, other teams are not found, no key is kept, culling loses nothing."""
    team.open()
    for page in team.pages:
        page.run_cell(0)
        assert "no such namespace" in page.text(0)
        page.run_cell(1)

    team.ada.ask("one")
    expect_same(team.chats, half("ada", "one", "streaming"))
    team.bob.button("Stop").click()
    stopped = half("ada", "one", "stopped", STOPPED)
    expect_same(team.chats, stopped)
    server.go()
    team.bob.ask("two")
    before = stopped + turn("bob", "two")
    expect_same(team.chats, before)
    of_ada, of_bob = team.messages()
    assert of_ada == of_bob
    assert of_ada[2:] == ["two", answer_to("two")]
    for page in team.pages:
        page.screenshot(ARTIFACTS / "hub" / f"{page.server.user}.png")

    server.hold()
    team.ada.ask("three")
    expect_same(team.chats, before + half("ada", "three", "streaming"))
    for user in USERS:
        assert kept(f"sk-canary-of-{user}", hub, tmp_path) == []
    team.pages[0].server.stop()
    server.go()
    expect_same([team.bob], before + turn("ada", "three"))
    assert server.asked == ["one", "two", "three"]
    assert server.authorizations == [f"Bearer sk-canary-of-{user}" for user in ("ada", "bob", "ada")]

    with pytest.raises(RuntimeError, match="needs the role owner"):
        team.bob.kernel("nbchat.session('rivers').delete()")
    (tmp_path / "teams.toml").write_text(ROLES.format(students="viewer"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="needs the role editor"):
        team.bob.kernel("nbchat.session('rivers').send('four')")
    team.bob.box.fill("five")
    team.bob.box.press("Enter")
    expect(team.bob.region).to_contain_text("needs the role editor")
    team.pages[1].screenshot(ARTIFACTS / "hub" / "viewer.png")
    assert len(server.asked) == 3
