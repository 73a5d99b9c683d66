"""A kernel and its pages in virtual time: one thread, one seed, no real waiting.

`VirtualLoop` jumps from timer to timer. `Line` loses, repeats, delays and reorders messages.
`PageModel` has a page's rules in a few lines of Python; `js/src/wire/link.ts` has the same in TypeScript.
"""

from __future__ import annotations

import asyncio
import functools
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from nbchat.core.ids import new_id
from nbchat.core.run import LIVE_STATES
from nbchat.core.text import checksum, utf16_length
from nbchat.core.transcript import SessionState, apply_event
from nbchat.core.values import decode
from nbchat.engine.engine import Engine
from nbchat.engine.local_backend import LocalBackend
from nbchat.engine.loop_thread import LoopThread
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import (
    PROTOCOL_VERSION,
    Ack,
    Deltas,
    Events,
    Head,
    Heads,
    KernelMessage,
    Packet,
    Progress,
    SessionStateMessage,
    Synced,
    Welcome,
)
from nbchat.providers.base import Finish, Request, TextDelta
from nbchat.wire.deltas import event_of
from nbchat.wire.server import WireServer


class _InstantSelector(selectors.SelectSelector):
    """A selector that advances its own clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set: a deadlock")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._instant = _InstantSelector()
        super().__init__(self._instant)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._instant.now


class InlineEngine(LoopThread):
    """An engine on a given loop and on the calling thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    @property
    def is_current(self) -> bool:
        """Return True, because there is only one thread."""
        return True


class VirtualProvider:
    """A provider that streams seeded text at seeded moments of virtual time."""

    name = "virtual"
    can_prefill = True
    can_resume = False

    def __init__(self, chance: random.Random, words: int = 40) -> None:
        self._chance = chance
        self._words = words
        self.said: dict[str, str] = {}
        """The text streamed to each run, by the run's id, to compare with."""

    async def stream(self, request: Request) -> Any:
        """Stream words and emoji, and end in one of the ways a stream can end."""
        chance = self._chance
        self.said[request.run_id] = ""
        await asyncio.sleep(chance.choice([0, 0.01, 0.3, 2]))
        for _ in range(chance.randrange(0, self._words)):
            text = chance.choice(["word ", "日本", "😀", "\n\n# h\n", "`x`", "é"]) * chance.randrange(1, 4)
            self.said[request.run_id] += text
            yield TextDelta(text)
            await asyncio.sleep(chance.choice([0, 0, 0.005, 0.05, 0.6]))
        how = chance.random()
        if how < 0.1:
            return
        if how < 0.2:
            raise ConnectionResetError("gone")
        yield Finish("stop" if how < 0.9 else "length")

    async def models(self) -> list[str]:
        """List one model."""
        return ["virtual"]

    async def aclose(self) -> None:
        """Close nothing."""


class Line:
    """A channel from the kernel to pages that loses, repeats and delays messages at a rate of `loss`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random, *, loss: float = 0.0) -> None:
        self._loop, self._chance = loop, chance
        self.loss = loss
        self.ends: list[Callable[[Any, list[bytes]], None]] = []

    def __call__(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        """Send a message to every end: once, twice, late or not at all."""
        for end in self.ends:
            for _ in range(self._chance.choice([1, 1, 1, 2]) if self.loss else 1):
                if self._chance.random() >= self.loss:
                    late = self._chance.choice([0, 0, 0, 0.03, 0.2]) if self.loss else 0
                    self._loop.call_later(late, end, dict(content), list(buffers))


@functools.lru_cache(maxsize=256)
def _decoded(payload: bytes) -> Packet:
    """Return the packet, shared between pages, which only read it."""
    packet: Packet = decode(Packet, msgspec.json.decode(payload))
    return packet


class PageModel:
    """A page: folds events, detects missing ones, and requests them."""

    ASK_AGAIN_S = 0.25
    SILENCE_S = 1.0
    """Seconds without a message after which a page requests the state of live runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, up: Callable[[dict[str, Any]], None]) -> None:
        self.id = new_id("p-")
        self._loop, self._up = loop, up
        self.epoch: str | None = None
        self.n = 0
        self.rev = 0
        self.heads: dict[str, tuple[int, Head]] = {}
        self.states: dict[str, SessionState] = {}
        self._numbers: dict[int, str] = {}
        """Ids of sessions by the numbers of their heads."""
        self.acks: dict[str, Ack] = {}
        self._wanted: set[str] = set()
        self._pieces: dict[str, dict[int, bytes]] = {}
        self._asked: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self.resyncs = 0
        self.shown: dict[tuple[str, str], list[str]] = {}
        """Every text that was shown, by session and message."""
        self._ask()

    # From the kernel

    def receive(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        """Take one comm message."""
        key, index, of = content["nbchat"], content["piece"], content["of"]
        parts = self._pieces.setdefault(f"{key}/{of}", {})
        parts[index] = buffers[0]
        if len(parts) < of:
            return
        del self._pieces[f"{key}/{of}"]
        self._packet(_decoded(b"".join(parts[i] for i in range(of))))

    def _packet(self, packet: Packet) -> None:
        if self.epoch is None and any(isinstance(m, Welcome) for m in packet.messages):
            self.epoch = packet.epoch
        if packet.epoch != self.epoch:
            return
        missed = packet.n > self.n + bool(packet.messages)
        synced = any(isinstance(m, Synced) and m.id == self._asked for m in packet.messages)
        for message in packet.messages:
            self._take(packet.n, message)
        if synced and packet.n >= self.n:
            # If a later packet arrived first, this answer does not cover packets missed after it.
            self._asked = None
            self.rev = packet.rev
        elif missed:
            self._ask()
        elif self._asked is None and packet.n == self.n + 1:
            self.rev = packet.rev
        self.n = max(self.n, packet.n)
        if self._wanted:
            self._ask()
        self._listen()

    def _listen(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if any(head.state in LIVE_STATES for _, head in self.heads.values()):
            self._silence = self._loop.call_later(self.SILENCE_S, self._missed_all)

    def _missed_all(self) -> None:
        self._ask()
        self._listen()

    def _take(self, n: int, message: KernelMessage) -> None:
        if isinstance(message, Heads):
            self._take_heads(n, message)
        elif isinstance(message, Events):
            self._take_events(message)
        elif isinstance(message, Deltas):
            self._take_deltas(message)
        elif isinstance(message, Progress):
            self._take_progress(n, message)
        elif isinstance(message, SessionStateMessage):
            self._take_state(message)
        elif isinstance(message, Ack):
            self.acks[message.id] = message

    def _take_heads(self, n: int, message: Heads) -> None:
        if message.all:
            there = {head.id for head in message.heads}
            for gone in [key for key, (at, _) in self.heads.items() if at < n and key not in there]:
                del self.heads[gone]
        for head in message.heads:
            self._numbers[head.number] = head.id
            if self.heads.get(head.id, (0, None))[0] <= n:
                self.heads[head.id] = (n, head)
                if head.id not in self.states:
                    self._wanted.add(head.id)

    def _take_events(self, message: Events) -> None:
        state = self.states.get(message.session_id)
        if state is None:
            return
        if message.first_seq > state.seq + 1:
            self._ask()
            return
        for event in message.events[state.seq + 1 - message.first_seq :]:
            state = apply_event(state, event)
            if event.type == "part_ended":
                run = state.run(event.run_id)
                assert run is not None
                text = state.messages[run.message_id].parts[event.part_index].text
                assert (utf16_length(text), checksum(text)) == (event.length, event.crc32)
        self._show(state)

    def _take_deltas(self, message: Deltas) -> None:
        for delta in message.deltas:
            session_id = self._numbers.get(delta.session, "")
            state = self.states.get(session_id)
            if state is None or delta.seq <= state.seq:
                continue
            run_id = "" if state.live is None else state.live.id
            event = event_of(delta, message.at, run_id)
            self._take_events(Events(session_id=session_id, first_seq=delta.seq, events=(event,)))

    def _take_progress(self, n: int, message: Progress) -> None:
        for counts in message.counts:
            at, head = self.heads.get(self._numbers.get(counts.session, ""), (n + 1, None))
            if head is not None and at <= n:
                changes = {"seq": counts.seq, "active_at": counts.active_at, "characters": counts.characters}
                self.heads[head.id] = (at, replace(head, **changes))

    def _take_state(self, message: SessionStateMessage) -> None:
        old = self.states.get(message.state.id)
        if message.to in (None, self.id) and (old is None or old.seq <= message.state.seq):
            self._wanted.discard(message.state.id)
            self._show(message.state)

    def _show(self, state: SessionState) -> None:
        self.states[state.id] = state
        for message in state.messages.values():
            self.shown.setdefault((state.id, message.id), []).append(message.text)

    # To the kernel

    def _ask(self) -> None:
        if self._asked is not None and self._timer is not None:
            return
        self._asked = new_id()
        self.resyncs += 1
        sessions = {key: state.seq for key, state in self.states.items()} | dict.fromkeys(self._wanted, 0)
        message: dict[str, Any] = {"id": self._asked, "page": self.id, "rev": self.rev, "sessions": sessions}
        if self.epoch is None:
            message |= {"type": "hello", "protocol": PROTOCOL_VERSION, "version": "0"}
        else:
            message |= {"type": "sync", "epoch": self.epoch}
        self._up(message)
        self._timer = self._loop.call_later(self.ASK_AGAIN_S, self._again)

    def _again(self) -> None:
        self._timer = None
        if self._asked is not None or self._wanted:
            self._ask()

    def do(self, command: dict[str, Any]) -> str:
        """Send a command repeatedly until it is acknowledged."""
        command = {"id": new_id("c-"), **command}

        def send() -> None:
            if command["id"] not in self.acks:
                self._up({"type": "run_command", "page": self.id, "epoch": self.epoch, "command": command})
                self._loop.call_later(1.0, send)

        send()
        return str(command["id"])


def _nothing(_provider: str | None) -> None:
    """Do nothing, because a background thread would run in real time."""


class World:
    """A kernel, pages, and a channel between them, from one seed."""

    def __init__(self, seed: int, *, loss: float = 0.0, pages: int = 2, words: int = 40) -> None:
        self.chance = random.Random(seed)
        self.loop = VirtualLoop()
        self.engine = Engine(loop=InlineEngine(self.loop))
        self.registry = SessionRegistry(backend=LocalBackend(self.engine))
        self.engine.providers.warm_up = _nothing  # type: ignore[method-assign]
        self.provider = VirtualProvider(self.chance, words)
        self.line = Line(self.loop, self.chance, loss=loss)
        self.sent: list[tuple[float, int]] = []
        """Time and size in bytes of each comm message."""
        self.wire = WireServer(self.engine, self._down)
        self.pages = [PageModel(self.loop, self._up) for _ in range(pages)]
        self.line.ends = [page.receive for page in self.pages]

    def _down(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        self.sent.append((self.loop.time(), sum(map(len, buffers))))
        self.line(content, buffers)

    def _up(self, message: dict[str, Any]) -> None:
        self.loop.call_later(0.005, self.wire.receive, msgspec.json.decode(msgspec.json.encode(message)))

    def run(self, story: Coroutine[Any, Any, Any]) -> Any:
        """Run a story to its end in virtual time."""
        asyncio.set_event_loop(self.loop)
        try:
            return self.loop.run_until_complete(story)
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            asyncio.set_event_loop(None)
            self.loop.close()

    async def settle(self, limit_s: float = 600.0) -> None:
        """Let virtual time pass until no run is live."""
        until = self.loop.time() + limit_s
        while any(not c.is_idle for c in list(self.engine.sessions)):
            assert self.loop.time() < until, "a run did not end"
            await asyncio.sleep(0.1)
