"""Messages between kernel and page. `js/src/protocol.ts` is generated from this module.

The kernel broadcasts **packets** to all pages: at most one per tick, regardless of the number of sessions and
widgets. Packets are numbered without gaps (`n`), so a page detects a missing one. It then sends `sync` with
the positions it has, and receives the events after them, or the state if they are no longer in the log. An
idle kernel repeats its last number in empty packets at increasing intervals, so that even the loss of the
*last* packet is detected.

In a packet, `heads` are the directory: one small replaceable value for each session that changed, enough to
draw a tab. `events` continue the logs of sessions, from `first_seq`. Receiving either twice is harmless.
`to` addresses one page; the others ignore the message.

`epoch` identifies a start of the kernel. Pages drop packets of another epoch, and the kernel drops commands.

On the wire a packet is JSON in UTF-8, in one binary buffer of a custom message of the hub's widget,
`{"nbchat": key, "piece": i, "of": count}`. Packets over `MAX_PIECE` bytes are split into pieces.
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
"""Maximum size in bytes of the buffer of a comm message, which with its envelope stays below 256 KiB."""

MAX_PAGE_MESSAGE: Final = 10 * 1024 * 1024
"""Maximum size in bytes of a message from a page."""

MAX_COMMAND: Final = 16 * 1024 * 1024
"""Maximum number of characters of a command's JSON."""

MAX_PART: Final = 512 * 1024
"""Maximum number of characters of a command's JSON in one message. A longer command is sent in parts."""

WINDOW: Final = 200
"""Messages of a transcript that a state contains. Earlier ones are sent on request."""


class HeadTool(Value, frozen=True, kw_only=True):
    """A tool that code has given a session."""

    name: str
    on: bool
    """The model may call it in answers that start later."""


class HeadCall(Value, frozen=True, kw_only=True):
    """A tool call of the live run that waits. It is kept in memory only, unlike the call itself."""

    call_id: str
    preview: str | None = None
    """While it waits for approval: the text that would be sent to the model, if it is known."""
    queued: bool = False
    """It is approved, and waits for the running cell."""


class Head(Value, frozen=True, kw_only=True):
    """Summary of a session for its tab. A newer head replaces an older one completely."""

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
    """Time of the last activity of a run."""
    started_at: FiniteFloat | None = None
    """Start time of the live run."""
    waiting_since: FiniteFloat | None = None
    """Start time of the live run's wait for its first content."""
    first_token_s: FiniteFloat | None = None
    """Seconds after which that wait ends the attempt."""
    characters: SafeInt = 0
    """Characters that the live run has generated."""
    queued: SafeInt = 0
    """Number of runs queued behind the live one."""
    position: SafeInt | None = None
    """Position of the live run in the kernel's queue, from 1, while it waits for a slot."""
    unread: bool = False
    pinned: bool = False
    rank: FiniteFloat = 0.0
    """Position among the tabs, lowest first. Pinned tabs precede all others."""
    closed: bool = False
    archived: bool = False
    deleted: bool = False
    temporary: bool = False
    messages: SafeInt = 0
    """Length of the transcript."""
    cost: str = ""
    """Cost of the last run once it is over, such as `$0.012`; empty if it is unknown."""
    own_provider: bool = False
    """The session uses a provider object, not a provider named in settings or configuration."""
    tools: tuple[HeadTool, ...] = ()
    calls: tuple[HeadCall, ...] = ()
    """Calls of the live run that wait and have more to show than their arguments."""
    number: SafeInt = 0
    """Identifies the session in `deltas` and `progress` within the epoch."""


class Response(Tagged, frozen=True, kw_only=True):
    """Answers a request of one page."""

    to: str
    id: str


class Welcome(Tagged, frozen=True, kw_only=True, tag="welcome"):
    """Response to `hello`: the kernel's version and configuration."""

    to: str
    version: str
    """Version of nbchat in the kernel."""
    demo: bool = False
    """The embedded server generates the answers."""
    provider: str = ""
    """Source of the answers, for display: `demo`, or the server's host."""
    model: str | None = None
    """Model of sessions without a model setting, if it is known."""


class Runner(Tagged, frozen=True, kw_only=True, tag="runner"):
    """Follows `welcome` if answers are generated beside the kernel, and continue without it."""

    to: str
    person: str = ""
    """Name of the user, as the `author` of messages has it; empty if the runner is not a service."""


class Person(Value, frozen=True, kw_only=True):
    """A person whose kernel is linked to the same sessions."""

    name: str
    """As the `author` of messages."""
    role: str
    """`viewer`, `editor` or `owner`."""
    typing: str | None = None
    """Id of the session in which the person is typing."""


class People(Tagged, frozen=True, kw_only=True, tag="people"):
    """The people who are linked to a service's sessions, including the user. It replaces an earlier one."""

    people: tuple[Person, ...] = ()


class Heads(Tagged, frozen=True, kw_only=True, tag="heads"):
    """Heads of sessions that changed; with `all`, of every session."""

    heads: tuple[Head, ...]
    all: bool = False
    """Sessions that are not in `heads` no longer exist."""


class Events(Tagged, frozen=True, kw_only=True, tag="events"):
    """Consecutive events of one session's log."""

    session_id: str
    first_seq: SafeInt
    events: tuple[Event, ...]


class Delta(Value, frozen=True, kw_only=True, array_like=True):
    """A `PartDelta` of a session's live run. Encoded as an array to avoid repeated names and ids."""

    session: SafeInt
    """`number` of the session's head."""
    seq: SafeInt
    at: SafeInt
    """Microseconds after `at` of the message."""
    part_index: SafeInt
    offset: SafeInt
    text: str


class Deltas(Tagged, frozen=True, kw_only=True, tag="deltas"):
    """Text deltas of many sessions. Replaces `events` for sessions without other events."""

    at: SafeInt
    """Microseconds since 1970-01-01 UTC."""
    deltas: tuple[Delta, ...]


class Counts(Value, frozen=True, kw_only=True, array_like=True):
    """The fields of a head that change while an answer arrives. Encoded as an array."""

    session: SafeInt
    """`number` of the session's head."""
    seq: SafeInt
    active_at: FiniteFloat
    characters: SafeInt


class Progress(Tagged, frozen=True, kw_only=True, tag="progress"):
    """Counts of sessions whose heads have no other changes."""

    counts: tuple[Counts, ...]


class SessionStateMessage(Tagged, frozen=True, kw_only=True, tag="session_state"):
    """The complete state of a session at `state.seq`. Replaces the page's state unless that is newer."""

    state: SessionState
    """Windowed: `messages` holds the last `WINDOW` messages of the transcript, with their versions, and
    `selected[""]` is the id of the first of them."""
    omitted: SafeInt = 0
    """Number of messages of the transcript before the window."""
    to: str | None = None


class EarlierMessages(Tagged, frozen=True, kw_only=True, tag="earlier_messages"):
    """Messages that precede the window, oldest first."""

    to: str
    session_id: str
    messages: tuple[Message, ...]
    selected: Mapping[str, str]
    omitted: SafeInt
    """Number of messages that precede these."""


class Ack(Tagged, frozen=True, kw_only=True, tag="ack"):
    """Acknowledgement of a command, sent once for each time it is received."""

    id: str
    error: ErrorInfo | None = None
    """`None`: the command succeeded."""
    session_id: str | None = None
    """The session created by `new_session` or `fork`."""
    run_id: str | None = None


class Synced(Response, frozen=True, kw_only=True, tag="synced"):
    """End of the response to `hello` or `sync`. The page is up to date as of this packet."""


class Config(Tagged, frozen=True, kw_only=True, tag="config"):
    """The source of answers has changed."""

    demo: bool
    provider: str
    model: str | None = None


class Models(Tagged, frozen=True, kw_only=True, tag="models"):
    """The models that a session's server lists, in its order."""

    models: tuple[str, ...]
    session_id: str | None = None
    """`None`: the server of new sessions."""
    model: str | None = None
    """The model that is used if the session's settings do not name one."""
    error: ErrorInfo | None = None


class Saving(Tagged, frozen=True, kw_only=True, tag="saving"):
    """Status of saving the state."""

    state: Literal["saved", "saving", "unsaved", "off"]
    error: ErrorInfo | None = None
    """Reason that the state is not saved."""


class Checkpoint(Tagged, frozen=True, kw_only=True, tag="checkpoint"):
    """Content of the notebook's metadata key `nbchat`, for the page that writes it."""

    to: str | None
    """The page where the user last acted; `None`: any page."""
    version: SafeInt
    """Increases with each checkpoint. A page never overwrites a newer checkpoint with an older one."""
    metadata: Mapping[str, Any]
    transcripts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Outputs for viewers without widgets that the page does not have yet: MIME bundles by output."""
    settled: bool = True
    """No answer is being generated. Otherwise the page keeps the outputs until the notebook is saved."""


AssetName = Literal["math", "highlight", "extras", "zh-CN"]
"""A bundle that is not always needed: math, syntax highlighting, views that open on a click, a language."""


class Asset(Tagged, frozen=True, kw_only=True, tag="asset"):
    """A JavaScript bundle of the page, as the text of an ES module."""

    to: str
    name: AssetName
    text: str


class Hit(Value, frozen=True, kw_only=True):
    """A message that matches a search, with the text around the match."""

    session_id: str
    message_id: str
    before: str
    match: str
    after: str


class SearchResults(Response, frozen=True, kw_only=True, tag="search_results"):
    """Response to `search`."""

    hits: tuple[Hit, ...]
    """Most recently active session first, and newest message first in each session."""
    more: bool
    """The search ended at a limit, so there may be more results."""


class Variable(Value, frozen=True, kw_only=True):
    """A variable of the notebook, the last error (`error`) or a cell (`cell`, `cell:3`), to complete `@`."""

    name: str
    kind: str
    """Name of its type; for `cell:3` the first line of the cell."""
    size: str = ""
    """Its shape or length, for display; empty if it is not available. For `cell` the number of the cell."""


class Variables(Response, frozen=True, kw_only=True, tag="variables"):
    """Response to `want_variables`."""

    variables: tuple[Variable, ...]


class Described(Response, frozen=True, kw_only=True, tag="described"):
    """Response to `want_described`: the parts to attach to the user's message."""

    parts: tuple[Attachment, ...] = ()
    """A text, and for a figure also an image; empty if it cannot be sent."""
    error: str = ""
    """The reason if `parts` is empty and the variable exists."""


class Exported(Response, frozen=True, kw_only=True, tag="exported"):
    """The answer to `want_export`: a session as a file, which the page offers as a download."""

    name: str = ""
    """Suggested name of the file."""
    text: str = ""
    error: ErrorInfo | None = None


class Connected(Response, frozen=True, kw_only=True, tag="connected"):
    """The answer to `connect`."""

    models: tuple[str, ...] = ()
    """The models that the server lists, after `models`."""
    text: str = ""
    """The beginning of the model's answer, after `test`."""
    error: ErrorInfo | None = None
    """Why it failed; after `use`, nothing has changed then."""


KernelMessage = (
    Welcome
    | Runner
    | People
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
    """The messages of one tick, broadcast to all pages."""

    epoch: str
    n: SafeInt
    """Number of the packet, from 1; an empty packet repeats the last number."""
    rev: SafeInt
    """Revision of the directory: all heads up to it have been sent by packet `n`."""
    messages: tuple[KernelMessage, ...] = ()
    protocol: SafeInt = PROTOCOL_VERSION


class PageRequest(Tagged, frozen=True, kw_only=True):
    """Asks the kernel of an epoch for something."""

    id: str
    page: str
    epoch: str


class Hello(Tagged, frozen=True, kw_only=True, tag="hello"):
    """Connect a page. The kernel responds with `welcome`, then as to `sync`."""

    id: str
    page: str
    protocol: SafeInt
    version: str
    """Version of nbchat in the page."""
    epoch: str | None = None
    """The epoch of `rev` and `sessions`; `None` for a new page."""
    rev: SafeInt = 0
    sessions: Mapping[str, SafeInt] = field(default_factory=dict)
    """Last `seq` applied, for each requested session; 0 requests its complete state."""


class Sync(PageRequest, frozen=True, kw_only=True, tag="sync"):
    """Request missing messages, after a gap or a long silence, or more sessions."""

    rev: SafeInt
    sessions: Mapping[str, SafeInt] = field(default_factory=dict)


class WantEarlier(PageRequest, frozen=True, kw_only=True, tag="want_earlier"):
    """Request earlier messages, when the reader scrolls to the beginning of the window."""

    session_id: str
    before: str
    """Id of the first message the page has."""


class RunCommand(Tagged, frozen=True, kw_only=True, tag="run_command"):
    """Execute a command from the page where the user acted."""

    page: str
    epoch: str
    command: Command


class CommandChunk(Tagged, frozen=True, kw_only=True, tag="command_chunk"):
    """A part of the JSON of a command that is too long for one message."""

    id: str
    """Id of the command."""
    page: str
    epoch: str
    part: SafeInt
    """Counted from 0."""
    of: SafeInt
    text: str


class Stored(Tagged, frozen=True, kw_only=True, tag="stored"):
    """A piece of the JSON under the notebook's metadata key `nbchat`, as the page found it."""

    id: str
    page: str
    piece: SafeInt
    of: SafeInt
    """Number of pieces; 0 if the host gives the page no access to the notebook."""
    text: str
    path: str = ""
    """Path of the notebook in the page."""


class WantCheckpoint(PageRequest, frozen=True, kw_only=True, tag="want_checkpoint"):
    """Request the newest checkpoint, before or after the notebook is saved."""

    version: SafeInt
    """The checkpoint that the page has."""
    path: str = ""
    """Current path of the notebook in the page; renaming or "Save As" changes it."""


class GetAsset(PageRequest, frozen=True, kw_only=True, tag="get_asset"):
    """Request a bundle: for the first formula, for another language, or in advance when the page is idle."""

    name: AssetName


class Search(PageRequest, frozen=True, kw_only=True, tag="search"):
    """Search all sessions for text. A new search of a page replaces its previous one."""

    query: str


class WantVariables(PageRequest, frozen=True, kw_only=True, tag="want_variables"):
    """Request names, types and sizes of variables, but no values, after the user typed `@`."""


class WantDescribed(PageRequest, frozen=True, kw_only=True, tag="want_described"):
    """Request the description of a variable that the user chose."""

    name: str
    """The name of a variable, `error`, `cell` or `cell:3`, or the name of a part described earlier."""
    used: int = 0
    """Characters of the other descriptions in the same message, which has a limit."""


ExportFormat = Literal["html", "md", "ipynb"]
"""Formats in which a page can export a session, by the ending of the file."""


class WantExport(PageRequest, frozen=True, kw_only=True, tag="want_export"):
    """The user exports a session. The kernel returns the text and writes no file."""

    session_id: str
    format: ExportFormat


class Connect(PageRequest, frozen=True, kw_only=True, tag="connect"):
    """The user lists the models of a server, tests it, or chooses it for this kernel.

    A page sends it on the control channel only.
    """

    action: Literal["models", "test", "use", "reset"]
    """`reset` returns to what files and the environment configure."""
    base_url: str = ""
    api_key: str = ""
    """The typed key. Before the message is parsed, a reference in the kernel's memory takes its place.
    Empty: the key that this server already gets."""
    model: str = ""
    """Empty: the first that the server lists."""


class Typing(PageRequest, frozen=True, kw_only=True, tag="typing"):
    """The user is typing, or has emptied the text. It has no response, is not repeated and is in no log."""

    session_id: str
    """Empty: the user is no longer typing."""


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
    | Typing
)


def parse_page_message(data: object) -> PageMessage:
    """Return a message from a page as a typed value.

    Raises
    ------
    WireError
        If it does not conform to the protocol. The error names the position; nothing is executed.
    """
    try:
        message: PageMessage = decode(PageMessage, data)
    except DecodeError as error:
        raise WireError(f"a page sent something that is not in the protocol: {error}.") from error
    return message


def encode_packet(packet: Packet) -> bytes:
    """Return the packet as JSON in UTF-8.

    Values that JSON or JavaScript cannot represent are replaced, so that one of them does not block the
    messages of all sessions.
    """
    return encode_json(packet)


def pieces(payload: bytes) -> list[bytes]:
    """Split a payload into pieces of at most `MAX_PIECE` bytes."""
    return [payload[i : i + MAX_PIECE] for i in range(0, len(payload), MAX_PIECE)] or [b""]
