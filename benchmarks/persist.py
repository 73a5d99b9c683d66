"""Cost of persistence: a checkpoint, the journal, and saving a notebook that contains chats."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace
from playwright.sync_api import sync_playwright

from nbchat.core.events import MessageAdded, PartDelta, SessionCreated, Settings
from nbchat.core.ids import new_id
from nbchat.core.messages import Message, TextPart
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import dump, encode, parse
from nbchat.core.transcript import SessionState, apply_event
from nbchat.engine.journal_events import encode_events
from nbchat.handles.registry import SessionRegistry
from nbchat.stores.base import Stretch
from nbchat.stores.sqlite import SqliteStore
from tests.browser.lab import CHROMIUM_FLAGS, NotebookPage, Server, write_notebook
from tests.engines import engine_of
from tools import chromium

SESSIONS = 50
CHARACTERS = 20_000_000


def session(number: int, length: int = CHARACTERS // SESSIONS // 100) -> SavedSession:
    """Return one of the sessions: a hundred messages of `length` characters each."""
    state = apply_event(
        SessionState(id=f"s-{number}"), SessionCreated(at=1e9, settings=Settings(title="geo"))
    )
    parent = None
    for turn in range(100):
        message = Message(
            id=f"m-{number}-{turn}",
            role="assistant" if turn % 2 else "user",
            parts=(TextPart(text="The quick brown fox. " * (length // 21)),),
            created_at=1e9 + 100 * number + turn + 0.25,
            parent_id=parent,
        )
        state, parent = apply_event(state, MessageAdded(message=message)), message.id
    return SavedSession(state=state, clock={"k-1": state.seq})


def best_ms(work: Callable[[], object], times: int = 5) -> float:
    """Return the shortest time of several, in milliseconds."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took) * 1000


def checkpoints() -> None:
    """Print the cost of a checkpoint when one session of many has changed."""
    registry = SessionRegistry()
    sessions = [session(number) for number in range(SESSIONS)]
    snapshot = Snapshot(notebook_id="n-1", epoch="k-1", saved_at=1e9, sessions=tuple(sessions))
    body = engine_of(registry).snapshots.encode(snapshot)
    whole = best_ms(lambda: json.dumps(dump(snapshot)), 3)

    def one_changed() -> None:
        state = sessions[7].state
        changed = replace(state, seq=state.seq + 1, settings=replace(state.settings, pinned=True))
        sessions[7] = SavedSession(state=changed, clock={"k-1": changed.seq})
        engine_of(registry).snapshots.encode(replace(snapshot, sessions=tuple(sessions)))

    incremental = best_ms(one_changed)
    print(f"checkpoint, {SESSIONS} sessions, {len(body) / 1e6:.1f} MB")
    print(f"  everything, json.dumps            {whole:8.1f} ms")
    print(f"  one session changed               {incremental:8.1f} ms   {whole / incremental:.0f} times less")


def whole_snapshots() -> None:
    """Print the cost of writing and reading 10,000 messages, and of msgspec with the same JSON values."""
    snapshot = Snapshot(notebook_id="n-1", sessions=tuple(session(number, 780) for number in range(100)))
    body = encode(snapshot)
    values = msgspec.json.decode(body)
    written = best_ms(lambda: msgspec.json.encode(values), 7)
    read = best_ms(lambda: msgspec.json.decode(body), 7)
    rows = {"encode": (best_ms(lambda: encode(snapshot), 7), written)}
    rows["parse"] = (best_ms(lambda: parse(body), 7), read)
    rows["both"] = (rows["encode"][0] + rows["parse"][0], written + read)
    print(f"snapshot of 10,000 messages, {len(body) / 1e6:.1f} MB")
    for name, (took, alone) in rows.items():
        print(f"  {name:32}  {took:8.1f} ms   {took / alone:.1f} times msgspec.json alone, {alone:.1f} ms")
    registry = SessionRegistry()
    engine_of(registry).snapshots.encode(snapshot)
    again = best_ms(lambda: engine_of(registry).snapshots.encode(snapshot), 7)
    print(f"  encode again, nothing changed     {again:8.1f} ms")


def journal() -> None:
    """Print the cost of encoding and writing a thousand deltas, one by one and in batches as in use."""
    deltas = [
        PartDelta(run_id="r-1", at=1e9, part_index=0, offset=i * 32, text="The quick brown fox jumps over. ")
        for i in range(1000)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "n-1.sqlite")

        def written(size: int) -> float:
            at, session_id = 1, new_id("s-")
            start = time.perf_counter()
            for i in range(0, 1000, size):
                chosen = deltas[i : i + size]
                body = encode_events(chosen)
                store.write(
                    [Stretch(session_id=session_id, first_seq=at, count=len(chosen), epoch="k-1", body=body)]
                )
                at += len(chosen)
            return (time.perf_counter() - start) * 1000

        print("journal, 1,000 deltas of 32 characters")
        for size, name in ((1, "one by one"), (6, "as a stream is, every 250 ms"), (100, "in ten batches")):
            print(f"  {name:32}  {min(written(size) for _ in range(5)):8.1f} ms")
        store.close()


ALLOWED = 1_900_000
"""Characters of chats in a notebook's metadata, slightly below the limit of 2 MB."""


def notebook_save() -> None:
    """Print the duration of JupyterLab's save without chats, and with the maximum size of chats."""
    sessions, size = [], 0
    while size < ALLOWED:
        sessions.append(session(len(sessions)))
        size += len(json.dumps(dump(Snapshot(sessions=tuple(sessions[-1:])))))
    chats = dump(Snapshot(notebook_id="n-1", sessions=tuple(sessions)))
    print("notebook save in JupyterLab, from Ctrl-S to the disk")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder), "lab") as server,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=chromium.find(), args=list(CHROMIUM_FLAGS))
        for name, metadata in (("without chats", {}), ("with 2 MB of chats", {"nbchat": chats})):
            path = f"{name.replace(' ', '-')}.ipynb"
            write_notebook(server.root / path, ["1"], metadata)
            page = NotebookPage(server, browser.new_context().new_page(), path).open()
            took = []
            for number in range(5):
                page.evaluate("panel.context.model.setMetadata('bench', argument)", number)
                start = time.perf_counter()
                page.evaluate("panel.context.save()")
                took.append((time.perf_counter() - start) * 1000)
            print(f"  {name:32}  {statistics.median(took):8.1f} ms")
        browser.close()


def main() -> None:
    """Print all figures."""
    checkpoints()
    whole_snapshots()
    journal()
    notebook_save()


if __name__ == "__main__":
    main()
