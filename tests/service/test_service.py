"""A service: equal views, who may do what, secrets, and its end and restart."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from nbchat.batch_engine.request import BatchRequest
from nbchat.core.errors import CommandError
from nbchat.core.events import Settings
from nbchat.core.settings import SettingsPatch
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from nbchat.runner.frames import encode_frame
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.messages import Call
from nbchat.service.storage import SqliteFolder
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.served import Served

CANARY = "sk-canary-0123456789"


def test_two_kernels_of_a_person_are_equal_views(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions, titles and stops of one kernel are seen in the other, and transcripts are equal."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    one, two = served.registry("ada"), served.registry("ada")
    session = one.create("geo", model="count")
    run = session.send("first")
    until(lambda: "first-150 " in two["geo"].runs[0].text)
    two["geo"].title = "rivers"
    until(lambda: session.title == "rivers")
    queued = two["rivers"].send("second")
    until(lambda: len(session.runs) == 2)
    two["rivers"].stop()
    assert run.wait(60).state == "stopped"
    server.go()
    assert queued.wait(60).text == answer_to("second")
    until(lambda: session.messages == two["rivers"].messages and len(session.messages) == 4)
    edited = two["rivers"].edit(session.messages[2], "third")
    assert edited is not None
    assert edited.wait(60).text == answer_to("third")
    until(lambda: session.messages == two["rivers"].messages and session.messages[2].text == "third")


def test_an_answer_survives_its_kernel(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a kernel vanishes in the middle of an answer, the next one has it whole; it is asked once."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    run = served.registry("ada").create("geo", model="count").send("one")
    until(lambda: "one-150 " in run.text)
    engine, backend = served.kernels.pop()
    assert backend._link is not None
    backend._left = True  # it does not reconnect, just as a killed kernel does not
    backend._link._transport.abort()
    engine.shutdown()
    server.go()
    assert served.registry("ada")["geo"].runs[0].wait(60).text == answer_to("one")
    assert server.asked == ["one"]


def test_a_replaced_namespace_sends_no_more_prompts(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process takes over a namespace, its batches end, also in the middle of an answer."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    session = served.registry("ada").create("geo", model="count")
    prompts = ("one", "two", "three")
    settings = Settings(model="count")
    reader = served.kernels[0][1].batches.reader(
        BatchRequest(
            prompts=tuple(enumerate(prompts)), keys=prompts, settings=settings, concurrency=1, attempts=1
        )
    )
    assert reader.open() == 0
    until(lambda: server.asked == ["one"])
    old, session_id = served.namespace("ada"), session.id
    store = SqliteFolder(served.folder / "store").open("person-ada")
    try:
        assert store.claim("l-other", 600.0, after=store.holder())
        served.loop.call(lambda: old.engine.session(session_id).configure(SettingsPatch(title="x")))
        until(lambda: not old.batches.is_busy and not served.service._namespaces._releasing)
        assert server.asked == ["one"]
    finally:
        store.release("l-other")
        store.close()
        reader.close()


@pytest.mark.parametrize("team", [None, "geo"])
def test_keys_are_forgotten_with_the_last_kernel_and_run(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch, team: str | None
) -> None:
    """When a kernel is gone and its last answer has ended, the service has no configuration of it."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    session = served.registry("ada", team).create("geo", model="count")
    session.send("one")
    until(lambda: server.asked == ["one"])
    engine = served.namespace("ada", team).engine
    kernel, backend = served.kernels.pop()
    backend.leave(restart=True)
    kernel.shutdown()
    until(lambda: not served.namespace("ada", team).kernels)
    assert engine.latest is not None
    server.go()
    until(lambda: engine.latest is None and engine.providers is engine._base)
    until(lambda: not (engine._origins or engine._retired or engine._used or engine._secrets))


def test_people_have_separate_sessions(served: Served) -> None:
    """A session of one person is in no other person's namespace, nor in a team's."""
    served.registry("ada").create("mine", provider=ScriptedProvider("a"))
    assert list(served.registry("bob")) == []
    assert list(served.registry("ada", "geo")) == []


def test_namespaces_share_no_cached_answers(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An equal question is sent once in each namespace, and clearing its cache affects no other one."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setattr("nbchat.engine.run_cache.STORE_S", 60)  # the next question finds the answer
    server.go()

    def is_cached(person: str) -> bool:
        run = served.registry(person).create(model="count").send("one", cache=True).wait(60)
        assert run.text == answer_to("one")
        return run.from_cache

    assert [is_cached(person) for person in ("ada", "bob", "ada", "bob")] == [False, False, True, True]
    assert server.asked == ["one", "one"]
    assert served.registry("ada")._backend.clear_cache() == 1
    assert [is_cached(person) for person in ("ada", "bob")] == [False, True]


def test_a_team_shares_cached_answers_of_equal_requests(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a team, values of headers count, keys do not, and another person's credential is needed to ask."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setattr("nbchat.engine.run_cache.STORE_S", 60)  # the next question finds the answer
    server.go()

    def ask(person: str, **headers: str) -> bool:
        with monkeypatch.context() as of_person:
            of_person.setenv("OPENAI_API_KEY", f"sk-of-{person}")
            session = served.registry(person, "geo").create(model="count")
            run = session.send("one", cache=True, params={"extra_headers": headers}).wait(60)
        assert run.text == answer_to("one")
        return run.from_cache

    assert not ask("ada", deployment="blue", token="of ada")
    assert ask("bob", deployment="blue", token="of bob")
    assert not ask("bob", deployment="green", token="of bob")
    assert server.authorizations == ["Bearer sk-of-ada", "Bearer sk-of-bob"]
    owner = served.registry("ada", "geo")
    owner.create("rivers", model="count", params={"extra_headers": {"deployment": "blue", "token": "of ada"}})
    with monkeypatch.context() as in_another_process:
        in_another_process.setattr("nbchat.runner.profile.references", dict)
        run = served.registry("bob", "geo")["rivers"].send("one", cache=True)
        assert run.wait(60).state == "failed"
    assert "credential" in str(run.error)
    assert len(server.asked) == 2


@pytest.mark.parametrize("query", ["?namespace=secret", "?namespace=nothing", "?namespace=", "?other=geo"])
def test_a_foreign_namespace_looks_like_none(served: Served, query: str) -> None:
    """A namespace of others answers as one that does not exist, and as a path that does not exist."""
    bearer = f"Bearer {served.tokens['bob']}"
    assert served.get(f"/link{query}", bearer) == served.get("/nothing", bearer) == (404, "Not Found\n")
    with pytest.raises(CommandError, match="no such namespace"):
        served.address("bob", "secret").connect()


def test_a_path_that_is_no_address_is_not_found(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A path that cannot be split into its parts is answered with 404, and without a traceback in the log."""
    assert served.get("//[x/link", f"Bearer {served.tokens['bob']}") == (404, "Not Found\n")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer nbchat-wrong", "Basic YTpi", "Bearer ä"])
def test_a_wrong_token_is_refused(served: Served, authorization: str | None) -> None:
    """Without a valid token there is no link, and no namespace is revealed."""
    for path in ("/link", "/link?namespace=geo", "/link?namespace=nothing"):
        assert served.get(path, authorization) == (401, "Unauthorized\n")


@pytest.mark.parametrize("origin", ["https://other.example", "null", "http://127.0.0.1"])
def test_a_page_of_a_browser_cannot_open_a_link(served: Served, origin: str) -> None:
    """A request with an origin is refused, and the token is accepted in the header of authorization only."""
    bearer = f"Bearer {served.tokens['ada']}"
    assert served.get("/link", bearer, {"Origin": origin})[0] == 403
    assert served.get("/link", None, {"Cookie": f"token={served.tokens['ada']}"})[0] == 401
    assert served.get(f"/link?token={served.tokens['ada']}")[0] == 401
    assert served.get("/link", bearer)[0] == 101


def test_roles_hold_for_each_command(served: Served) -> None:
    """A viewer reads, an editor also asks and edits, an owner also deletes; a changed role holds at once."""
    owner, editor, viewer = (served.registry(person, "geo") for person in ("ada", "bob", "eve"))
    owner.create("rivers", provider=ScriptedProvider("a")).ask("?")
    assert viewer.get_or_create("rivers").messages[-1].text == "a"
    for change in (
        lambda: viewer["rivers"].send("?"),
        lambda: viewer.create("other"),
        lambda: viewer.get_or_create("other"),
        lambda: viewer.get_or_create("rivers", model="m"),
        lambda: setattr(viewer["rivers"], "title", "lakes"),
        viewer["rivers"].delete,
    ):
        with pytest.raises(CommandError, match="needs the role"):
            change()
    editor["rivers"].title = "lakes"
    until(lambda: owner["lakes"] is not None and viewer["lakes"] is not None)
    with pytest.raises(CommandError, match="needs the role owner"):
        editor["lakes"].delete()
    served.teams.write_text('[geo]\nada = "owner"\nbob = "viewer"\neve = "editor"\n', "utf-8")
    with pytest.raises(CommandError, match="needs the role editor"):
        editor["lakes"].title = "seas"
    viewer["lakes"].title = "oceans"
    owner["oceans"].delete()
    assert list(owner) == []


def test_the_operator_s_functions_are_refused(served: Served) -> None:
    """No kernel can end the service, change its limits or storage, or name a file on its disk."""
    registry = served.registry("ada")
    backend = registry._backend
    assert isinstance(backend, LinkBackend)
    for name, arguments in (
        ("drain", {}),
        ("set_journal", {"on": False}),
        ("forget_batch", {"batch": "../../tokens", "keep_journal": False}),
    ):
        with pytest.raises(CommandError):
            backend._call(name, 30, **arguments)
    with pytest.raises(CommandError, match="operator"):
        registry.limits.live_runs = 1000
    request = {
        "prompts": [(0, "a")],
        "keys": ["k"],
        "settings": {},
        "concurrency": 1,
        "attempts": 1,
        "journal": str(served.folder / "written.jsonl"),
    }
    with pytest.raises(CommandError, match="cannot write to a file"):
        backend._call("start_batch", 30, request=request, view=1)
    assert not (served.folder / "written.jsonl").exists()
    assert served.get("/healthz")[0] == 200


def test_secrets_are_kept_in_memory(
    served: Served,
    server: CountingServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a run uses a key, no file, log or page of the service has it, nor the token of a person."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("nbchat").setLevel(logging.DEBUG)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    run = served.registry("ada").create("geo", model="count").send("one")
    until(lambda: "one-150 " in run.text)
    server.go()
    assert run.wait(60).text == answer_to("one")
    assert server.authorizations == [f"Bearer {CANARY}"]
    shown = caplog.text + served.get("/healthz")[1]
    for secret in (CANARY, *served.tokens.values()):
        assert secret not in shown
        for path in served.folder.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_another_person_s_key_is_not_used(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a team, each question is sent with the key of the person who asked it."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    server.go()
    for person in ("ada", "bob"):
        monkeypatch.setenv("OPENAI_API_KEY", f"sk-of-{person}")
        registry = served.registry(person, "geo")
        answer = registry.get_or_create("rivers", model="count").ask(f"from {person}", timeout=60)
        assert answer.text == answer_to(f"from {person}")
    assert server.authorizations == ["Bearer sk-of-ada", "Bearer sk-of-bob"]


def test_another_person_s_headers_are_not_used(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a team, a credential in a session's params is sent for the person only who set it."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    server.go()
    owner = served.registry("ada", "geo")
    session = owner.create("rivers", model="count", params={"extra_headers": {"X-Team-Key": CANARY}})
    assert session.ask("one", timeout=60).text == answer_to("one")
    assert server.headers[-1]["x-team-key"] == CANARY
    with monkeypatch.context() as in_another_process:
        in_another_process.setattr("nbchat.runner.profile.references", dict)
        run = served.registry("bob", "geo")["rivers"].send("two")
        assert run.wait(60).state == "failed"
        assert "credential" in str(run.error)
    session.ask("three", timeout=60)
    assert server.asked == ["one", "two\n\nthree"]


def test_a_title_is_asked_for_with_the_key_of_the_question(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a team, a title from the model is paid by the person who asked, whoever was linked last."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("NBCHAT_TITLES", "model")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-ada")
    session = served.registry("ada", "geo").create(model="count")
    run = session.send("one")
    until(lambda: "one-150 " in run.text)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-bob")
    served.registry("bob", "geo").create(model="count").send("two")
    until(lambda: len(server.asked) == 2)
    server.go()
    assert run.wait(60).state == "completed"
    until(lambda: len(server.authorizations) == 4)
    assert sorted(server.authorizations) == [f"Bearer sk-of-{name}" for name in ("ada", "ada", "bob", "bob")]
    until(lambda: session.title)


def test_kernels_follow_a_service_that_restarts(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the sessions are restored from the store, and a kernel continues by itself."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    session = served.registry("ada").create("geo", model="count")
    run = session.send("one")
    until(lambda: "one-150 " in run.text)
    served.end()
    served.start()
    assert run.wait(60).state == "interrupted"
    assert run.text.startswith("one-0 ")
    server.go()
    assert session.ask("two", timeout=60).text == answer_to("two")
    assert server.asked == ["one", "two"]


def test_a_service_that_drains_finishes_answers(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it drains, a live answer is completed and saved, new links are refused, and health is 503."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    run = served.registry("ada").create("geo", model="count").send("one")
    until(lambda: "one-150 " in run.text)
    monkeypatch.setattr("nbchat.service.namespaces.DRAIN_S", 600.0)
    draining = served.loop.call(lambda: served.loop.spawn(served.service.drain(), name="drain"))
    until(lambda: served.get("/healthz")[0] == 503)
    assert served.get("/link", f"Bearer {served.tokens['bob']}")[0] == 503
    assert not draining.done()
    server.go()
    until(draining.done)
    served.end()
    served.start()
    assert run.wait(60).text == answer_to("one")


def test_a_revoked_token_ends_its_links(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person whose token is removed from the file, or who leaves the team, loses the link."""
    monkeypatch.setattr("nbchat.service.server.RECHECK_S", 0.05)
    served.registry("ada")
    link = served.kernels[-1][1]._link
    assert link is not None
    (served.folder / "tokens").write_text("", "utf-8")
    until(lambda: link.is_over)
    with pytest.raises(CommandError, match="refuses the token"):
        served.address("ada").connect()


def test_a_revoked_kernel_that_does_not_read_is_ended(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that has stopped reading cannot keep a link that is ended."""
    monkeypatch.setattr("nbchat.service.server.RECHECK_S", 0.05)
    monkeypatch.setattr("nbchat.service.websocket.CLOSE_S", 0.2)
    owner = served.registry("ada").create("geo", provider=ScriptedProvider("a" * 500_000))
    for _ in range(2):
        owner.ask("?")
    connection, _ = served.address("ada").connect()
    for number in range(60):  # its library reads a few replies ahead
        connection.write(encode_frame(Call(id=number, name="state", args={"session_id": owner.id})))
    until(lambda: any(link._transport.waiting > 0 for link in served.namespace("ada")._links))
    (served.folder / "tokens").write_text("", "utf-8")
    until(lambda: not served.namespace("ada")._links)
    connection.abort()
    connection.close()


@pytest.mark.parametrize("connected", range(5))
def test_connections_end_with_the_service(tmp_path: Path, connected: int) -> None:
    """A service that ends closes each connection: linked, silent, or just being made."""
    ready, ended = threading.Event(), threading.Event()
    peers: list[socket.socket] = []

    def connect(port: int) -> None:
        while not ended.is_set():
            peer = socket.socket()
            try:
                peer.connect(("127.0.0.1", port))
            except OSError:
                peer.close()
                return
            peers.append(peer)
            if len(peers) > connected:
                ready.set()

    with Served(tmp_path) as made:
        linked, _ = made.address("ada").connect()
        thread = threading.Thread(target=connect, args=(made.port,))
        thread.start()
        assert ready.wait(30)
    ended.set()
    thread.join(30)
    with pytest.raises(EOFError):
        linked.read(30)
    linked.close()
    for peer in peers:
        peer.settimeout(30)
        with peer, suppress(ConnectionError):
            assert peer.recv(1) == b""


def test_provider_objects_stream_over_the_service(served: Served) -> None:
    """An object of a kernel answers in its session, and its run ends with the kernel."""
    provider = ScriptedProvider("a", PAUSE, "b")
    run = served.registry("ada").create("geo", provider=provider).send("?")
    until(lambda: run.text == "a")
    provider.go()
    assert run.wait(60).text == "ab"
    hanging = served.registry("ada").create("hang", provider=ScriptedProvider("c", HANG)).send("?")
    until(lambda: hanging.text == "c")
    engine, backend = served.kernels.pop()
    backend.leave(restart=False)
    engine.shutdown()
    assert served.registry("ada")["hang"].runs[0].wait(60).state == "interrupted"
