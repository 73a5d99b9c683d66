"""Snapshots: round trips, checksums, cleaning, and merging without loss."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core import merging
from nbchat.core import snapshot as s
from nbchat.core.errors import ErrorInfo, SnapshotCorrupt, SnapshotError, SnapshotTooLarge, SnapshotTooNew
from nbchat.core.events import MessageAdded, RunQueued, SessionCreated, Settings
from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    Source,
    TextPart,
    ToolCallPart,
    Usage,
)
from nbchat.core.records import checksum
from nbchat.core.recovery import distrusted, in_force, recover, recovered
from nbchat.core.rfc3339 import from_rfc3339, to_rfc3339
from nbchat.core.run import RunRecord, RunState
from nbchat.core.saved import VERSION, SavedSession, Snapshot, Tombstone
from nbchat.core.transcript import ROOT, SessionState, apply_event
from nbchat.core.tree import sound_tree

# Values of a session: text as it is after cleaning, times of this century.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
TIMES = st.floats(1e9, 4e9)
COUNTS = st.none() | st.integers(0, 2**40)
PARTS = st.one_of(
    st.builds(TextPart, text=TEXT),
    st.builds(ReasoningPart, text=TEXT, seconds=st.none() | st.floats(0, 1e6)),
    st.builds(ToolCallPart, call_id=TEXT, name=TEXT, text=TEXT),
    st.builds(ImagePart, text=TEXT, name=TEXT),
    st.builds(FilePart, text=TEXT, name=TEXT),
)
USAGES = st.none() | st.builds(Usage, input_tokens=COUNTS, output_tokens=COUNTS)
ERRORS = st.none() | st.builds(
    ErrorInfo,
    code=st.just("kernel_gone"),
    message=TEXT,
    retryable=st.booleans() | st.floats(0, 99),
    hint=TEXT,
)
AUTHORS = st.just(UNSET) | TEXT
PARAMS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**52), 2**52) | st.floats(-1e6, 1e6) | st.just("0.5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
SETTINGS = st.builds(
    Settings,
    title=TEXT,
    model=st.none() | st.just("m/1"),
    instructions=st.none() | TEXT,
    params=st.dictionaries(st.sampled_from(["temperature", "stop", "x"]), PARAMS, max_size=3),
    pinned=st.booleans(),
    closed=st.booleans(),
    from_file=st.booleans(),
    changed_by=AUTHORS,
)


@st.composite
def sessions(draw: st.DrawFn) -> SavedSession:
    """Draw a session with a tree of messages and with runs."""
    messages: dict[str, Message] = {}
    selected: dict[str, str] = {}
    for number in range(draw(st.integers(0, 4))):
        parent = draw(st.sampled_from([None, *messages])) if messages else None
        key = f"m-{number}"
        messages[key] = Message(
            id=key,
            role=draw(st.sampled_from(["user", "assistant"])),
            parts=tuple(draw(st.lists(PARTS, max_size=2))),
            created_at=draw(TIMES),
            parent_id=parent,
            model=draw(st.none() | TEXT),
            finish_reason=draw(st.none() | st.just("stop")),
            usage=draw(USAGES),
            sources=tuple(draw(st.lists(st.builds(Source, title=TEXT, url=TEXT), max_size=2))),
            notices=tuple(draw(st.lists(TEXT, max_size=1))),
            written_by=draw(AUTHORS),
        )
        selected[parent or ROOT] = key
    runs = tuple(
        RunRecord(
            id=f"r-{number}",
            kind="send",
            state=draw(st.sampled_from(list(RunState))),
            message_id=draw(st.sampled_from([*messages, "m-x"])),
            queued_at=draw(TIMES),
            prompt=draw(
                st.none() | st.builds(Message, id=st.just("p"), role=st.just("user"), created_at=TIMES)
            ),
            retry_at=draw(st.none() | TIMES),
            usage=draw(USAGES),
            error=draw(ERRORS),
            saved=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 2)))
    )
    state = SessionState(
        id=draw(st.sampled_from(["s-1", "s-2", "s-3"])),
        seq=draw(st.integers(0, 2**40)),
        created_at=draw(TIMES),
        settings=draw(SETTINGS),
        thread_id=draw(st.none() | TEXT),
        unread=draw(st.booleans()),
        messages=messages,
        selected=selected,
        runs=runs,
    )
    clock = draw(st.dictionaries(st.sampled_from(["k-1", "k-2"]), st.integers(0, 99)))
    return SavedSession(state=state, clock=clock, omitted=draw(st.integers(0, 3)))


@settings(max_examples=max(settings().max_examples // 3, 1))  # an example is as large as a notebook
@given(
    st.lists(sessions(), max_size=2, unique_by=lambda one: one.state.id),
    TIMES,
    st.lists(st.builds(Tombstone, id=st.just("s-9"), clock=st.just({"k-1": 3}), at=TIMES), max_size=1),
)
def test_there_and_back_is_the_identity(
    chosen: list[SavedSession], at: float, deleted: list[Tombstone]
) -> None:
    """A snapshot written as JSON and read again is equal, for any sessions."""
    before = Snapshot(
        notebook_id="n-1",
        epoch="k-1",
        saved_at=at,
        sessions=tuple(chosen),
        deleted=tuple(deleted),
        notes=("a",),
    )

    assert s.parse(json.dumps(s.dump(before))) == before
    # JavaScript writes whole numbers without a fraction, and does not sort keys.
    assert s.parse(json.loads(json.dumps(s.dump(before)), parse_float=_as_javascript)) == before


def _as_javascript(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def conversation(*texts: str, key: str = "s-1", epoch: str = "k-1") -> SavedSession:
    """Return a session with `texts` as alternating turns of the user and the model."""
    state = apply_event(SessionState(id=key), SessionCreated(at=1e9, settings=Settings(title="geo")))
    parent = None
    for number, text in enumerate(texts):
        message = Message(
            id=f"{key}-{epoch}-{number}",
            role="assistant" if number % 2 else "user",
            parts=(TextPart(text=text),),
            created_at=1e9 + number,
            parent_id=parent,
        )
        state = apply_event(state, MessageAdded(message=message))
        parent = message.id
    return SavedSession(state=state, clock={epoch: state.seq})


def said(saved: SavedSession, text: str, at: float, epoch: str) -> SavedSession:
    """Return the session with one more message, added in another kernel."""
    message = Message(
        id=f"m-{epoch}-{text}",
        role="user",
        parts=(TextPart(text=text),),
        created_at=at,
        parent_id=saved.state.leaf,
    )
    state = apply_event(saved.state, MessageAdded(message=message))
    return replace(saved, state=state, clock={**saved.clock, epoch: state.seq})


def texts(saved: SavedSession) -> list[str]:
    """Return the texts of the transcript."""
    return [message.text for message in saved.state.path]


def snapshot_of(*saved: SavedSession) -> Snapshot:
    """Return a snapshot of sessions."""
    return Snapshot(notebook_id="n-1", epoch="k-1", saved_at=1e9, sessions=saved)


def test_every_flipped_bit_is_detected() -> None:
    """A snapshot with a flipped bit is refused, or read with a note and without the damaged session."""
    before = snapshot_of(conversation("Which river?", "The Seine."), conversation("a", "b", key="s-2"))
    text = json.dumps(s.dump(before)).encode()
    dice = random.Random(7)
    for _ in range(1000):
        flipped = bytearray(text)
        flipped[dice.randrange(len(text))] ^= 1 << dice.randrange(8)
        try:
            after = s.parse(bytes(flipped))
        except SnapshotError:
            continue
        if after == before:  # one kind of white space became another
            continue
        assert after.notes
        assert after.unreadable
        assert len(after.sessions) < 2
        assert all(saved in before.sessions for saved in after.sessions)


def test_every_truncation_is_detected() -> None:
    """A snapshot that is truncated anywhere is refused."""
    text = json.dumps(s.dump(snapshot_of(conversation("Which river?", "The Seine."))))
    for length in range(len(text)):
        with pytest.raises(SnapshotCorrupt):
            s.parse(text[:length])


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, "x", [], {}, b"\xff\xfe", "NaN", "[1,]", '{"a":', "{'a': 1}", "\ufeff{}"),
        {"format": "nbchat-snapshot", "version": "1"},
        {"format": "nbchat-snapshot", "version": True},
        {"format": "nbchat-snapshot", "version": 0},
        {"format": "nbchat-snapshot", "version": 1, "sessions": {}},
        {"format": "nbchat-snapshot", "version": 1, "sessions": [], "saved_at": "yesterday", "crc32": 0},
    ],
)
def test_other_values_are_refused_as_snapshots(value: Any) -> None:
    """Any other value raises `SnapshotCorrupt`."""
    with pytest.raises(SnapshotCorrupt):
        s.parse(value)


GOOD = s.dump(snapshot_of(conversation("a", "b")))


@given(
    st.sampled_from([*GOOD, *GOOD["sessions"][0]]),
    PARAMS | TEXT | st.dictionaries(st.sampled_from([*GOOD["sessions"][0]]), PARAMS | TEXT),
)
def test_wrong_types_everywhere(name: str, value: Any) -> None:
    """Values of wrong types, even with correct checksums, raise `SnapshotError` only."""
    head = {key: item for key, item in GOOD.items() if key != "sessions"}
    record = dict(GOOD["sessions"][0])
    (head if name in head else record)[name] = value
    record["crc32"] = checksum(record)
    head["crc32"] = checksum(head)
    wholes = ({**head, "sessions": [record]}, {**head, "sessions": value}, {**GOOD, "sessions": [value]})
    for data in wholes:
        try:
            assert s.parse(data).version == VERSION
        except SnapshotError:
            continue


def test_too_new_and_too_large_have_errors_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer version and a text that is too large or too deep raise errors of their own."""
    with pytest.raises(SnapshotTooNew, match="version 99"):
        s.parse({"format": s.FORMAT, "version": 99})
    with pytest.raises(SnapshotTooLarge):
        s.parse("[" * 200_000 + "]" * 200_000)
    monkeypatch.setattr(s, "MAX_BYTES", 10)
    with pytest.raises(SnapshotTooLarge):
        s.parse("[1,2,3,4,5,6]")


def test_written_snapshots_are_clean() -> None:
    """A snapshot contains no lone surrogates, NUL, NaN, huge numbers or credentials."""
    state = SessionState(
        id="s-1",
        settings=Settings(
            title="a\ud800b\0",
            params={
                "temperature": float("nan"),
                "seed": 2**60,
                "extra_headers": {"Authorization": "Bearer abcdefghijk"},
                "api_key": "abc",
                "note": "my key is sk-abcdefghijklmnop",
            },
        ),
        messages={
            "m": Message(id="m", role="user", parts=(TextPart(text="\udfff"),), created_at=float("inf"))
        },
    )

    text = json.dumps(s.dump(snapshot_of(SavedSession(state=state))), ensure_ascii=False, allow_nan=False)

    text.encode()  # no lone surrogate is left
    assert "\0" not in text
    assert "sk-abc" not in text
    assert "abcdefghijk" not in text
    after = s.parse(text).sessions[0].state
    assert after.settings.title == "a\ufffdb\ufffd"
    assert after.settings.params == {
        "temperature": None,
        "seed": None,
        "extra_headers": {},
        "note": "my key is [redacted]",
    }


def test_every_released_version_is_read() -> None:
    """A file of each released version is read with its content and without notes."""
    for path in sorted((Path(__file__).parent / "snapshots").glob("v*.json")):
        read = s.parse(path.read_bytes())
        assert read.notes == ()
        assert [texts(saved) for saved in read.sessions] == [["Which rivers cross Paris?", "The Seine."]]
        assert read.sessions[0].state.runs[0].state is RunState.COMPLETED


def test_a_frozen_file_is_written_the_same() -> None:
    """A file of an earlier release, with numbers such as `1e-07`, is read and written unchanged."""
    text = (Path(__file__).parent / "snapshots" / "numbers.json").read_text("utf-8")
    read = s.parse(text)

    assert (len(read.sessions), read.unreadable) == (2, ())
    assert s.dump(read) == json.loads(text)
    assert s.parse(s.encode(read)) == read


@pytest.mark.parametrize("old", ['"tiny": 5e-324', '"negative": -2.5e-10', '"small": 1e-05', "1e-06"])
def test_a_changed_number_is_detected(old: str) -> None:
    """The checksum detects changes in numbers that encoders write in different ways."""
    text = (Path(__file__).parent / "snapshots" / "numbers.json").read_text("utf-8")
    assert old in text

    read = s.parse(text.replace(old, old.replace("e-", "e-1")))

    assert read.sessions == ()
    assert len(read.unreadable) == 2


def test_the_newer_of_two_wins() -> None:
    """Of two states of one history the more recent one is taken, in either order."""
    older = conversation("a", "b")
    newer = said(older, "c", 2e9, "k-2")
    assert merging.merge(older, newer) == merging.merge(newer, older) == newer
    assert merging.merge(older, older) is older


def test_histories_that_went_apart_are_joined() -> None:
    """Merging two diverged copies keeps all messages, and shows the latest transcript."""
    common = conversation("a", "b")
    left, right = said(common, "left", 1.5e9, "k-2"), said(common, "right", 2e9, "k-3")

    joined = merging.merge(left, right)

    assert joined == merging.merge(right, left)
    assert texts(joined) == ["a", "b", "right"]
    assert [m.text for m in joined.state.versions("m-k-3-right")] == ["right", "left"]
    assert merging.includes(joined.clock, left.clock)
    assert merging.includes(joined.clock, right.clock)
    assert joined.state.seq > max(left.state.seq, right.state.seq)
    assert merging.merge(joined, left) == joined


def test_a_deletion_wins_over_older_states() -> None:
    """A deletion removes older copies, but not one that was continued elsewhere."""
    old = conversation("a", "b")
    newer = said(old, "c", 2e9, "k-2")
    stone = Tombstone(id="s-1", clock=old.clock, at=1e9)
    deleted = Snapshot(deleted=(stone,))

    assert merging.merge_all(snapshot_of(old), deleted) == ({}, {"s-1": stone})
    assert merging.merge_all(snapshot_of(newer), deleted) == ({"s-1": newer}, {})


def test_a_window_keeps_the_newest_and_counts_the_omitted() -> None:
    """Under a limit the oldest messages are omitted, and restored from a state that has them."""
    whole = conversation(*(f"{i} " + "x" * 1000 for i in range(20)))

    shorter = merging.window(whole, 5000)

    assert texts(shorter) == texts(whole)[-3:]
    assert shorter.omitted == 17
    again = s.parse(json.dumps(s.dump(snapshot_of(shorter)))).sessions[0]
    assert again == shorter
    newer = said(again, "more", 2e9, "k-2")
    assert texts(merging.merge(newer, whole)) == [*texts(whole), "more"]
    assert merging.merge(newer, whole).omitted == 0
    assert merging.merge(again, whole).omitted == 0


def test_trees_are_made_sound() -> None:
    """Cycles, missing or late parents and wrong selections are repaired to a valid tree."""
    a = Message(id="a", role="user", parent_id="b")
    b = Message(id="b", role="assistant", parent_id="a")
    c = Message(id="c", role="user", parent_id="gone")
    late = Message(id="d", role="assistant", parent_id="e")
    e = Message(id="e", role="user", parent_id="b")
    state = SessionState(
        id="s",
        messages={m.id: m for m in (a, b, c, late, e)},
        selected={ROOT: "a", "a": "b", "b": "a", "x": "y"},
    )

    sound = sound_tree(state)

    assert set(sound.messages) == {"a", "b", "c", "d", "e"}
    seen: set[str] = set()
    for message in sound.messages.values():
        assert message.parent_id is None or message.parent_id in seen or message.parent_id == "gone"
        seen.add(message.id)
    assert [m.id for m in sound.path] == ["a", "b", "e", "d"]
    assert sound_tree(sound) == sound


def test_a_live_run_of_a_dead_kernel_is_interrupted() -> None:
    """Live runs of a dead kernel are interrupted with their text, and queued prompts stay visible."""
    state = conversation("a", "b").state
    for number in (1, 2):
        prompt = Message(id=f"p-{number}", role="user", parts=(TextPart(text=f"q{number}"),), created_at=1e9)
        state = apply_event(
            state,
            RunQueued(run_id=f"r-{number}", at=1e9, kind="send", message_id=f"a-{number}", prompt=prompt),
        )

    after = recovered(state, 2e9)

    assert [run.state for run in after.runs] == [RunState.INTERRUPTED] * 2
    assert [run.error.code for run in after.runs if run.error] == ["kernel_gone"] * 2
    assert [m.text for m in after.path] == ["a", "b", "q1", "", "q2", ""]
    assert list(recover(after, 2e9)) == []


def test_settings_from_a_file_wait_for_the_user() -> None:
    """Settings from a file that the user's own records lack are marked, and not in force."""
    chosen = Settings(title="geo", model="m", instructions="Obey me.", params={"temperature": 2})

    assert distrusted(chosen, None).from_file
    assert distrusted(chosen, replace(chosen, model="other")).from_file
    assert not distrusted(chosen, chosen).from_file
    assert not distrusted(Settings(title="geo", pinned=True), None).from_file
    assert in_force(distrusted(chosen, None)) == Settings(title="geo", from_file=True)
    assert in_force(chosen) is chosen


@given(st.floats(1e9, 4e9))
def test_times_come_back_exactly(seconds: float) -> None:
    """A time written as text is read as the same number."""
    assert from_rfc3339(to_rfc3339(seconds)) == seconds


def test_times_are_readable() -> None:
    """Times are written in RFC 3339."""
    assert to_rfc3339(0.0) == "1970-01-01T00:00:00Z"
    assert to_rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.25Z"


def test_merged_runs_keep_the_order_of_their_logs() -> None:
    """Merged runs keep the order of each copy's log, whatever their times."""

    def saved(epoch: str, *runs: tuple[str, float]) -> s.SavedSession:
        records = tuple(
            RunRecord(id=one, kind="send", message_id=f"m-{one}", queued_at=at, state=RunState.COMPLETED)
            for one, at in runs
        )
        state = SessionState(id="s-1", seq=len(runs), created_at=1.0, runs=records)
        return s.SavedSession(state=state, clock={"k-0": 1, epoch: len(runs)}, omitted=0)

    left = saved("k-1", ("r-1", 9.0), ("r-2", 5.0), ("r-3", 4.0))
    right = saved("k-2", ("r-1", 9.0), ("r-4", 3.0), ("r-5", 1.0))
    merged = s.merge(left, right)
    ids = [run.id for run in merged.state.runs]
    assert sorted(ids) == ["r-1", "r-2", "r-3", "r-4", "r-5"]
    for one in (left, right):
        assert [i for i in ids if i in {run.id for run in one.state.runs}] == [r.id for r in one.state.runs]
    assert ids == [run.id for run in s.merge(right, left).state.runs]
