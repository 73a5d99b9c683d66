"""Model check of the lease: all interleavings of three writers, with lost answers and leases that expire.

Each writer is an engine that reads the log, claims the lease and writes one piece of text and one end of a
run to a `MemoryStore`. It may be suspended between any two of its steps. The answer of a write may be lost;
then the writer repeats the write, or continues at the head that it reads from the store. The search visits
every state that these steps can reach, and checks the stored events in each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from msgspec import Struct
from msgspec.structs import replace

from nbchat.core.errors import LeaseLost, StoreConflict
from nbchat.stores.base import Base, Gone, RunEvents, Stretch
from nbchat.stores.fence import Lease, Log, admits, check_holder
from tests.stores import memory
from tests.stores.memory import MemoryStore

WRITERS: Final = 3
SESSION, RUN = "s-1", "r-1"
LEASE_S: Final = 1.0
TEXT, END = "text", "end"


class Pending(Struct, frozen=True):
    """A write whose answer was lost."""

    write_id: str
    what: str
    seq: int


class Writer(Struct, frozen=True):
    """One engine. `seq` is the last event that it has read or written."""

    token: str | None = None
    number: int | None = None
    """Number of claims that it has seen; used by a mutant only."""
    seq: int | None = None
    over: bool = False
    """True once it has read that the run is over."""
    wrote_text: bool = False
    wrote_end: bool = False
    pending: Pending | None = None
    resyncs: int = 0
    gone: bool = False
    """True if it was refused or has nothing left to do."""


GONE: Final = Writer(gone=True)


class State(Struct, frozen=True):
    """The store and the writers.

    Writers are interchangeable, so they are sorted. A token is named by its position in the order of claims.
    """

    log: tuple[tuple[int, str, str], ...] = ()
    """Number, writer's token and content of each event."""
    ends: tuple[tuple[str, int], ...] = ()
    leases: tuple[Lease, ...] = ()
    write_ids: tuple[str, ...] = ()
    writers: tuple[Writer, ...] = (Writer(),) * WRITERS
    answered: frozenset[tuple[int, str, str]] = frozenset()
    """Events whose storage was confirmed to their writers."""


class Model:
    """The steps of the writers, with the implemented rules."""

    store = MemoryStore
    numbered = False
    """Tokens are numbers that the writers count up."""

    def opened(self, state: State) -> MemoryStore:
        """Return a store with the contents of a state, and with its clock fixed at 0."""
        store = self.store(clock=lambda: 0.0)
        log = {
            seq: Stretch(session_id=SESSION, first_seq=seq, count=1, epoch=token, body=what.encode())
            for seq, token, what in state.log
        }
        store._sessions = {SESSION: memory._Session(log=log, ends=dict(state.ends))}
        store._leases = {lease.token: lease for lease in state.leases}
        store._write_ids = dict.fromkeys(state.write_ids)
        return store

    def changed(self, state: State, store: MemoryStore) -> State:
        """Return the state with the current contents of the store."""
        session = store._sessions[SESSION]
        log = [(seq, one.epoch, one.body.decode()) for seq, one in sorted(session.log.items())]
        return replace(
            state,
            log=tuple(log),
            ends=tuple(session.ends.items()),
            leases=tuple(store._leases.values()),
            write_ids=tuple(sorted(store._write_ids)),
        )

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every step that is possible in a state, and the next state."""
        if state.leases and state.leases[-1].expires_at > 0:
            lost = replace(state.leases[-1], expires_at=-1.0)
            yield "the lease expires", replace(state, leases=(*state.leases[:-1], lost))
        for at, writer in enumerate(state.writers):
            for name, after, following in self._steps_of(state, writer):
                others = (*state.writers[:at], *state.writers[at + 1 :])
                who = following.token or writer.token or "a writer"
                yield f"{who} {name}", replace(after, writers=tuple(sorted((following, *others), key=repr)))

    def _steps_of(self, state: State, writer: Writer) -> Iterator[tuple[str, State, Writer]]:
        if writer.gone:
            return
        if writer.token is None:
            yield from self._claim(state, writer)
        if writer.seq is None:
            over = any(what.startswith(END) for _, _, what in state.log)
            yield "reads", state, replace(writer, seq=len(state.log), over=over)
        if writer.token is None or writer.seq is None:
            return
        if writer.pending is not None:
            yield from self._write(state, writer, writer.pending)
            if writer.resyncs < 1:
                yield "reads the head", state, self._resynced(writer, writer.pending, len(state.log))
            return
        if writer.over or writer.wrote_end:
            yield "is done", state, GONE
            return
        if not writer.wrote_text:
            yield from self._write(state, writer, self._new(writer, TEXT))
        yield from self._write(state, writer, self._new(writer, END))

    @staticmethod
    def _resynced(writer: Writer, lost: Pending, head: int) -> Writer:
        """Return a writer that continues at the head, where it sees a stored text but not a run's end."""
        stored = lost.what == TEXT and head >= lost.seq
        return replace(
            writer,
            pending=None,
            seq=head,
            resyncs=writer.resyncs + 1,
            wrote_text=writer.wrote_text or stored,
        )

    def _claim(self, state: State, writer: Writer) -> Iterator[tuple[str, State, Writer]]:
        if self.numbered and writer.number is None:
            yield "looks up the last token", state, replace(writer, number=len(state.leases))
            return
        claims = len(state.leases) if writer.number is None else writer.number
        token = f"l-{claims + 1}"
        store = self.opened(state)
        if store.claim(token, LEASE_S):
            yield "claims", self.changed(state, store), replace(writer, token=token)

    @staticmethod
    def _new(writer: Writer, what: str) -> Pending:
        assert writer.seq is not None
        return Pending(f"w-{writer.token}-{what}-{writer.resyncs}", what, writer.seq + 1)

    def _write(self, state: State, writer: Writer, write: Pending) -> Iterator[tuple[str, State, Writer]]:
        token = writer.token or ""
        over = write.what == END
        body = f"{write.what} {write.write_id}"
        entry = Stretch(
            session_id=SESSION,
            first_seq=write.seq,
            count=1,
            epoch=token,
            body=body.encode(),
            runs=(RunEvents(run_id=RUN, seq=write.seq, over=over),),
        )
        store = self.opened(state)
        try:
            store.write(token, write.write_id, [entry])
        except (LeaseLost, StoreConflict) as error:
            yield f"is refused: {error}", state, GONE
            return
        after = self.changed(state, store)
        yield f"writes {write.what}, its answer is lost", after, replace(writer, pending=write)
        told = replace(after, answered=after.answered | {(write.seq, token, body)})
        written = replace(
            writer,
            pending=None,
            seq=write.seq,
            wrote_text=writer.wrote_text or not over,
            wrote_end=over,
        )
        yield f"writes {write.what}", told, written


def fault(state: State) -> str:
    """Return the fault in the log of a state, or an empty string."""
    numbers = [seq for seq, _, _ in state.log]
    if numbers != list(range(1, len(numbers) + 1)):
        return "the log has a gap"
    ends = [seq for seq, _, what in state.log if what.startswith(END)]
    if ends and ends[0] != len(numbers):
        return "an event follows the end of its run"
    texts = [what.split()[1].rsplit("-", 1)[0] for _, _, what in state.log]
    if len(set(texts)) < len(texts):
        return "an event is stored twice"
    if [token for _, token, _ in state.log] != sorted(token for _, token, _ in state.log):
        return "an engine that was replaced has written after its successor"
    if not state.answered <= set(state.log):
        return "an event that was acknowledged is missing"
    return ""


def search(model: Model) -> tuple[int, list[str]]:
    """Visit all states, nearest first; return their number, and the steps to the first fault."""
    start = State()
    came: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        wrong = fault(state)
        if wrong:
            steps = [wrong]
            while (before := came[state]) is not None:
                state, step = before
                steps.append(step)
            return len(came), steps[::-1]
        for step, after in model.steps(state):
            if after not in came:
                came[after] = (state, step)
                queue.append(after)
    return len(came), []


# Mutants: the same model with one rule missing


def _without_token(_token: str, _last: Lease | None) -> None:
    """Accept every token."""


def _without_seq(log: Log, entry: Base | Stretch | Gone) -> bool:
    """Accept an event at any number."""
    assert isinstance(entry, Stretch)
    for run in entry.runs:
        if log.end_of(SESSION, run.run_id) is not None:
            raise StoreConflict("the run is over")
    return True


def _without_over(log: Log, entry: Base | Stretch | Gone) -> bool:
    """Accept events of a run that has ended."""
    return admits(log, replace(entry, runs=()) if isinstance(entry, Stretch) else entry)


class Numbered(Model):
    """Tokens are numbers that the writers count up."""

    numbered = True


def mutate(monkeypatch: pytest.MonkeyPatch, name: str) -> Model:
    """Return a model with one defect."""
    rules: dict[str, Callable[..., object]] = {
        "token": _without_token,
        "seq": _without_seq,
        "over": _without_over,
    }
    if name == "number":
        return Numbered()
    monkeypatch.setattr(memory, "check_holder" if name == "token" else "admits", rules[name])
    return Model()


def test_no_interleaving_of_three_writers_breaks_a_log() -> None:
    """In every reachable state the log has no gap, no repeat, one end, and all acknowledged events."""
    assert memory.check_holder is check_holder
    states, steps = search(Model())
    assert steps == []
    assert states > 5_000


@pytest.mark.parametrize("name", ["token", "seq", "over", "number"])
def test_the_model_check_finds_each_missing_rule(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The search finds a fault if tokens, event numbers or ends are not checked, or if tokens are numbers."""
    _, steps = search(mutate(monkeypatch, name))
    assert 3 <= len(steps) <= 12
