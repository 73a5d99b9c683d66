"""Bytes of a store for each character of answers: while they are streamed, and after they are folded."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nbchat.core.events import (
    Event,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAnswering,
    RunCompleted,
    RunQueued,
    RunStarted,
    SessionCreated,
    Settings,
)
from nbchat.core.ids import new_id
from nbchat.core.messages import Message, TextPart, Usage
from nbchat.core.saved import SavedSession
from nbchat.core.snapshot import encode_session
from nbchat.core.text import checksum
from nbchat.core.transcript import SessionState, apply_event
from nbchat.engine.journal_events import encode_events
from nbchat.stores.base import MAX_WRITE_IDS, Base, FencedStore, Stretch
from nbchat.stores.redis import RedisStore
from nbchat.stores.sqlite import SqliteStore
from tests.redis_process import RedisProcess

DELTAS = 6
"""Events in a write: an answer of 50 tokens a second has one every 40 ms, and is written every 250 ms."""

DELTA_CHARS = 8
ANSWERS = 20
ANSWER_CHARS = 2_400
"""600 tokens."""

DOCS = Path(__file__).parent.parent / "docs"
TEXT = "".join(
    path.read_text("utf-8") for path in (DOCS / "architecture.md", *sorted(DOCS.glob("howto/*.md")))
)
"""English text with code and tables, longer than the window of the compression."""


def deltas(run_id: str, start: int, count: int, at: float) -> list[PartDelta]:
    """Return events with the text from `start`, at the times of a stream: microseconds, slightly uneven."""
    return [
        PartDelta(
            run_id=run_id,
            at=round(at + n * 0.04 + hash((start, n)) % 1500 / 1e6, 6),
            part_index=0,
            offset=n * DELTA_CHARS,
            text=TEXT[start + n * DELTA_CHARS :][:DELTA_CHARS],
        )
        for n in range(count)
    ]


def answer(number: int) -> Iterator[list[Event]]:
    """Yield the events of each write of an answer."""
    at, start, run_id = 1.8e9 + number * 60 + 0.123457, number * ANSWER_CHARS, new_id("r-")
    text = TEXT[start : start + ANSWER_CHARS]
    prompt = Message(
        id=new_id("m-"), role="user", parts=(TextPart(text="And the next chapter?"),), created_at=at
    )
    message = Message(id=new_id("m-"), role="assistant", created_at=at, parent_id=prompt.id)
    yield [
        RunQueued(run_id=run_id, at=at, kind="send", message_id=message.id, prompt=prompt),
        RunStarted(run_id=run_id, at=at, prompt=prompt, answer=message, model="gpt-4.1-mini"),
        RunAnswering(run_id=run_id, model="gpt-4.1-mini", response_id=new_id("resp-")),
        PartStarted(run_id=run_id, at=at, part_index=0, part=TextPart(text="")),
    ]
    events = deltas(run_id, start, ANSWER_CHARS // DELTA_CHARS, at)
    for first in range(0, len(events), DELTAS):
        yield list(events[first : first + DELTAS])
    yield [
        PartEnded(run_id=run_id, part_index=0, length=len(text), crc32=checksum(text), seconds=12.0),
        RunCompleted(
            run_id=run_id, at=at + 12, finish_reason="stop", usage=Usage(input_tokens=9, output_tokens=600)
        ),
    ]


def write_all(store: FencedStore, token: str, size: Callable[[], int]) -> tuple[int, int]:
    """Write answers to a session; return the bytes of its events, and then those of the folded session."""
    session_id = new_id("s-")
    state = SessionState(id=session_id)
    writes: Sequence[list[Event]] = [
        [SessionCreated(at=1.8e9, settings=Settings(title="chapters"))],
        *(events for number in range(ANSWERS) for events in answer(number)),
    ]
    empty = size()
    for events in writes:
        body = encode_events(events)
        stretch = Stretch(
            session_id=session_id, first_seq=state.seq + 1, count=len(events), epoch=token, body=body
        )
        store.write(token, new_id("w-"), [stretch])
        for event in events:
            state = apply_event(state, event)
    streamed = size() - empty
    saved = SavedSession(state=state, clock={token: state.seq})
    base = Base(session_id=session_id, seq=state.seq, body=encode_session(saved))
    store.write(token, new_id("w-"), [base])
    return streamed, size() - empty


def of_redis() -> tuple[int, int]:
    """Return the sizes in the memory of a server, without the ids of writes, whose number is limited."""
    with RedisProcess() as server, server.client() as client:
        store = RedisStore(server.url, "n-1")
        token = new_id("l-")
        store.claim(token, 60.0)
        sizes = write_all(
            store,
            token,
            lambda: sum(client.memory_usage(key, samples=0) for key in client.scan_iter("nb:{n-1}:s:*")),
        )
        ids = client.memory_usage("nb:{n-1}:writes", samples=0)
        print(f"Redis: {ids / 1024:.0f} KB for the ids of writes of each namespace, while its lease is held")
        store.close()
    return sizes


def of_sqlite() -> tuple[int, int]:
    """Return the sizes of the pages of a file that are in use, without the ids of writes as above."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "n-1.sqlite", shared=True)
        token = new_id("l-")
        store.claim(token, 60.0)

        def size() -> int:
            pages, free, page = (
                store._connected().execute(f"PRAGMA {name}").fetchone()[0]  # noqa: SLF001 - of the open file
                for name in ("page_count", "freelist_count", "page_size")
            )
            return int((pages - free) * page)

        for _ in range(MAX_WRITE_IDS):
            store.write(token, new_id("w-"), [])
        sizes = write_all(store, token, size)
        store.close()
    return sizes


def main() -> None:
    """Print the bytes per character of both stores."""
    characters = ANSWERS * ANSWER_CHARS
    print(f"{ANSWERS} answers of {ANSWER_CHARS:,} characters, {DELTAS} deltas of {DELTA_CHARS} in each write")
    print(f"{'bytes per character':24}{'streaming':>12}{'folded':>10}")
    for name, (streamed, folded) in {"Redis": of_redis(), "SQLite": of_sqlite()}.items():
        print(f"  {name:22}{streamed / characters:12.2f}{folded / characters:10.2f}")


if __name__ == "__main__":
    main()
