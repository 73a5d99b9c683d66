"""Several people in one namespace: names of authors, from the identity of a link and never from a client."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import pytest

from nbchat.core.commands import Command, ListModels, Send, Viewing
from nbchat.core.ids import new_id
from nbchat.core.records import checksum
from nbchat.core.secret import Secret
from nbchat.core.values import encode_json
from nbchat.engine.server_choice import ServerChoice
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.session import Session
from nbchat.protocol import PROTOCOL_VERSION, Hello, RunCommand, Typing
from nbchat.providers.scripted import ScriptedProvider
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.messages import Hello as LinkHello
from tests.engines import live
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.served import Served


def link_of(registry: SessionRegistry) -> LinkBackend:
    """Return the link of a registry."""
    backend = registry._backend
    assert isinstance(backend, LinkBackend)
    return backend


def shared_session(served: Served, person: str, server: CountingServer, title: str = "rivers") -> Session:
    """Return a session of the team in a new kernel of a person, who has a key."""
    registry = served.registry(person, "geo")
    engine, _ = served.kernels[-1]
    key = Secret(f"sk-of-{person}")
    engine.loop.call(lambda: ServerChoice(engine.providers).use(server.base_url, key, "count"))
    return registry.get_or_create(title, model="count")


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


def test_runs_with_one_id_are_separate(served: Served, server: CountingServer) -> None:
    """A run whose sender chose the id of another session's run changes neither its key nor its success."""
    mine = shared_session(served, "ada", server)
    first = mine.send("one")
    until(lambda: "one-150 " in first.text)
    queued = mine.send("two")
    theirs = shared_session(served, "bob", server, "lakes")
    send = Send(id=new_id("c-"), session_id=theirs.id, text="three", run_id=queued.id)
    server.free.add("three")
    served.kernels[-1][1].execute(send)
    assert theirs.runs[-1].wait(60).text == answer_to("three")
    server.go()
    assert queued.wait(60).text == answer_to("two")
    keys = dict(zip(server.asked, server.authorizations, strict=True))
    assert keys == {"one": "Bearer sk-of-ada", "three": "Bearer sk-of-bob", "two": "Bearer sk-of-ada"}


def test_a_resumed_question_is_paid_by_its_author(served: Served, server: CountingServer) -> None:
    """A queued question that another person pauses and resumes uses the key of the person who asked."""
    mine, theirs = (shared_session(served, person, server) for person in ("ada", "bob"))
    first = mine.send("one")
    until(lambda: "one-150 " in first.text)
    queued = mine.send("two")
    until(lambda: len(theirs.runs) == 2)
    theirs.runs[1].pause()
    theirs.runs[1].resume()
    server.go()
    assert queued.wait(60).text == answer_to("two")
    assert server.authorizations == ["Bearer sk-of-ada"] * 2


def test_an_object_is_used_for_questions_of_its_owner(served: Served, server: CountingServer) -> None:
    """A provider object in a member's kernel answers, lists models and is forked for this member only."""
    server.go()
    provider = ScriptedProvider("from the object")
    mine = served.registry("ada", "geo").create("rivers", provider=provider)
    theirs = shared_session(served, "bob", server)
    refused = theirs.send("one")
    assert refused.wait(60).state == "failed"
    assert "an object in the kernel of ada" in str(refused.error)
    viewer = Page(link_of(served.registry("eve", "geo")))
    viewer.do(ListModels(id=new_id("c-"), session_id=mine.id))
    until(lambda: viewer.models)
    assert [(one["models"], one["error"]["code"]) for one in viewer.models] == [([], "config_error")]
    assert theirs.fork().ask("two", timeout=60).text == answer_to(server.asked[0])
    assert server.authorizations == ["Bearer sk-of-bob"]
    assert provider.requests == []
    assert mine.fork().ask("three", timeout=60).text == "from the object"
    assert mine.ask("four", timeout=60).text == "from the object"
    assert len(server.asked) == 1


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


@pytest.mark.parametrize("person", ["ada", "bob"])
@pytest.mark.parametrize("change", ["forge", "empty"])
def test_a_snapshot_changes_no_session_of_a_team(served: Served, person: str, change: str) -> None:
    """Restoring a snapshot adds the sessions that a team does not have, and changes and erases no other."""
    ada, sender = served.registry("ada", "geo"), served.registry(person, "geo")
    session = ada.create("rivers", provider=ScriptedProvider("a"))
    session.ask("mine")
    until(lambda: live(session).state.unread)  # the last event of a run
    before = live(session).state
    snapshot = msgspec.json.decode(encode_json(sender.snapshot()))
    (forged,) = snapshot["sessions"]
    added = msgspec.json.decode(encode_json(forged)) | {"id": new_id("s-")}
    forged["clock"] = {"l-forged": 5} | (forged["clock"] if change == "empty" else {})
    if change == "empty":
        forged |= {"messages": [], "runs": [], "selected": {}}
    else:
        forged["messages"][0]["parts"][0]["text"] = "mine, and the rest is forged"
    snapshot["sessions"].append(added)
    for one in snapshot["sessions"]:
        one["crc32"] = checksum(one)
    restored = sender.restore(snapshot)
    assert {one.id for one in restored} == {session.id, added["id"]}
    assert live(session).state == before
    assert authors(sender[added["id"]]) == [("mine", None)]


def test_a_person_restores_their_own_sessions(served: Served) -> None:
    """In a person's own namespace, a snapshot is merged: messages that only it has are added."""
    registry = served.registry("ada")
    session = registry.create("rivers", provider=ScriptedProvider("a"))
    session.ask("one")
    until(lambda: live(session).state.unread)  # the last event of a run
    snapshot = msgspec.json.decode(encode_json(registry.snapshot()))
    (changed,) = snapshot["sessions"]
    changed["clock"] = {"l-elsewhere": 5}
    changed["messages"].append(changed["messages"][0] | {"id": new_id("m-")})
    changed["crc32"] = checksum(changed)
    registry.restore(snapshot)
    assert len(link_of(registry).state(session.id).messages) == 3


class Page:
    """A page of a kernel, which keeps the people, lists of models and acknowledgements that it was sent."""

    def __init__(self, backend: LinkBackend) -> None:
        self.people: list[tuple[str, str, str | None]] = []
        self.models: list[dict[str, Any]] = []
        self.acknowledged: list[str] = []
        self._page = new_id("p-")
        backend.local.to_pages = self._received
        self._backend = backend
        self._epoch = backend.open_pages()
        self.hello()

    def _received(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if content["of"] > 1:
            return
        for message in msgspec.json.decode(buffers[0])["messages"]:
            if message["type"] == "people":
                self.people = [(one["name"], one["role"], one["typing"]) for one in message["people"]]
            elif message["type"] == "models":
                self.models.append(message)
            elif message["type"] == "ack":
                self.acknowledged.append(message["id"])

    def hello(self, page: str = "") -> None:
        """Connect a page."""
        hello = Hello(id="h-1", page=page or self._page, protocol=PROTOCOL_VERSION, version="0")
        self._backend.from_page(msgspec.to_builtins(hello))

    def do(self, command: Command) -> None:
        """Send a command."""
        message = RunCommand(page=self._page, epoch=self._epoch, command=command)
        self._backend.from_page(msgspec.to_builtins(message))

    def view(self, *session_ids: str) -> None:
        """Show sessions, and wait until the service has received this."""
        viewing = Viewing(id=new_id("c-"), session_ids=session_ids)
        self.do(viewing)
        until(lambda: viewing.id in self.acknowledged)

    def type_in(self, session_id: str) -> None:
        """Report that the user is typing."""
        typing = Typing(id="t-1", page=self._page, epoch=self._epoch, session_id=session_id)
        self._backend.from_page(msgspec.to_builtins(typing))


def test_pages_show_who_is_linked(served: Served) -> None:
    """Each page is sent the people of its namespace and their roles; a person goes with the last link."""
    ada = Page(link_of(served.registry("ada", "geo")))
    until(lambda: ada.people == [("ada", "owner", None)])
    bob = Page(link_of(served.registry("bob", "geo")))
    again = link_of(served.registry("bob", "geo"))
    both = [("ada", "owner", None), ("bob", "editor", None)]
    until(lambda: ada.people == bob.people == both)
    alone = Page(link_of(served.registry("eve")))
    until(lambda: alone.people == [("eve", "owner", None)])
    bob.people = []
    bob.hello("p-2")
    until(lambda: bob.people == both)
    bob._backend.leave(restart=True)
    served.registry("eve", "geo")
    until(lambda: ada.people == [*both, ("eve", "viewer", None)])
    assert again._link is not None
    again._left = True  # it does not reconnect, just as a killed kernel does not
    again._link._transport.abort()
    until(lambda: ada.people == [("ada", "owner", None), ("eve", "viewer", None)])


def test_no_link_hides_its_person(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person whose client does not count as a kernel is shown to the others, as each linked person."""
    ada = Page(link_of(served.registry("ada", "geo")))
    monkeypatch.setattr("nbchat.service.address.Hello", partial(LinkHello, is_kernel=False))
    hidden, _ = served.address("eve", "geo").connect()
    until(lambda: ada.people == [("ada", "owner", None), ("eve", "viewer", None)])
    hidden.close()
    until(lambda: ada.people == [("ada", "owner", None)])


def test_a_viewer_marks_no_answer_as_read(served: Served) -> None:
    """An answer that only a viewer sees is unread for the team; one that an editor sees is read."""
    mine = served.registry("ada", "geo").create("rivers", provider=ScriptedProvider("a"))
    editor, viewer = (Page(link_of(served.registry(person, "geo"))) for person in ("bob", "eve"))
    viewer.view(mine.id)
    mine.ask("one")
    until(lambda: live(mine).state.unread)
    viewer.view(mine.id)
    assert live(mine).state.unread
    editor.view(mine.id)
    assert not live(mine).state.unread
    editor.view()
    mine.ask("two")
    until(lambda: live(mine).state.unread)


def test_typing_is_shown_and_stored_nowhere(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are sent the session in which a person who may ask is typing, until that ends; no log has it."""
    registries = [served.registry(person, "geo") for person in ("ada", "bob", "eve")]
    ada, bob, eve = (Page(link_of(registry)) for registry in registries)
    session = registries[0].create("rivers", provider=ScriptedProvider("a"))
    before = link_of(registries[0]).state(session.id)
    eve.type_in(session.id)
    bob.type_in("s-unknown")
    until(lambda: [name for name, _, _ in bob.people] == ["ada", "bob", "eve"])
    ada.type_in(session.id)
    until(lambda: bob.people[0] == ("ada", "owner", session.id))
    assert [typing for _, _, typing in bob.people[1:]] == [None, None]
    ada.type_in("")
    until(lambda: bob.people[0] == ("ada", "owner", None))
    assert link_of(registries[0]).state(session.id) == before
    bob.type_in(session.id)
    until(lambda: ada.people[1] == ("bob", "editor", session.id))
    registries[1]["rivers"].send("sent")
    until(lambda: ada.people[1] == ("bob", "editor", None))
    monkeypatch.setattr("nbchat.service.presence.TYPING_S", 0.01)
    ada.people = []
    bob.type_in(session.id)
    until(lambda: ada.people and ada.people[1] == ("bob", "editor", None))
    assert before.seq < link_of(registries[0]).state(session.id).seq
    snapshot = encode_json(registries[0].snapshot())
    assert b"typing" not in snapshot
    assert b'"people"' not in snapshot
