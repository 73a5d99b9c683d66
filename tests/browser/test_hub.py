"""A real JupyterHub with two users, whose kernels share a team's sessions through the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chat import Chat
from tests.browser.conftest import ARTIFACTS, FAILED, keep
from tests.browser.lab import NotebookPage, write_notebook
from tests.runner.counting_server import WORDS, CountingServer, answer_to
from tests.waiting import wait_for
from tools.hub import Hub

USERS = ("ada", "bob")
ROLES = '[geo]\nada = "owner"\n"@students" = "{students}"\n[secret]\nada = "owner"\n'

CELL = """
import nbchat
nbchat.config(runner="{runner}", base_url="{url}")
chat = nbchat.ChatTabs()
chat.session("rivers", model="count")
chat
"""

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
def server() -> Iterator[CountingServer]:
    """Return a server whose answers stop in the middle until `go`."""
    with CountingServer() as made:
        yield made


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
                CELL.format(runner=f"{runner}geo", url=server.base_url),
            ]
            write_notebook(own.root / "chat.ipynb", cells)
            self.pages.append(NotebookPage(own, own.page, "chat.ipynb"))
        self.ada, self.bob = self.chats = [Chat(page) for page in self.pages]

    def open(self) -> None:
        """Log both users in and open their notebooks, with a key in each kernel."""
        for page in self.pages:
            page.server.log_in()
        for page in self.pages:
            page.open()
            key = f"sk-canary-of-{page.server.user}"
            page.execute(f"import os; os.environ['OPENAI_API_KEY'] = {key!r}")

    def expect_in_both(self, text: str) -> None:
        """Wait until both show a text in the last answer."""
        for chat in self.chats:
            expect(chat.articles("Assistant").last).to_contain_text(text)

    def expect_status(self, status: str) -> None:
        """Wait until both show a status."""
        for chat in self.chats:
            expect(chat.status).to_have_text(status)

    def is_equal(self) -> bool:
        """Return whether both pages show the same answers."""
        of_ada, of_bob = (chat.articles("Assistant").all_inner_texts() for chat in self.chats)
        return of_ada == of_bob

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
    team.expect_in_both("one-199")
    team.bob.button("Stop").click()
    team.expect_status("stopped")
    server.go()
    team.bob.ask("two")
    team.expect_in_both(f"two-{WORDS - 1}")
    team.expect_status("done")
    wait_for(team.is_equal, "both pages show the same answers")
    of_ada, of_bob = team.messages()
    assert of_ada == of_bob
    assert of_ada[2:] == ["two", answer_to("two")]
    for page in team.pages:
        page.screenshot(ARTIFACTS / "hub" / f"{page.server.user}.png")

    server.hold()
    team.ada.ask("three")
    team.expect_in_both("three-199")
    for user in USERS:
        assert kept(f"sk-canary-of-{user}", hub, tmp_path) == []
    team.pages[0].server.stop()
    server.go()
    expect(team.bob.articles("Assistant").last).to_contain_text(f"three-{WORDS - 1}")
    expect(team.bob.status).to_have_text("done")
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
