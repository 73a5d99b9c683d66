"""Several people in one namespace: names of authors, from the identity of a link and never from a client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from nbchat.core.commands import Send
from nbchat.core.ids import new_id
from nbchat.core.records import checksum
from nbchat.core.secret import Secret
from nbchat.core.values import encode_json
from nbchat.engine.server_choice import ServerChoice
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.session import Session
from nbchat.providers.scripted import ScriptedProvider
from nbchat.runner.link_backend import LinkBackend
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.served import Served


def link_of(registry: SessionRegistry) -> LinkBackend:
    """Return the link of a registry."""
    backend = registry._backend
    assert isinstance(backend, LinkBackend)
    return backend


def shared_session(served: Served, person: str, server: CountingServer) -> Session:
    """Return a session of the team in a new kernel of a person, who has a key."""
    registry = served.registry(person, "geo")
    engine, _ = served.kernels[-1]
    key = Secret(f"sk-of-{person}")
    engine.loop.call(lambda: ServerChoice(engine.providers).use(server.base_url, key, "count"))
    return registry.get_or_create("rivers", model="count")


def authors(session: Session) -> list[tuple[str, str | None]]:
    """Return the questions of a session with their authors."""
    return [(message.text, message.author) for message in session.messages if message.role == "user"]


def test_each_question_has_its_author(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions, edits and settings have the name of their link's person; no name is sent to the model."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    server.go()
    ada, bob = served.registry("ada", "geo"), served.registry("bob", "geo")
    mine = ada.create("rivers", model="count")
    mine.ask("one", timeout=60)
    theirs = bob["rivers"]
    theirs.ask("two", timeout=60)
    edited = theirs.edit(theirs.messages[-2], "three")
    assert edited is not None
    edited.wait(60)
    until(lambda: mine.messages == theirs.messages and mine.messages[-1].finish_reason == "stop")
    assert authors(mine) == [("one", "ada"), ("three", "bob")]
    assert {m.author for m in mine.messages if m.role == "assistant"} == {None}
    assert link_of(bob).state(mine.id).settings.changed_by == "ada"
    theirs.instructions = "Answer briefly."
    theirs.pin()
    until(lambda: link_of(ada).state(mine.id).settings.pinned)
    assert link_of(ada).state(mine.id).settings.changed_by == "bob"
    fork = mine.fork()
    assert authors(fork) == authors(mine)
    assert link_of(ada).state(fork.id).settings.changed_by == "ada"
    served.end()
    served.start()
    assert authors(served.registry("ada", "geo")["rivers"]) == [("one", "ada"), ("three", "bob")]
    assert not any(name in body for body in server.bodies for name in ("ada", "bob"))


def test_two_who_send_at_once_are_both_queued(served: Served, server: CountingServer) -> None:
    """Both questions are asked in one order in both kernels, each with its author's name and key."""
    sessions = {person: shared_session(served, person, server) for person in ("ada", "bob")}
    with ThreadPoolExecutor(2) as pool:
        for number in range(3):
            sends = [pool.submit(one.send, f"{person} {number}") for person, one in sessions.items()]
            for sent in sends:
                sent.result(60)
    server.go()
    mine, theirs = sessions.values()
    until(lambda: [str(run.state) for run in mine.runs] == ["completed"] * 6)
    until(lambda: mine.messages == theirs.messages)
    asked = authors(mine)
    assert sorted(asked) == sorted((f"{name} {n}", name) for name in sessions for n in range(3))
    assert server.asked == [text for text, _ in asked]
    assert server.authorizations == [f"Bearer sk-of-{name}" for _, name in asked]


def test_a_queued_question_belongs_to_its_editor(served: Served, server: CountingServer) -> None:
    """A queued question that another person edits has the editor's name, and uses the editor's key."""
    sessions = {person: shared_session(served, person, server) for person in ("ada", "bob")}
    first = sessions["ada"].send("one")
    until(lambda: "one-150 " in first.text)
    queued = sessions["ada"].send("two")
    of_bob = served.kernels[-1][1]
    until(lambda: len(sessions["bob"].runs) == 2)
    (prompt,) = [run.prompt for run in of_bob.state(queued.session_id).runs if run.prompt is not None]
    assert sessions["bob"].edit(prompt.id, "three") is None
    server.go()
    assert queued.wait(60).text == answer_to("three")
    assert authors(sessions["ada"]) == [("one", "ada"), ("three", "bob")]
    assert server.authorizations == ["Bearer sk-of-ada", "Bearer sk-of-bob"]


def test_a_client_cannot_choose_the_author(served: Served) -> None:
    """Names in commands, imported messages and snapshots of a client are ignored."""
    ada, bob = served.registry("ada", "geo"), served.registry("bob", "geo")
    session = ada.create("rivers", provider=ScriptedProvider("a"))
    session.ask("mine")
    send = msgspec.to_builtins(Send(id=new_id("c-"), session_id=session.id, text="forged"))
    forged = send | {"author": "ada", "written_by": "ada", "person": "ada"}
    link_of(bob)._call("execute", 30, command=forged, offered={})
    until(lambda: authors(session) == [("mine", "ada"), ("forged", "bob")])
    session.runs[-1].wait(60)

    new = new_id("s-")
    question = {"id": "m-1", "role": "user", "parts": [], "author": "ada"}
    create = {"type": "create_session", "id": new_id("c-"), "session_id": new, "messages": [question]}
    link_of(bob)._call("execute", 30, command=create, offered={})
    assert [message.author for message in link_of(ada).state(new).messages.values()] == ["bob"]

    saved = encode_json(bob.snapshot()).replace(b'"author":"bob"', b'"author":"ada"')
    restored = msgspec.json.decode(saved)
    for one in restored["sessions"]:
        one["crc32"] = checksum(one)  # a forger computes it too
    bob.restore(restored)
    assert authors(bob["rivers"]) == [("mine", "ada"), ("forged", "bob")]
    session.delete()
    bob.restore(restored)
    assert authors(bob["rivers"]) == [("mine", None), ("forged", None)]
