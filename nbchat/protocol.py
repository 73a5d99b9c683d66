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
from typing import Any, Final, Literal

from msgspec import field

from nbchat.core.commands import Command
from nbchat.core.errors import ErrorInfo, WireError
from nbchat.core.events import Event
from nbchat.core.messages import Attachment, Message
from nbchat.core.transcript import SessionState
from nbchat.core.values import DecodeError, FiniteFloat, SafeInt, Tagged, Value, decode, encode_json

PROTOCOL_VERSION: Final = 2

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


class Head(Value, frozen=True, kw_only=True):
    """A session as its tab shows it. A newer head replaces an older one whole."""

    id: str
    seq: SafeInt
    """Number of the session's last visible event."""
    title: str
    state: str
    """`status` of the session: of the live run, else of the last one, else `idle`."""
    run_id: str | None = None
    """The live run."""
    model: str | None = None
    created_at: FiniteFloat = 0.0
    active_at: FiniteFloat = 0.0
    """When something last happened in a run."""
    started_at: FiniteFloat | None = None
    """When the live run started."""
    characters: SafeInt = 0
    """Of the live run, so far."""
    queued: SafeInt = 0
    """Runs that wait behind the live one."""
    position: SafeInt | None = None
    """Place in the kernel's queue, from 1, where the live run waits for a slot."""
    unread: bool = False
    pinned: bool = False
    rank: FiniteFloat = 0.0
    """Place among the tabs, lowest first; pinned ones stand before all others."""
    closed: bool = False
    archived: bool = False
    deleted: bool = False
    temporary: bool = False
    messages: SafeInt = 0
    """Length of the transcript."""
    own_provider: bool = False
    """Answered by a provider object of its own, not by one that settings or configuration name."""
    number: SafeInt = 0
    """Identifies the session in `deltas` and `progress`, as long as the epoch lasts."""


class Welcome(Tagged, frozen=True, kw_only=True, tag="welcome"):
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


class Heads(Tagged, frozen=True, kw_only=True, tag="heads"):
    """Sessions that changed; with `all`, every session there is."""

    heads: tuple[Head, ...]
    all: bool = False
    """Sessions that are not in `heads` are gone."""


class Events(Tagged, frozen=True, kw_only=True, tag="events"):
    """A stretch of one session's log."""

    session_id: str
    first_seq: SafeInt
    events: tuple[Event, ...]


class Delta(Value, frozen=True, kw_only=True, array_like=True):
    """A `PartDelta` of the live run of a session. An array on the wire, since names and ids would repeat."""

    session: SafeInt
    """`number` of the session's head."""
    seq: SafeInt
    at: SafeInt
    """Microseconds after `at` of the message."""
    part_index: SafeInt
    offset: SafeInt
    text: str


class Deltas(Tagged, frozen=True, kw_only=True, tag="deltas"):
    """Text of many sessions, in place of `events` for sessions where nothing else has happened."""

    at: SafeInt
    """Microseconds since 1970-01-01 UTC."""
    deltas: tuple[Delta, ...]


class Counts(Value, frozen=True, kw_only=True, array_like=True):
    """The fields of a head that change while an answer arrives. An array on the wire."""

    session: SafeInt
    """`number` of the session's head."""
    seq: SafeInt
    active_at: FiniteFloat
    characters: SafeInt


class Progress(Tagged, frozen=True, kw_only=True, tag="progress"):
    """Counts of sessions whose heads have not changed otherwise."""

    counts: tuple[Counts, ...]


class SessionStateMessage(Tagged, frozen=True, kw_only=True, tag="session_state"):
    """A session whole, at `state.seq`; what a page has of it is replaced unless it is newer."""

    state: SessionState
    """Windowed: `messages` holds the last `WINDOW` of the transcript, with their versions, and
    `selected[""]` names the first of them."""
    omitted: SafeInt = 0
    """Messages of the transcript before the window."""
    to: str | None = None


class EarlierMessages(Tagged, frozen=True, kw_only=True, tag="earlier_messages"):
    """Messages before the window, oldest first, to be put in front."""

    to: str
    session_id: str
    messages: tuple[Message, ...]
    selected: Mapping[str, str]
    omitted: SafeInt
    """Messages that are before these."""


class Ack(Tagged, frozen=True, kw_only=True, tag="ack"):
    """What became of a command. Said once for each time it was asked."""

    id: str
    error: ErrorInfo | None = None
    """None: done."""
    session_id: str | None = None
    """The session made by `new_session` and `fork`."""
    run_id: str | None = None


class Synced(Tagged, frozen=True, kw_only=True, tag="synced"):
    """The answer to `hello` or `sync` ends here: the page has everything up to this packet."""

    to: str
    id: str


class Config(Tagged, frozen=True, kw_only=True, tag="config"):
    """Where answers come from has changed."""

    demo: bool
    provider: str
    model: str | None = None


class Models(Tagged, frozen=True, kw_only=True, tag="models"):
    """The models that a session's server lists, in its order."""

    models: tuple[str, ...]
    session_id: str | None = None
    """None: the server that new sessions ask."""
    model: str | None = None
    """The one that answers where the session's settings name none."""
    error: ErrorInfo | None = None


class Saving(Tagged, frozen=True, kw_only=True, tag="saving"):
    """Where the state is kept, and whether it is."""

    state: Literal["saved", "saving", "unsaved", "off"]
    error: ErrorInfo | None = None
    """Why it is not."""


class Checkpoint(Tagged, frozen=True, kw_only=True, tag="checkpoint"):
    """The notebook's metadata key `nbchat`, for the page that writes it."""

    to: str | None
    """The page where the user last acted; None: whichever page there is."""
    version: SafeInt
    """Counts up; a page never writes an older one over a newer one."""
    metadata: Mapping[str, Any]
    transcripts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the page does not have yet of the outputs for where no widget runs: MIME bundles by output."""
    settled: bool = True
    """No answer is being generated. Else the page keeps the outputs until the notebook is saved."""


AssetName = Literal["math", "highlight", "extras", "zh-CN"]
"""A bundle that not every page needs: maths, the highlighter, what opens at a click, a language."""


class Asset(Tagged, frozen=True, kw_only=True, tag="asset"):
    """A bundle of the page, as the text of an ES module."""

    to: str
    name: AssetName
    text: str


class Hit(Value, frozen=True, kw_only=True):
    """A message in which something was found: where, and the words around it."""

    session_id: str
    message_id: str
    before: str
    match: str
    after: str


class SearchResults(Tagged, frozen=True, kw_only=True, tag="search_results"):
    """The answer to `search`."""

    to: str
    id: str
    hits: tuple[Hit, ...]
    """The session that was active last comes first, and in each the newest message."""
    more: bool
    """There may be more: the search ended at a limit."""


class Variable(Value, frozen=True, kw_only=True):
    """A variable of the notebook, as it is offered where the user types `@`."""

    name: str
    kind: str
    """The name of its type."""
    size: str = ""
    """Its shape or length, for people; empty where it has none at hand."""


class Variables(Tagged, frozen=True, kw_only=True, tag="variables"):
    """The answer to `want_variables`."""

    to: str
    id: str
    variables: tuple[Variable, ...]


class Described(Tagged, frozen=True, kw_only=True, tag="described"):
    """The answer to `want_described`: the parts that are sent if the user sends them."""

    to: str
    id: str
    parts: tuple[Attachment, ...] = ()
    """A text, and of a figure a picture too; empty if there is no such variable."""


class Exported(Tagged, frozen=True, kw_only=True, tag="exported"):
    """The answer to `want_export`: a session as a file, which the page offers as a download."""

    to: str
    id: str
    name: str = ""
    """Suggested name of the file."""
    text: str = ""
    error: ErrorInfo | None = None


class Connected(Tagged, frozen=True, kw_only=True, tag="connected"):
    """The answer to `connect`."""

    to: str
    id: str
    models: tuple[str, ...] = ()
    """The models that the server lists, after `models`."""
    text: str = ""
    """The beginning of the model's answer, after `test`."""
    error: ErrorInfo | None = None
    """Why it failed; after `use`, nothing has changed then."""


KernelMessage = (
    Welcome
    | Heads
    | Events
    | Deltas
    | Progress
    | SessionStateMessage
    | EarlierMessages
    | Ack
    | Synced
    | Config
    | Models
    | Saving
    | Checkpoint
    | Asset
    | SearchResults
    | Variables
    | Described
    | Exported
    | Connected
)


class Packet(Tagged, frozen=True, kw_only=True, tag="packet"):
    """What the kernel says in one tick, to all pages."""

    epoch: str
    n: SafeInt
    """Counts packets with news from 1; an empty packet repeats the last number."""
    rev: SafeInt
    """The directory's revision: all heads up to it have been said by packet `n`."""
    messages: tuple[KernelMessage, ...] = ()
    protocol: SafeInt = PROTOCOL_VERSION


class Hello(Tagged, frozen=True, kw_only=True, tag="hello"):
    """A page is there. Answered by `welcome`, then as `sync`."""

    id: str
    page: str
    protocol: SafeInt
    version: str
    """nbchat's version in the page."""
    epoch: str | None = None
    """The kernel that `rev` and `sessions` are about; None for a new page."""
    rev: SafeInt = 0
    sessions: Mapping[str, SafeInt] = field(default_factory=dict)
    """Last `seq` applied, for each session the page wants; 0: send it whole."""


class Sync(Tagged, frozen=True, kw_only=True, tag="sync"):
    """A page missed something, was silent for long, or wants more sessions."""

    id: str
    page: str
    epoch: str
    rev: SafeInt
    sessions: Mapping[str, SafeInt] = field(default_factory=dict)


class WantEarlier(Tagged, frozen=True, kw_only=True, tag="want_earlier"):
    """The reader scrolled to the beginning of the window."""

    id: str
    page: str
    epoch: str
    session_id: str
    before: str
    """Id of the first message the page has."""


class RunCommand(Tagged, frozen=True, kw_only=True, tag="run_command"):
    """A command, from the page where the user acted."""

    page: str
    epoch: str
    command: Command


class CommandChunk(Tagged, frozen=True, kw_only=True, tag="command_chunk"):
    """A part of a command that is too long for one message: a stretch of its JSON."""

    id: str
    """The command's."""
    page: str
    epoch: str
    part: SafeInt
    """Counted from 0."""
    of: SafeInt
    text: str


class Stored(Tagged, frozen=True, kw_only=True, tag="stored"):
    """What the page found under the notebook's metadata key `nbchat` (a piece of its JSON)."""

    id: str
    page: str
    piece: SafeInt
    of: SafeInt
    text: str
    path: str = ""
    """The notebook's path, as the page knows it."""


class WantCheckpoint(Tagged, frozen=True, kw_only=True, tag="want_checkpoint"):
    """The notebook is about to be saved, or has been; the newest state is wanted."""

    id: str
    page: str
    epoch: str
    version: SafeInt
    """The checkpoint that the page has."""
    path: str = ""
    """The notebook's path, as the page knows it now: it may have been renamed, or saved as another."""


class GetAsset(Tagged, frozen=True, kw_only=True, tag="get_asset"):
    """A page needs a bundle: it shows the first formula, speaks another language, or has time for it."""

    id: str
    page: str
    epoch: str
    name: AssetName


class Search(Tagged, frozen=True, kw_only=True, tag="search"):
    """The reader looks for words in all sessions. A page's next search takes the place of its last."""

    id: str
    page: str
    epoch: str
    query: str


class WantVariables(Tagged, frozen=True, kw_only=True, tag="want_variables"):
    """The user typed `@`: names, types and sizes of variables are wanted, and no values."""

    id: str
    page: str
    epoch: str


class WantDescribed(Tagged, frozen=True, kw_only=True, tag="want_described"):
    """The user chose a variable: its description is wanted."""

    id: str
    page: str
    epoch: str
    name: str


ExportFormat = Literal["html", "md", "ipynb"]
"""Formats in which a page can export a session, by the ending of the file."""


class WantExport(Tagged, frozen=True, kw_only=True, tag="want_export"):
    """The user exports a session. The kernel returns the text and writes no file."""

    id: str
    page: str
    epoch: str
    session_id: str
    format: ExportFormat


class Connect(Tagged, frozen=True, kw_only=True, tag="connect"):
    """The user lists the models of a server, tests it, or chooses it for this kernel.

    A page sends it on the control channel only.
    """

    id: str
    page: str
    epoch: str
    action: Literal["models", "test", "use", "reset"]
    """`reset` returns to what files and the environment configure."""
    base_url: str = ""
    api_key: str = ""
    """The typed key. Before the message is parsed, a reference in the kernel's memory takes its place.
    Empty: the key that this server already gets."""
    model: str = ""
    """Empty: the first that the server lists."""


PageMessage = (
    Hello
    | Sync
    | WantEarlier
    | RunCommand
    | CommandChunk
    | Stored
    | WantCheckpoint
    | GetAsset
    | Search
    | WantVariables
    | WantDescribed
    | WantExport
    | Connect
)


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
    return encode_json(packet)


def pieces(payload: bytes) -> list[bytes]:
    """Cut a payload into pieces of at most `MAX_PIECE` bytes."""
    return [payload[i : i + MAX_PIECE] for i in range(0, len(payload), MAX_PIECE)] or [b""]
