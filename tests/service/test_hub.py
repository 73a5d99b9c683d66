"""Tokens of JupyterHub: who is accepted, how often the hub is asked, and a hub that does not answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nbchat.core.errors import CommandError, ConfigError
from nbchat.core.text import distinct_name
from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from nbchat.runner.link_backend import LinkBackend
from nbchat.service.access import AuthorityUnavailable
from nbchat.service.hub import HubAuthority
from nbchat.service.storage import stored_name
from tests.runner.linked import until
from tests.service.served import Served

ACCESS = "access:services!service=nbchat"


def identity(name: str, *scopes: str, kind: str = "user") -> dict[str, Any]:
    """Return the hub's answer about the owner of a token, with the fields of JupyterHub 6."""
    return {
        "kind": kind,
        "name": name,
        "groups": [],
        "session_id": None,
        "token_id": "a1",
        "scopes": [f"read:users:name!user={name}", *scopes],
    }


class FakeHub:
    """The part of a hub's API that identifies the owners of tokens."""

    def __init__(self) -> None:
        self.identities: dict[str, dict[str, Any]] = {}
        """By token."""
        self.status: int | None = None
        """The status of all answers; `None`: as a hub answers."""
        self.body: bytes | None = None
        self.asked: list[str] = []
        """The tokens of all requests."""
        self.was_asked = threading.Event()
        self.held = threading.Event()
        """Answers wait for it."""
        self.held.set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                hub.asked.append(token)
                hub.was_asked.set()
                hub.held.wait()
                found = hub.identities.get(token)
                body = hub.body or json.dumps(found or {"status": 403, "message": "Forbidden"}).encode()
                self.send_response(hub.status or (403 if found is None else 200))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        url = f"http://127.0.0.1:{self._server.server_port}/hub/api"
        self.environment = {"JUPYTERHUB_API_URL": url, "JUPYTERHUB_SERVICE_NAME": "nbchat"}

    def close(self) -> None:
        """End the server."""
        self.held.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def authority(self) -> HubAuthority:
        """Return an authority that asks this hub."""
        return HubAuthority(self.environment)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """Return a hub without tokens."""
    made = FakeHub()
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path, hub: FakeHub) -> Iterator[Served]:
    """Return a service whose people are identified by the hub."""
    with Served(tmp_path, hub.authority) as made:
        hub.identities |= {token: identity(name, ACCESS) for name, token in made.tokens.items()}
        yield made


async def test_a_token_needs_access_to_this_service(hub: FakeHub) -> None:
    """Users with the scope are accepted; others, services, unknown tokens and empty names are not."""
    hub.identities = {
        "of-ada": identity("ada", "users:activity!user=ada", ACCESS),
        "of-admin": identity("root", "access:services"),
        "of-other-service": identity("ada", "access:services!service=grades"),
        "without": identity("ada", "access:servers!server=ada/"),
        "of-service": identity("ada", ACCESS, kind="service"),
        "nameless": identity(" ", ACCESS),
    }
    authority = hub.authority()
    try:
        found = {token: await authority.person(token) for token in [*hub.identities, "unknown"]}
        accepted = {token: name for token, name in found.items() if name is not None}
        assert accepted == {"of-ada": "ada", "of-admin": "root"}
        asked = len(hub.asked)
        assert [await authority.person(token) for token in ("ä", "a\tb")] == [None, None]
        assert len(hub.asked) == asked
    finally:
        await authority.close()


@pytest.mark.parametrize("name", ["José Ñ", "a b", "x:y", "../..", "%2e", "Ada", "ñ" * 255])
def test_users_with_any_name_have_sessions(served: Served, hub: FakeHub, name: str) -> None:
    """A user of the hub with any name has sessions of their own, and is a member of teams by that name."""
    hub.identities[served.tokens["bob"]] = identity(name, ACCESS)
    served.teams.write_text(f'[geo]\nada = "owner"\n"{name}" = "editor"\n', "utf-8")
    served.registry("ada").create("of ada")
    registry = registry_of_bob(served)
    asked = registry.create("mine", provider=ScriptedProvider("a"))
    asked.ask("?")
    assert asked.messages[0].author == distinct_name(name)
    assert distinct_name(name) == name or len(name) == 255
    registry_of_bob(served, "geo").create("rivers")
    assert [one.title for one in served.registry("ada", "geo").values()] == ["rivers"]
    served.end()
    served.start()
    assert [one.title for one in registry_of_bob(served).values()] == ["mine"]
    store = served.folder / "store"
    files = {path.name for path in store.glob("*.sqlite")}
    assert files == {f"{stored_name(f'person-{name}')}.sqlite", "person-ada.sqlite", "team-geo.sqlite"}
    assert files == {path.name for path in served.folder.rglob("*.sqlite")}


def test_a_user_is_not_a_group(served: Served, hub: FakeHub) -> None:
    """A user whose name is written as a group has not the role of the group."""
    hub.identities[served.tokens["bob"]] = identity("@students", ACCESS)
    served.teams.write_text('[geo]\nada = "owner"\n"@students" = "editor"\n', "utf-8")
    registry_of_bob(served).create("mine")
    with pytest.raises(CommandError, match="no such namespace"):
        registry_of_bob(served, "geo")


def registry_of_bob(served: Served, team: str | None = None) -> SessionRegistry:
    """Return a registry in a new kernel with the token of bob, who may have another name in the hub."""
    engine = Engine()
    try:
        backend = LinkBackend(served.address("bob", team), engine)
    except BaseException:
        engine.shutdown()
        raise
    served.kernels.append((engine, backend))
    return SessionRegistry(backend=backend)


async def test_the_hub_is_asked_once_for_many_links(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that open together share one request; a later check of the token is a new one."""
    hub.identities["of-ada"] = identity("ada", ACCESS)
    authority = hub.authority()
    try:
        people = await asyncio.gather(*(authority.person("of-ada") for _ in range(20)))
        assert set(people) == {"ada"}
        assert await authority.person("of-ada") == "ada"
        assert hub.asked == ["of-ada"]
        monkeypatch.setattr("nbchat.service.hub.KEEP_S", 0.0)
        del hub.identities["of-ada"]
        assert await authority.person("of-ada") is None
    finally:
        await authority.close()


@pytest.mark.parametrize(
    ("status", "body"), [(500, None), (404, None), (302, None), (200, b"<html>"), (200, b"{}")]
)
async def test_an_answer_that_identifies_no_one_is_not_kept(
    hub: FakeHub, status: int, body: bytes | None
) -> None:
    """A hub that fails neither accepts nor refuses a token, and its next answer counts."""
    hub.identities["of-ada"] = identity("ada", ACCESS)
    hub.status, hub.body = status, body
    authority = hub.authority()
    try:
        with pytest.raises(AuthorityUnavailable):
            await authority.person("of-ada")
        hub.status = hub.body = None
        assert await authority.person("of-ada") == "ada"
    finally:
        await authority.close()


async def test_the_end_does_not_wait_for_the_hub(hub: FakeHub) -> None:
    """A service that ends cancels its requests to a hub that does not answer."""
    hub.held.clear()
    authority = hub.authority()
    asking = asyncio.create_task(authority.person("of-ada"))
    assert await asyncio.to_thread(hub.was_asked.wait, 60)
    await authority.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_links_outlive_a_hub_that_is_down(
    served: Served, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the hub fails, a link and its answer continue, and new links get a 503 that names the reason."""
    monkeypatch.setattr("nbchat.service.server.RECHECK_S", 0.01)
    monkeypatch.setattr("nbchat.service.hub.KEEP_S", 0.0)
    provider = ScriptedProvider("a", PAUSE, "b")
    run = served.registry("ada").create("geo", provider=provider).send("?")
    until(lambda: run.text == "a")
    hub.status = 500
    asked = len(hub.asked)
    until(lambda: len(hub.asked) > asked + 2)
    status, text = served.get("/link", f"Bearer {served.tokens['bob']}")
    assert status == 503
    assert "JupyterHub does not answer" in text
    with pytest.raises(CommandError, match=r"status 503 \(JupyterHub does not answer"):
        served.address("bob").connect()
    provider.go()
    assert run.wait(60).text == "ab"
    hub.status = None
    assert list(served.registry("bob")) == []


def test_a_token_that_the_hub_revokes_ends_its_links(
    served: Served, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the hub no longer accepts a token, its link ends, and those of others continue."""
    monkeypatch.setattr("nbchat.service.server.RECHECK_S", 0.01)
    monkeypatch.setattr("nbchat.service.hub.KEEP_S", 0.0)
    for person in ("ada", "bob"):
        served.registry(person)
    ada, bob = (backend._link for _, backend in served.kernels)
    assert ada is not None
    assert bob is not None
    del hub.identities[served.tokens["ada"]]
    until(lambda: ada.is_over)
    assert not bob.is_over
    with pytest.raises(CommandError, match="refuses the token"):
        served.address("ada").connect()


def test_groups_of_the_hub_are_members_of_teams(
    served: Served, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user in a group has its role, and loses the link to the team after leaving the group."""
    monkeypatch.setattr("nbchat.service.server.RECHECK_S", 0.01)
    monkeypatch.setattr("nbchat.service.hub.KEEP_S", 0.0)
    served.teams.write_text('[geo]\n"@students" = "viewer"\n', "utf-8")
    bob = hub.identities[served.tokens["bob"]]
    with pytest.raises(CommandError, match="no such namespace"):
        served.address("bob", "geo").connect()
    bob["groups"] = ["students"]
    registry = served.registry("bob", "geo")
    with pytest.raises(CommandError, match="needs the role editor"):
        registry.create("rivers")
    link = served.kernels[-1][1]._link
    assert link is not None
    bob["groups"] = []
    until(lambda: link.is_over)


def test_a_service_of_a_hub_needs_its_address() -> None:
    """Without the address of the hub's API, the error names the variable that has it."""
    for environment in ({}, {"JUPYTERHUB_API_URL": "hub:8081"}):
        with pytest.raises(ConfigError, match="JUPYTERHUB_API_URL"):
            HubAuthority(environment)
