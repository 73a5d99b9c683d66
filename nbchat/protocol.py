"""What crosses between kernel and page, defined once; `js/src/protocol.ts` is generated from here.

The kernel broadcasts **packets** to all pages: at most one for each tick, however many sessions and
widgets there are. A packet has a dense number `n`, so a page that misses one knows it and says
`sync` with what it has; what comes back is read on from there, or the state where the log is folded
away. An idle kernel repeats its last number in empty packets, ever more rarely, so that even a lost
*last* message leaves a trace.

Inside a packet, `heads` are the directory (one small replaceable value for each session that
changed, enough to draw a tab), and `events` are the logs read on (`first_seq` says from where).
Both are safe to receive twice. `to` addresses one page; the others ignore the message.

`epoch` names the kernel's start. A page drops packets and the kernel drops commands of another epoch.

On the wire a packet is JSON in UTF-8, in one binary buffer of a custom message of the hub's widget,
`{"nbchat": key, "piece": i, "of": count}`; packets over `MAX_PIECE` bytes are cut into pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from nbchat.core.codec import MAX_DEPTH, DecodeError, decode, encode
from nbchat.core.commands import Command
from nbchat.core.errors import ErrorInfo, WireError
from nbchat.core.events import Event
from nbchat.core.messages import Message
from nbchat.core.text import clean
from nbchat.core.transcript import SessionState

PROTOCOL_VERSION: Final = 1

MAX_PIECE: Final = 224 * 1024
"""Bytes of one comm message's buffer, at most; with its envelope it stays below 256 KiB."""

MAX_PAGE_MESSAGE: Final = 10 * 1024 * 1024
"""Bytes of one message from a page, at most."""

MAX_COMMAND: Final = 16 * 1024 * 1024
"""Characters of a command's JSON, at most."""

MAX_PART: Final = 512 * 1024
"""Characters of a command's JSON that go in one message; a longer one goes in parts."""

WINDOW: Final = 200
"""Messages of a transcript that a state carries; earlier ones come when the reader asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A session as its tab shows it. A newer head replaces an older one whole."""

    id: str
    seq: int
    """Number of the session's last visible event."""
    title: str
    state: str
    """`status` of the session: of the live run, else of the last one, else `idle`."""
    run_id: str | None = None
    """The live run."""
    model: str | None = None
    created_at: float = 0.0
    active_at: float = 0.0
    """When something last happened in a run."""
    started_at: float | None = None
    """When the live run started."""
    characters: int = 0
    """Of the live run, so far."""
    queued: int = 0
    """Runs that wait behind the live one."""
    position: int | None = None
    """Place in the kernel's queue, from 1, where the live run waits for a slot."""
    unread: bool = False
    pinned: bool = False
    rank: float = 0.0
    """Place among the tabs, lowest first; pinned ones stand before all others."""
    closed: bool = False
    archived: bool = False
    deleted: bool = False
    temporary: bool = False
    messages: int = 0
    """Length of the transcript."""
    own_provider: bool = False
    """Answered by a provider object of its own, not by one that settings or configuration name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The answer to `hello`: which kernel this is, and how it is set up."""

    to: str
    version: str
    """nbchat's version in the kernel."""
    demo: bool = False
    """Answers come from the embedded server."""
    provider: str = ""
    """Where answers come from, for people: `demo`, or the server's host."""
    model: str | None = None
    """The model used where a session names none, if that is known."""
    type: Literal["welcome"] = "welcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Sessions that changed; with `all`, every session there is."""

    heads: tuple[Head, ...]
    all: bool = False
    """Sessions that are not in `heads` are gone."""
    type: Literal["heads"] = "heads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """A stretch of one session's log."""

    session_id: str
    first_seq: int
    events: tuple[Event, ...]
    type: Literal["events"] = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOf:
    """A session whole, at `state.seq`; what a page has of it is replaced unless it is newer."""

    state: SessionState
    """Windowed: `messages` holds the last `WINDOW` of the transcript, with their versions, and
    `selected[""]` names the first of them."""
    omitted: int = 0
    """Messages of the transcript before the window."""
    to: str | None = None
    type: Literal["state"] = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Messages before the window, oldest first, to be put in front."""

    to: str
    session_id: str
    messages: tuple[Message, ...]
    selected: Mapping[str, str]
    omitted: int
    """Messages that are before these."""
    type: Literal["earlier"] = "earlier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """What became of a command. Said once for each time it was asked."""

    id: str
    error: ErrorInfo | None = None
    """None: done."""
    session_id: str | None = None
    """The session made by `new_session` and `fork`."""
    run_id: str | None = None
    type: Literal["ack"] = "ack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The answer to `hello` or `sync` ends here: the page has everything up to this packet."""

    to: str
    id: str
    type: Literal["synced"] = "synced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where answers come from has changed."""

    demo: bool
    provider: str
    model: str | None = None
    type: Literal["config"] = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models that a session's server lists, in its order."""

    models: tuple[str, ...]
    session_id: str | None = None
    """None: the server that new sessions ask."""
    model: str | None = None
    """The one that answers where the session's settings name none."""
    error: ErrorInfo | None = None
    type: Literal["models"] = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Where the state is kept, and whether it is."""

    state: Literal["saved", "saving", "unsaved", "off"]
    error: ErrorInfo | None = None
    """Why it is not."""
    type: Literal["saving"] = "saving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The notebook's metadata key `nbchat`, for the page that writes it."""

    to: str | None
    """The page where the user last acted; None: whichever page there is."""
    version: int
    """Counts up; a page never writes an older one over a newer one."""
    metadata: Mapping[str, Any]
    transcripts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the page does not have yet of the outputs for where no widget runs: MIME bundles by output."""
    settled: bool = True
    """No answer is being generated. Else the page keeps the outputs until the notebook is saved."""
    type: Literal["checkpoint"] = "checkpoint"


AssetName = Literal["math", "highlight", "extras", "zh-CN"]
"""A bundle that not every page needs: maths, the highlighter, what opens at a click, a language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A bundle of the page, as the text of an ES module."""

    to: str
    name: AssetName
    text: str
    type: Literal["asset"] = "asset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A message in which something was found: where, and the words around it."""

    session_id: str
    message_id: str
    before: str
    match: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to `search`."""

    to: str
    id: str
    hits: tuple[Hit, ...]
    """The session that was active last comes first, and in each the newest message."""
    more: bool
    """There may be more: the search ended at a limit."""
    type: Literal["found"] = "found"


KernelMessage = (
    Welcome
    | Heads
    | Events
    | StateOf
    | Earlier
    | Ack
    | Synced
    | Config
    | Models
    | Saving
    | Checkpoint
    | Asset
    | Found
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What the kernel says in one tick, to all pages."""

    epoch: str
    n: int
    """Counts packets with news from 1; an empty packet repeats the last number."""
    rev: int
    """The directory's revision: all heads up to it have been said by packet `n`."""
    messages: tuple[KernelMessage, ...] = ()
    protocol: int = PROTOCOL_VERSION
    type: Literal["packet"] = "packet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A page is there. Answered by `welcome`, then as `sync`."""

    id: str
    page: str
    protocol: int
    version: str
    """nbchat's version in the page."""
    epoch: str | None = None
    """The kernel that `rev` and `sessions` are about; None for a new page."""
    rev: int = 0
    sessions: Mapping[str, int] = field(default_factory=dict)
    """Last `seq` applied, for each session the page wants; 0: send it whole."""
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A page missed something, was silent for long, or wants more sessions."""

    id: str
    page: str
    epoch: str
    rev: int
    sessions: Mapping[str, int] = field(default_factory=dict)
    type: Literal["sync"] = "sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantEarlier:
    """The reader scrolled to the beginning of the window."""

    id: str
    page: str
    epoch: str
    session_id: str
    before: str
    """Id of the first message the page has."""
    type: Literal["want_earlier"] = "want_earlier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Do:
    """A command, from the page where the user acted."""

    page: str
    epoch: str
    command: Command
    type: Literal["do"] = "do"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoPart:
    """A part of a command that is too long for one message: a stretch of its JSON."""

    id: str
    """The command's."""
    page: str
    epoch: str
    part: int
    """Counted from 0."""
    of: int
    text: str
    type: Literal["do_part"] = "do_part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the page found under the notebook's metadata key `nbchat` (a piece of its JSON)."""

    id: str
    page: str
    piece: int
    of: int
    text: str
    path: str = ""
    """The notebook's path, as the page knows it."""
    type: Literal["stored"] = "stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantCheckpoint:
    """The notebook is about to be saved, or has been; the newest state is wanted."""

    id: str
    page: str
    epoch: str
    version: int
    """The checkpoint that the page has."""
    path: str = ""
    """The notebook's path, as the page knows it now: it may have been renamed, or saved as another."""
    type: Literal["want_checkpoint"] = "want_checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantAsset:
    """A page needs a bundle: it shows the first formula, speaks another language, or has time for it."""

    id: str
    page: str
    epoch: str
    name: AssetName
    type: Literal["want_asset"] = "want_asset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The reader looks for words in all sessions. A page's next search takes the place of its last."""

    id: str
    page: str
    epoch: str
    query: str
    type: Literal["search"] = "search"


PageMessage = Hello | Sync | WantEarlier | Do | DoPart | Stored | WantCheckpoint | WantAsset | Search


def parse_page_message(data: object) -> PageMessage:
    """Return what a page sent, typed.

    Raises
    ------
    WireError
        It is not in the protocol. The message says where it differs; nothing was done.
    """
    try:
        message: PageMessage = decode(PageMessage, data)
    except DecodeError as error:
        raise WireError(f"a page sent something that is not in the protocol: {error}.") from error
    return message


def encode_packet(packet: Packet) -> bytes:
    """Return the packet as JSON in UTF-8.

    What JSON or JavaScript cannot hold is replaced: one odd value must not silence all sessions.
    """
    try:
        return orjson.dumps(packet)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(_sendable(encode(packet)))


def _sendable(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict) and depth < 2 * MAX_DEPTH:
        return {clean(str(key)): _sendable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and depth < 2 * MAX_DEPTH:
        return [_sendable(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(repr(value))[:200]


def pieces(payload: bytes) -> list[bytes]:
    """Cut a payload into pieces of at most `MAX_PIECE` bytes."""
    return [payload[i : i + MAX_PIECE] for i in range(0, len(payload), MAX_PIECE)] or [b""]
