"""The identity of a notebook, its restored sessions, and its checkpoints. The tests play the pages."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import nbformat
import pytest

from nbchat.core.errors import StoreBusy
from nbchat.core.saved import SavedSession
from nbchat.core.snapshot import parse
from nbchat.engine.engine import Engine
from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.registry import SessionRegistry
from nbchat.jupyter import checkpoints, saved_metadata
from nbchat.jupyter.host import JupyterHost
from nbchat.jupyter.notebook import Notebook
from nbchat.jupyter.notebook_identity import path_of_notebook
from nbchat.protocol import PROTOCOL_VERSION
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.stores import places
from nbchat.wire.server import WireServer
from tests.engines import drain_callbacks, engine_of, live
from tests.hostile import HOSTILE
from tests.waiting import wait_for


class Page:
    """A page on the notebook: it has metadata, sends hello, and writes the checkpoints addressed to it."""

    def __init__(
        self, name: str, metadata: Any = None, *, confirms: bool = True, has_notebook: bool = True
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.version = 0
        self.confirms = confirms and has_notebook
        self.has_notebook = has_notebook
        self.checkpoints = 0
        """Number of checkpoints that were addressed to it."""
        self.saving: list[Mapping[str, Any]] = []
        self.outputs: dict[str, str] = {}
        self.path = ""
        self.wire: WireServer | None = None
        self.epoch = ""

    def connect(self, wire: WireServer) -> None:
        """Send hello and the stored metadata."""
        self.wire = wire
        hello = {"type": "hello", "id": "h", "page": self.name, "protocol": PROTOCOL_VERSION, "version": "x"}
        wire.receive(hello)
        text = json.dumps(self.metadata)
        cut = len(text) // 2
        pieces = (text[:cut], text[cut:]) if self.has_notebook else ()
        for piece, part in enumerate(pieces or ("",)):
            stored = {"type": "stored", "id": "s", "page": self.name, "piece": piece, "text": part}
            wire.receive({**stored, "of": len(pieces), "path": self.path})

    def hear(self, packet: Mapping[str, Any]) -> None:
        """Receive a packet of the kernel."""
        self.epoch = packet["epoch"]
        for message in packet["messages"]:
            if message["type"] == "saving":
                self.saving.append(message)
            mine = message["type"] == "checkpoint" and message["to"] == self.name
            self.checkpoints += mine
            if mine and message["version"] > self.version and self.confirms:
                self.metadata, self.version = message["metadata"], message["version"]
                self.outputs |= {key: b["text/html"] for key, b in message["transcripts"].items()}
                self.tell()

    def tell(self) -> None:
        """Report the page's checkpoint, as after writing one and when the notebook is saved."""
        assert self.wire is not None
        self.wire.receive(
            {
                "type": "want_checkpoint",
                "id": "w",
                "page": self.name,
                "epoch": self.epoch,
                "version": self.version,
                "path": self.path,
            }
        )

    def file_at(self, path: Path) -> Path:
        """Save the notebook at this path."""
        return new_notebook(path, self.metadata)

    def texts(self) -> list[list[str]]:
        """Return the texts of the sessions in the metadata."""
        if self.metadata is None:
            return []
        return [[m.text for m in one.state.path] for one in parse(self.metadata).sessions]


class PlayedHost(JupyterHost):
    """The host of a kernel whose pages are played by the test."""

    def __init__(self, engine: Engine, notebook: Notebook) -> None:
        super().__init__(engine, notebook)
        self.wire: WireServer | None = None
        self.listening: list[Page] = []


def host_of(registry: SessionRegistry) -> Any:
    """Return a kernel's `PlayedHost`."""
    return registry._host


Start = Callable[..., SessionRegistry]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start kernels on a notebook, with pages; each restores at its first use."""
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path / "journals"))
    monkeypatch.setattr(saved_metadata, "PAGE_S", 0.2)
    made: list[SessionRegistry] = []

    def start(path: Path, *pages: Page, journal: bool = True) -> SessionRegistry:
        engine = Engine()
        notebook = Notebook(engine, str(path), journal=journal)
        host = PlayedHost(engine, notebook)
        registry = SessionRegistry(backend=LocalBackend(engine), host=host)
        listening = host.listening
        listening += pages

        def send(_content: object, buffers: list[bytes]) -> None:
            packet = msgspec.json.decode(buffers[0])
            for page in listening:
                page.hear(packet)

        def make_hub() -> Any:
            host.wire = engine.loop.call(WireServer, engine, send, notebook)
            for page in pages:
                threading.Thread(target=page.connect, args=(host.wire,)).start()

        monkeypatch.setattr(host, "hub", make_hub)
        made.append(registry)
        list(registry)
        return registry

    yield start
    for registry in made:
        engine_of(registry).shutdown()


def end(registry: SessionRegistry) -> None:
    """End a kernel as SIGKILL would: data that is not in the journal is lost."""
    registry.save()
    journal = engine_of(registry).journal
    if journal is not None:
        journal.close()
        engine_of(registry).journal = None


def new_notebook(path: Path, metadata: Any = None) -> Path:
    """Write a notebook with nbchat's metadata."""
    notebook = nbformat.v4.new_notebook(metadata={} if metadata is None else {"nbchat": metadata})
    nbformat.write(notebook, path)
    return path


def ask(registry: SessionRegistry, title: str = "geo", text: str = "Which river?") -> None:
    """Ask a question and wait for its answer."""
    registry.get_or_create(title, provider=ScriptedProvider("The Seine.")).ask(text)


def said(registry: SessionRegistry) -> list[list[str]]:
    """Return the texts of the sessions' messages."""
    return [[m.text for m in session.messages] for session in registry.values()]


TALK = [["Which river?", "The Seine."]]


def test_the_page_receives_a_settled_state_and_returns_it(kernel: Start, tmp_path: Path) -> None:
    """Each answer is followed by a checkpoint, which another kernel gets from the page at its start."""
    path = new_notebook(tmp_path / "a.ipynb")
    page = Page("p-1")
    first = kernel(path, page, journal=False)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    nbformat.validate(nbformat.v4.new_notebook(metadata={"nbchat": page.metadata}))

    second = kernel(path, Page("p-2", page.metadata), journal=False)
    assert said(second) == TALK
    assert list(second) == list(first)


def test_a_checkpoint_without_its_transcripts_is_not_taken_for_sent(
    kernel: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the outputs cannot be read, the next request for a checkpoint sends the same state to the page."""
    page = Page("p-1")
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), page, journal=False)
    notebook = registry._host.notebook  # type: ignore[union-attr]
    ask(registry)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    failed = threading.Event()

    async def fails(_page: str) -> Any:
        failed.set()
        raise TimeoutError("the kernel does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(notebook.transcripts, "news", fails)
        registry["geo"].title = "rivers"
        assert failed.wait(30)
    registry.save()
    wait_for(lambda: "rivers" in json.dumps(page.metadata), "a checkpoint")


@pytest.mark.parametrize(
    ("from_server", "from_code", "name"),
    [
        ("/n/a.ipynb", None, "/n/a.ipynb"),
        ("/n/a-jvsc-1f2e.ipynb", "/n/a.ipynb", "/n/a.ipynb"),
        (None, "/n/a.ipynb", "/n/a.ipynb"),
        (None, None, None),
    ],
)
def test_the_name_of_the_notebook_is_that_of_vs_code_or_of_the_server(
    monkeypatch: pytest.MonkeyPatch, from_server: str | None, from_code: str | None, name: str | None
) -> None:
    """In VS Code the name in its variable is used, not the temporary one of the server's session."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if from_server is not None:
        monkeypatch.setenv("JPY_SESSION_NAME", from_server)
    variables = {} if from_code is None else {"__vsc_ipynb_file__": from_code}
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=object(), user_ns=variables))
    assert path_of_notebook() == name


def test_a_notebook_that_was_never_saved_finds_its_journal(kernel: Start, tmp_path: Path) -> None:
    """If page and file have no metadata, the journal is found by the notebook's path."""
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path)
    ask(first)
    end(first)

    assert said(kernel(path)) == TALK
    assert said(kernel(new_notebook(tmp_path / "b.ipynb"))) == []


def test_the_file_is_read_where_no_page_answers(kernel: Start, tmp_path: Path) -> None:
    """Without a page, the saved metadata are read from the file, which is not written."""
    page = Page("p-1")
    first = kernel(tmp_path / "a.ipynb", page, journal=False)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    path = new_notebook(tmp_path / "b.ipynb", page.metadata)
    before = path.read_bytes()

    assert said(kernel(path, journal=False)) == TALK
    assert path.read_bytes() == before


def test_the_file_is_read_at_once_if_the_page_has_no_notebook(
    kernel: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the host gives the page no access to the notebook, as VS Code does, the file is read at once."""
    page = Page("p-1")
    first = kernel(tmp_path / "a.ipynb", page, journal=False)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    path = page.file_at(tmp_path / "b.ipynb")

    monkeypatch.setattr(saved_metadata, "PAGE_S", 600.0)
    monkeypatch.setattr(saved_metadata, "STORED_S", 600.0)
    assert said(kernel(path, Page("p-2", has_notebook=False), journal=False)) == TALK


def test_a_page_that_answers_late_is_merged(kernel: Start, tmp_path: Path) -> None:
    """A page's sessions are merged with those made since, and nothing of either is lost."""
    page = Page("p-1")
    first = kernel(tmp_path / "a.ipynb", page, journal=False)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")

    second = kernel(new_notebook(tmp_path / "b.ipynb"), journal=False)
    ask(second, "other", "hello")
    late = Page("p-2", page.metadata)
    host_of(second).listening.append(late)
    late.connect(host_of(second).wire)

    wait_for(lambda: sorted(said(second)) == sorted([*TALK, ["hello", "The Seine."]]), "the merge")
    wait_for(lambda: len(late.texts()) == 2, "a checkpoint with both")


def test_a_page_that_answers_late_restores_no_deleted_session(kernel: Start, tmp_path: Path) -> None:
    """A session that was deleted before the page answered stays deleted; the page's others are merged."""
    path = new_notebook(tmp_path / "a.ipynb")
    page = Page("p-1")
    first = kernel(path, page)
    ask(first)
    ask(first, "other", "hello")
    wait_for(lambda: len(page.texts()) == 2, "a checkpoint")
    old = page.metadata
    end(first)

    second = kernel(path)
    second["geo"].delete()
    second["other"].send("again").wait(10)
    late = Page("p-2", old)
    host_of(second).listening.append(late)
    late.connect(host_of(second).wire)
    wait_for(lambda: len(late.texts()) == 1, "a checkpoint")
    assert [session.title for session in second.values()] == ["other"]


def test_the_newer_of_journal_and_page_wins(kernel: Start, tmp_path: Path) -> None:
    """A page with an older state does not replace a newer one in the journal."""
    path = new_notebook(tmp_path / "a.ipynb")
    page = Page("p-1")
    first = kernel(path, page)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    old = page.metadata
    ask(first, text="And Lyon?")
    first["geo"].rename("rivers")
    end(first)

    second = kernel(path, Page("p-2", old))
    assert said(second) == [[*TALK[0], "And Lyon?", "The Seine."]]
    assert [session.title for session in second.values()] == ["rivers"]


def test_a_copy_gets_an_identity_of_its_own(kernel: Start, tmp_path: Path) -> None:
    """A copied notebook has the conversation in its own journal, and new messages stay in the copy."""
    page = Page("p-1")
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path, page)
    ask(first)
    first["geo"].instructions = "Be brief."
    wait_for(lambda: "Be brief." in json.dumps(page.metadata), "a checkpoint")
    new_notebook(path, page.metadata)
    end(first)
    copy = Path(shutil.copy(path, tmp_path / "copy.ipynb"))

    second = kernel(copy, Page("p-2", page.metadata))
    assert said(second) == TALK
    assert not second["geo"].from_file  # read from the other journal, which belongs to the same user
    ask(second, text="only here")
    assert host_of(second).notebook.identity.id != host_of(first).notebook.identity.id
    end(second)

    assert said(kernel(path, Page("p-3", page.metadata))) == TALK
    assert len(said(kernel(copy))[0]) == 4


def test_a_copy_beside_its_open_original_is_no_error(
    kernel: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that is opened while the original is in use gets its own journal, and nothing is logged."""
    page = Page("p-1")
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path, page)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    new_notebook(path, page.metadata)
    copy = Path(shutil.copy(path, tmp_path / "a-Copy1.ipynb"))

    second = kernel(copy, Page("p-2", page.metadata))
    assert said(second) == TALK
    assert host_of(second).notebook.identity.id != host_of(first).notebook.identity.id
    assert second.save()
    assert caplog.records == []


def test_a_renamed_notebook_keeps_its_journal(kernel: Start, tmp_path: Path) -> None:
    """A renamed notebook has the same identity and journal."""
    page = Page("p-1")
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path, page)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    new_notebook(path, page.metadata)
    end(first)
    renamed = path.rename(tmp_path / "b.ipynb")

    second = kernel(renamed, Page("p-2", page.metadata))
    assert host_of(second).notebook.identity.id == host_of(first).notebook.identity.id
    assert said(second) == TALK


def test_renamed_under_a_kernel_it_is_the_same_notebook(kernel: Start, tmp_path: Path) -> None:
    """A notebook that is renamed while its kernel runs keeps its identity and its journal."""
    page = Page("p-1")
    page.path = "a.ipynb"
    path = new_notebook(tmp_path / "a.ipynb")
    registry = kernel(path, page)
    ask(registry)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    page.file_at(path)
    identity = page.metadata["notebook_id"]

    page.path = "b.ipynb"
    path.rename(tmp_path / "b.ipynb")
    page.tell()
    wait_for(lambda: page.metadata["place"] == places.digest(str(tmp_path / "b.ipynb")), "the new place")
    assert page.metadata["notebook_id"] == identity
    ask(registry, text="And Lyon?")
    end(registry)
    assert said(kernel(tmp_path / "b.ipynb", Page("p-2", page.metadata))) == [
        [*TALK[0], "And Lyon?", *TALK[0][1:]]
    ]


def test_saved_as_another_it_is_another_notebook(kernel: Start, tmp_path: Path) -> None:
    """After Save As, each of the two files has its own identity, journal and messages."""
    page = Page("p-1")
    page.path = "a.ipynb"
    path = new_notebook(tmp_path / "a.ipynb")
    registry = kernel(path, page)
    ask(registry)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")
    page.file_at(path)
    before = dict(page.metadata)

    (tmp_path / "copies").mkdir()
    page.path = "copies/b.ipynb"
    copy = page.file_at(tmp_path / "copies" / "b.ipynb")
    page.tell()
    wait_for(lambda: page.metadata["notebook_id"] != before["notebook_id"], "an identity of its own")
    ask(registry, text="And Lyon?")
    wait_for(lambda: "And Lyon?" in str(page.metadata), "a checkpoint")
    page.file_at(copy)
    end(registry)

    assert said(kernel(path, Page("p-2", before))) == TALK
    both = said(kernel(copy, Page("p-3", page.metadata)))
    assert both == [[*TALK[0], "And Lyon?", *TALK[0][1:]]]


def test_two_kernels_on_one_notebook_do_not_harm_each_other(kernel: Start, tmp_path: Path) -> None:
    """The second kernel reports that the journal is in use, works in memory, and gets it when it is free."""
    page = Page("p-1")
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path, page)
    ask(first)
    wait_for(lambda: page.texts() == TALK, "a checkpoint")

    other = Page("p-2", page.metadata)
    second = kernel(path, other)
    assert said(second) == TALK
    ask(second, "mine")
    wait_for(lambda: any(m["state"] == "unsaved" for m in other.saving), "the page's warning")
    with pytest.raises(StoreBusy):
        second.save()
    ask(first, "yours")
    end(first)

    wait_for(lambda: other.saving[-1]["state"] == "saved", "the journal", 60)
    wait_for(lambda: {"mine", "yours"} <= {s.title for s in second.values()}, "what the first had", 60)


@pytest.mark.parametrize(
    "metadata",
    [{"format": "nbchat-snapshot", "version": 99, "sessions": []}, {"nonsense": 1}, "x" * 100, [1]],
    ids=["newer", "other", "text", "list"],
)
def test_metadata_that_cannot_be_read_are_not_overwritten(
    kernel: Start, tmp_path: Path, metadata: Any
) -> None:
    """A newer or damaged state is kept; the page gets a warning, and the kernel works."""
    page = Page("p-1", metadata)
    registry = kernel(new_notebook(tmp_path / "a.ipynb", metadata), page)
    ask(registry)
    registry.save()

    wait_for(lambda: page.saving and page.saving[-1]["state"] == "unsaved", "the page's warning")
    assert page.saving[-1]["error"]["code"] in ("snapshot_too_new", "snapshot_corrupt")
    assert page.metadata == metadata


def test_every_damage_of_the_metadata_is_found(kernel: Start, tmp_path: Path) -> None:
    """Cut off or with any bit flipped, metadata are read as far as intact, or neither read nor written."""
    page = Page("p-1")
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), page)
    ask(registry)
    ask(registry, "other")
    wait_for(lambda: page.texts() == TALK * 2, "a checkpoint")
    good = json.dumps(page.metadata)
    whole = parse(good)
    dice = random.Random(5)
    for number in range(1500):
        text = good[: dice.randrange(len(good))]
        if number % 3:
            at = dice.randrange(len(good))
            text = good[:at] + chr(ord(good[at]) ^ 1 << dice.randrange(7)) + good[at + 1 :]
        metadata = saved_metadata.SavedMetadata()
        found = metadata.parse(text)
        if found is None:
            assert metadata.blocked is not None
        elif metadata.blocked is None and found != whole:
            assert found.unreadable  # it is kept complete beside the readable sessions
            assert set(map(repr, found.sessions)) < set(map(repr, whole.sessions))


def test_one_damaged_session_is_carried_along(kernel: Start, tmp_path: Path) -> None:
    """The other sessions are used, and the damaged one is still in the next checkpoint."""
    page = Page("p-1")
    first = kernel(tmp_path / "a.ipynb", page, journal=False)
    ask(first, "a")
    ask(first, "b")
    wait_for(lambda: len(page.texts()) == 2, "a checkpoint")
    damaged = json.loads(json.dumps(page.metadata))
    damaged["sessions"][0]["messages"][0]["parts"][0]["text"] = "tampered"

    other = Page("p-2", damaged)
    second = kernel(tmp_path / "b.ipynb", other, journal=False)
    assert [session.title for session in second.values()] == ["b"]
    ask(second, "b")
    wait_for(lambda: other.version and len(other.texts()[0]) == 4, "a checkpoint")
    assert parse(other.metadata).unreadable == (damaged["sessions"][0],)


def test_only_the_page_where_the_user_acted_writes(kernel: Start, tmp_path: Path) -> None:
    """Checkpoints go to one page; another takes over if that page no longer writes."""
    one, two = Page("p-1"), Page("p-2")
    registry = kernel(tmp_path / "a.ipynb", one, two)
    wire: WireServer = host_of(registry).wire
    wait_for(lambda: len(engine_of(registry).presence.pages) == 2, "two pages")
    ask(registry)
    wait_for(lambda: TALK in (one.texts(), two.texts()), "a checkpoint for one of them")

    def act(page: Page, title: str) -> None:
        command = {"type": "new_session", "id": f"c-{title}", "title": title}
        wire.receive(
            {"type": "run_command", "page": page.name, "epoch": engine_of(registry).epoch, "command": command}
        )

    for page, other, title in ((one, two, "act-1"), (two, one, "act-2"), (one, two, "act-3")):
        act(page, title)
        wait_for(lambda page=page, title=title: title in json.dumps(page.metadata), "a checkpoint")  # type: ignore[misc]
        assert title not in json.dumps(other.metadata)

    one.confirms = False  # closed, without notice
    act(one, "act-4")
    wait_for(lambda: "act-4" in json.dumps(two.metadata), "the other page takes over")
    # A page that saves becomes active and gets the missing checkpoint.
    one.confirms = True
    one.tell()
    wait_for(lambda: "act-4" in json.dumps(one.metadata), "a checkpoint for the one that saves")


def test_the_metadata_have_a_limit(kernel: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit, the oldest content is only in the journal, as a note states; kernels restore all."""
    monkeypatch.setenv("NBCHAT_MAX_METADATA", "65536")
    page = Page("p-1")
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path, page)
    for number in range(6):
        long = first.create(f"t{number}", provider=ScriptedProvider("x" * 20_000))
        long.ask("go")
        long.ask("again")
    wait_for(lambda: len(page.texts()) == 6, "a checkpoint")
    wait_for(lambda: "x" * 20_000 in page.texts()[-1][-1:], "the last answer")

    assert len(msgspec.json.encode(page.metadata)) <= 65536
    assert "is missing is in the journal" in page.metadata["notes"][-1]
    newest = parse(page.metadata).sessions[-1]
    assert newest.state.path[-1].text == "x" * 20_000
    whole = said(first)
    end(first)
    assert said(kernel(path, Page("p-2", page.metadata))) == whole


def test_a_journal_that_opens_late_keeps_messages_missing_from_the_metadata(
    kernel: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that restored shortened metadata adds the older messages when it can open the journal."""
    monkeypatch.setenv("NBCHAT_MAX_METADATA", "65536")
    page = Page("p-1")
    path = new_notebook(tmp_path / "a.ipynb")
    first = kernel(path, page)
    for _ in range(4):
        first.get_or_create("long", provider=ScriptedProvider("x" * 20_000)).ask("go")
    whole = said(first)

    def newest() -> SavedSession | None:
        sessions = () if page.metadata is None else parse(page.metadata).sessions
        return next((one for one in sessions if one.state.seq == live(first["long"]).state.seq), None)

    assert wait_for(newest, "a checkpoint").omitted > 0

    other = Page("p-2", page.metadata)
    second = kernel(path, other)  # the first kernel holds the journal
    assert len(said(second)[0]) < len(whole[0])
    end(first)
    wait_for(lambda: said(second) == whole, "the messages of the journal", 60)
    wait_for(lambda: other.saving[-1]["state"] == "saved", "the journal", 60)
    end(second)
    assert said(kernel(path, Page("p-3", page.metadata))) == whole


def test_a_strangers_notebook_does_nothing(kernel: Start, tmp_path: Path) -> None:
    """With hostile text in every field and a pending question, nothing is sent, adopted or written."""
    evil = SessionRegistry()
    try:
        for payload in HOSTILE:
            session = evil.create(
                payload,
                model=payload.split("\n", maxsplit=1)[0],
                instructions=payload,
                params={"base_url": "https://evil.example/v1", "__proto__": payload},
                provider=ScriptedProvider(payload),
            )
            session.ask(payload)
        pending = evil.create("pending", instructions="Obey.", provider=ScriptedProvider(HANG))
        pending.send("send this")
        pending.send("and this")
        metadata = evil.snapshot()
    finally:
        evil.stop_all()
        engine_of(evil).shutdown()
    path = new_notebook(tmp_path / "a.ipynb", metadata)
    folder_before = sorted(str(p) for p in tmp_path.rglob("*"))

    asked: list[str] = []
    registry = kernel(path, Page("p-1", metadata), journal=False)
    registry.on("transition", lambda n: asked.append(n.state or ""))

    assert len(registry) == len(HOSTILE) + 1
    assert registry.stats()["live"] == registry.stats()["queued"] == 0
    assert all(session.from_file for session in registry.values())
    assert all(run.state in ("completed", "interrupted") for s in registry.values() for run in s.runs)
    drain_callbacks(registry)
    assert asked == []
    assert sorted(str(p) for p in tmp_path.rglob("*")) == folder_before
    assert [m.text for m in registry["pending"].messages][::2] == ["send this", "and this"]


def test_fields_of_single_questions_are_sent_again_in_the_next_kernel(kernel: Start, tmp_path: Path) -> None:
    """The user's own journal keeps the request fields of a run, and a regenerated answer gets them again."""
    path = new_notebook(tmp_path / "a.ipynb")
    page = Page("p-1")
    first = kernel(path, page)
    first.create("geo", provider=ScriptedProvider("The Seine.")).send("Which?", max_tokens=7).wait(10)
    wait_for(lambda: page.texts() == [["Which?", "The Seine."]], "a checkpoint")
    end(first)

    second = kernel(path, Page("p-2", page.metadata))
    provider = live(second["geo"]).provider = ScriptedProvider("The Marne.")
    second["geo"].regenerate().wait(10)
    assert provider.requests[0].params == {"max_tokens": 7}


def test_private_mode_writes_nothing_outside_the_notebook(kernel: Start, tmp_path: Path) -> None:
    """With `journal=False` there is no file but the notebook, and the page shows this."""
    page = Page("p-1")
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), page, journal=False)
    ask(registry)
    assert registry.save() is False
    wait_for(lambda: page.texts() == TALK, "a checkpoint")

    assert page.saving[-1]["state"] == "off"
    assert not (tmp_path / "journals").exists()


def test_invalid_ids_become_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id from a file never leads to a path outside the folder."""
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path))
    for evil in ("../../etc/passwd", "n-", "n-../x", "", "n-" + "a" * 100, None, "N-1"):
        with pytest.raises(ValueError, match="not the id"):
            places.journal(evil)  # type: ignore[arg-type]
    assert places.journal("n-abc") == tmp_path / "n-abc.sqlite"
    assert os.sep not in places.digest("/some/where.ipynb")


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Replace the notebook's outputs: the displayed texts by display id, oldest first."""
    shown: dict[str, list[str]] = {}

    def display(bundle: Mapping[str, str], *, display_id: str, metadata: Any, raw: bool) -> None:
        assert raw
        assert metadata == {"nbchat": {"transcript": display_id}}
        shown.setdefault(display_id, []).append(bundle["text/html"])

    def publish(
        bundle: Mapping[str, str], metadata: Any, *, transient: Mapping[str, str], update: bool
    ) -> None:
        assert update
        display(bundle, display_id=transient["display_id"], metadata=metadata, raw=True)

    shell = SimpleNamespace(display_pub=SimpleNamespace(publish=publish))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", display)
    return shown


def test_readable_outputs_go_to_the_page_that_writes(
    kernel: Start, tmp_path: Path, displays: dict[str, list[str]]
) -> None:
    """The writing page gets the newest text, as does a page that acts later; no display is updated."""
    first, second = Page("p-1"), Page("p-2")
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), first, second)
    host_of(registry).notebook.transcripts.show(None)
    (output,) = displays
    engine_of(registry).presence.last_actor = "p-1"
    ask(registry)
    wait_for(lambda: "The Seine." in first.outputs.get(output, ""), "the text in the first page")
    assert second.outputs == {}

    engine_of(registry).presence.last_actor = "p-2"
    registry.save()
    wait_for(lambda: second.outputs == first.outputs, "the same in the page where the user acts now")
    assert len(displays[output]) == 1


def test_without_a_page_the_display_is_updated(
    kernel: Start, tmp_path: Path, displays: dict[str, list[str]]
) -> None:
    """If no page takes checkpoints, the display of the readable output is updated instead."""
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), journal=False)
    host_of(registry).notebook.transcripts.show(None)
    (output,) = displays
    ask(registry)

    wait_for(lambda: "The Seine." in displays[output][-1], "the text in the display")


def test_a_page_that_takes_nothing_has_nothing(
    kernel: Start, tmp_path: Path, displays: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs sent to a page that has gone are sent again to the next page."""
    monkeypatch.setattr(checkpoints, "ACK_S", 0.1)
    gone, here = Page("p-1", confirms=False), Page("p-2")
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), gone, here)
    host_of(registry).notebook.transcripts.show(None)
    (output,) = displays
    engine_of(registry).presence.last_actor = "p-1"
    ask(registry)

    wait_for(lambda: "The Seine." in here.outputs.get(output, ""), "the text in the page that is there")


def test_a_page_without_the_notebook_gets_no_checkpoint(
    kernel: Start, tmp_path: Path, displays: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the only page has no access to the notebook, as in VS Code, the display is updated instead."""
    monkeypatch.setattr(saved_metadata, "PAGE_S", 600.0)
    monkeypatch.setattr(saved_metadata, "STORED_S", 600.0)
    page = Page("p-1", has_notebook=False)
    registry = kernel(new_notebook(tmp_path / "a.ipynb"), page, journal=False)
    host_of(registry).notebook.transcripts.show(None)
    (output,) = displays
    ask(registry)

    wait_for(lambda: "The Seine." in displays[output][-1], "the text in the display")
    assert page.checkpoints == 0
