// Generated from nbchat/protocol.py by `make build`. Do not edit.

export const PROTOCOL_VERSION = 2;

/** Bytes of one comm message's buffer, at most; with its envelope it stays below 256 KiB. */
export const MAX_PIECE = 229376;

/** Bytes of one message from a page, at most. */
export const MAX_PAGE_MESSAGE = 10485760;

/** Characters of a command's JSON, at most. */
export const MAX_COMMAND = 16777216;

/** Characters of a command's JSON that go in one message; a longer one goes in parts. */
export const MAX_PART = 524288;

/** Messages of a transcript that a state carries; earlier ones come when the reader asks. */
export const WINDOW = 200;

/** Ask in a session; waits its turn when the session is busy. */
export interface Send {
  readonly id: string;
  readonly session_id: string;
  readonly text: string;
  readonly attachments: readonly Attachment[];
  /** Id for the new run; `None`: the kernel makes one. */
  readonly run_id: string | null;
  /** Id for the question; `None`: the kernel makes one. */
  readonly message_id: string | null;
  /** Fields of this request alone; they win over those of the session. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly type: "send";
}

/** End this run, live or queued, and keep its text. */
export interface Stop {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "stop";
}

/** End every run of a session, or of the kernel, queued ones too. */
export interface StopAll {
  readonly id: string;
  readonly session_id: string | null;
  readonly type: "stop_all";
}

/** Stop reading. */
export interface Pause {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "pause";
}

/** Read on in a paused run; where the run was interrupted and the provider can, go on with it. */
export interface Resume {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "resume";
}

/** Ask again for a failed, interrupted or stopped answer, which is replaced. */
export interface Retry {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "retry";
}

/** Ask for another version of an answer. */
export interface Regenerate {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "regenerate";
}

/** Go on at the end of an answer that is not complete. */
export interface Continue {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "continue";
}

/** Ask a changed question; the earlier one stays as a version. In the queue, change what waits. */
export interface Edit {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly text: string;
  readonly type: "edit";
}

/** Take an interrupted answer as it is. */
export interface Keep {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "keep";
}

/** Remove an answer that is over; the question stays. */
export interface Discard {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "discard";
}

/** Show this version of a turn, and take it as the context. */
export interface SelectVersion {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "select_version";
}

/** Start a new session with the conversation up to a message. */
export interface Fork {
  readonly id: string;
  readonly session_id: string;
  /** `None`: all of it. */
  readonly message_id: string | null;
  /** `None`: the same title. */
  readonly title: string | null;
  readonly type: "fork";
}

/** Make a session; the answer says its id. */
export interface NewSession {
  readonly id: string;
  readonly title: string;
  readonly type: "new_session";
}

/** Give a session a title; an empty one goes back to the first words of the first question. */
export interface Rename {
  readonly id: string;
  readonly session_id: string;
  readonly title: string;
  readonly type: "rename";
}

/** Choose model, instructions and parameters; also how what came from a file is adopted. */
export interface Configure {
  readonly id: string;
  readonly session_id: string;
  readonly model: string | null;
  readonly instructions: string | null;
  readonly params: Readonly<Record<string, unknown>>;
  readonly type: "configure";
}

/** Keep a session from being evicted, and its tab in front. */
export interface Pin {
  readonly id: string;
  readonly session_id: string;
  readonly pinned: boolean;
  readonly type: "pin";
}

/** Put a session's tab in front of another's; None: behind all others. */
export interface Move {
  readonly id: string;
  readonly session_id: string;
  readonly before: string | null;
  readonly type: "move";
}

/** Hide the tab; runs go on. With `closed=False`, show it again. */
export interface Close {
  readonly id: string;
  readonly session_id: string;
  readonly closed: boolean;
  readonly type: "close";
}

/** Put a session away: out of the tabs and of the list's first page. */
export interface Archive {
  readonly id: string;
  readonly session_id: string;
  readonly archived: boolean;
  readonly type: "archive";
}

/** Stop what runs and remove the session. With `deleted=False`, undo that. */
export interface Delete {
  readonly id: string;
  readonly session_id: string;
  readonly deleted: boolean;
  readonly type: "delete";
}

/** Which sessions this page shows at the moment; their answers are read, not unread. */
export interface Viewing {
  readonly id: string;
  readonly session_ids: readonly string[];
  readonly type: "viewing";
}

/** Change what one view shows: its chosen tab, its list of sessions, or both. */
export interface SetView {
  readonly id: string;
  readonly view_id: string;
  /** Id of the session whose tab was chosen; None: unchanged. */
  readonly active: string | null;
  /** The sessions that the view shows; None: unchanged. */
  readonly session_ids: readonly string[] | null;
  readonly type: "set_view";
}

/** Ask a session's server which models there are; the answer is a `models` message. */
export interface ListModels {
  readonly id: string;
  /** None: the server that new sessions ask. */
  readonly session_id: string | null;
  readonly type: "list_models";
}

export type Command =
  | Send
  | Stop
  | StopAll
  | Pause
  | Resume
  | Retry
  | Regenerate
  | Continue
  | Edit
  | Keep
  | Discard
  | SelectVersion
  | Fork
  | NewSession
  | Rename
  | Configure
  | Pin
  | Move
  | Close
  | Archive
  | Delete
  | Viewing
  | SetView
  | ListModels;

/** Where on a run's way an error happened. */
export type Stage =
  | "command"
  | "connect"
  | "first_byte"
  | "stream"
  | "tool"
  | "persist"
  | "restore"
  | "view";

/**
 * `False`: trying again cannot help. `True`: it may. A number: it may, after that many seconds.
 */
export type Retryable = boolean | number;

/** What is kept of an error in the log, on the wire and in a snapshot: no traceback, no secret. */
export interface ErrorInfo {
  /** The class's name in `snake_case`, as `rate_limited`. */
  readonly code: string;
  readonly message: string;
  readonly stage: Stage;
  readonly retryable: Retryable;
  /** One sentence that says what to do next. */
  readonly hint: string;
  readonly http_status: number | null;
  readonly request_id: string | null;
  /** Characters of the answer that had arrived. */
  readonly partial_chars: number;
}

/** Why a run was started. */
export type RunKind = "send" | "retry" | "regenerate" | "continue" | "resume";

/** What the user chose for a session; every field may change at any time. */
export interface Settings {
  /** Empty: the page shows the first words of the first question. */
  readonly title: string;
  readonly model: string | null;
  readonly instructions: string | null;
  readonly params: Readonly<Record<string, unknown>>;
  /** Name of an `nbchat.providers` entry point; None for the configured one. */
  readonly provider: string | null;
  readonly pinned: boolean;
  /**
   * Place among the tabs, lowest first; None: by when the session was made, in seconds since 1970.
   */
  readonly rank: number | null;
  /** The tab is hidden; runs go on. */
  readonly closed: boolean;
  readonly archived: boolean;
  /** Model, instructions and parameters came with a file and wait for the user's word. */
  readonly from_file: boolean;
}

/** The session began, or was taken over from a snapshot of another lineage. */
export interface SessionCreated {
  readonly at: number;
  readonly settings: Settings;
  readonly temporary: boolean;
  readonly thread_id: string | null;
  readonly type: "session_created";
}

/** The user chose other settings; the whole of them, so that applying twice changes nothing. */
export interface SettingsChanged {
  readonly settings: Settings;
  readonly type: "settings_changed";
}

/** An answer arrived that nobody was looking at, or somebody looked. */
export interface UnreadChanged {
  readonly unread: boolean;
  readonly type: "unread_changed";
}

/** The session was removed; an undo takes it back. */
export interface SessionDeleted {
  readonly at: number;
  readonly deleted: boolean;
  readonly type: "session_deleted";
}

/** A message that no run generated entered the tree: imported, forked, restored. */
export interface MessageAdded {
  readonly message: Message;
  readonly type: "message_added";
}

/** A message and all that follows it were discarded. */
export interface MessageRemoved {
  readonly message_id: string;
  readonly type: "message_removed";
}

/** Of several versions of a turn, this one is shown and is the context. */
export interface MessageSelected {
  readonly message_id: string;
  readonly type: "message_selected";
}

/**
 * A run was asked for. Its user message enters the transcript when it starts.
 *
 * Said again of a run that still waits, it changes the message.
 */
export interface RunQueued {
  readonly run_id: string;
  readonly at: number;
  readonly kind: RunKind;
  /** The answer: a new message, or with `continue` and `resume` the one to append to. */
  readonly message_id: string;
  /** The user's message; its `parent_id` counts only if `rooted`. */
  readonly prompt: Message | null;
  /** The prompt (or the answer) has its place in the tree already: an edit, a new version. */
  readonly rooted: boolean;
  /** With `rooted` and no prompt: the user message that the answer follows. */
  readonly parent_id: string | null;
  /**
   * The answer that goes away: at this run's start where it is empty, else with this run's first
   * part.
   */
  readonly replaces: string | null;
  /** Fields of the request for this run alone; they win over those of the session. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly type: "run_queued";
}

/** The run got its turn: the user message and an empty answer are in the transcript. */
export interface RunStarted {
  readonly run_id: string;
  readonly at: number;
  readonly prompt: Message | null;
  /** The new, empty answer; None where the run appends to an existing one. */
  readonly answer: Message | null;
  /** The model asked for. */
  readonly model: string | null;
  readonly type: "run_started";
}

/** An attempt failed before the first token; the next one comes after a wait. */
export interface RunRetrying {
  readonly run_id: string;
  /** The number of the retry that will follow, from 1. */
  readonly attempt: number;
  readonly of: number;
  readonly retry_at: number;
  readonly error: ErrorInfo;
  readonly type: "run_retrying";
}

/** A wait is over and the run asks the provider (again). */
export interface RunConnecting {
  readonly run_id: string;
  readonly type: "run_connecting";
}

/** The provider said which model answers, and under which id. */
export interface RunAnswering {
  readonly run_id: string;
  readonly model: string | null;
  readonly response_id: string | null;
  readonly sequence: number;
  readonly type: "run_answering";
}

/** A new, empty part of the answer; parts are numbered from 0 in their message. */
export interface PartStarted {
  readonly run_id: string;
  readonly at: number;
  readonly part_index: number;
  readonly part: Part;
  readonly type: "part_started";
}

/** Text to append to one part of the answer. */
export interface PartDelta {
  readonly run_id: string;
  readonly at: number;
  readonly part_index: number;
  /** Length of the part before, in UTF-16 code units. */
  readonly offset: number;
  readonly text: string;
  readonly type: "part_delta";
}

/** No more text for this part; what a view shows can be verified. */
export interface PartEnded {
  readonly run_id: string;
  readonly part_index: number;
  /** UTF-16 code units. */
  readonly length: number;
  /** Of the UTF-8. */
  readonly crc32: number;
  /** From the part's start to its end. */
  readonly seconds: number;
  readonly call_id: string | null;
  /** A tool call's id and name, which may be complete only now. */
  readonly name: string | null;
  readonly type: "part_ended";
}

/** Reading has stopped; the connection is held. */
export interface RunPaused {
  readonly run_id: string;
  readonly at: number;
  readonly type: "run_paused";
}

/** Reading goes on, in the middle of the text. */
export interface RunResumed {
  readonly run_id: string;
  readonly type: "run_resumed";
}

/** A run that was paused before its turn waits for it again. */
export interface RunRequeued {
  readonly run_id: string;
  readonly type: "run_requeued";
}

/** The user wants the run to end; a delta may still be on its way. */
export interface StopRequested {
  readonly run_id: string;
  readonly at: number;
  readonly type: "stop_requested";
}

/** The model finished its answer. */
export interface RunCompleted {
  readonly run_id: string;
  readonly at: number;
  readonly finish_reason: string;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_completed";
}

/** The model stopped early: `length`, `content_filter`. */
export interface RunIncomplete {
  readonly run_id: string;
  readonly at: number;
  readonly finish_reason: string;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_incomplete";
}

/** The user ended it; what had arrived is kept. */
export interface RunStopped {
  readonly run_id: string;
  readonly at: number;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_stopped";
}

/** It ended before anything had arrived. */
export interface RunFailed {
  readonly run_id: string;
  readonly at: number;
  readonly error: ErrorInfo;
  readonly usage: Usage | null;
  readonly type: "run_failed";
}

/** It ended in the middle, without a finish reason; what had arrived is kept. */
export interface RunInterrupted {
  readonly run_id: string;
  readonly at: number;
  readonly error: ErrorInfo;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_interrupted";
}

/** The user decided to keep an interrupted answer as it is. */
export interface RunAcknowledged {
  readonly run_id: string;
  readonly type: "run_acknowledged";
}

/** Whether the journal holds the run's end; said only when it does not, or does after all. */
export interface RunSaved {
  readonly run_id: string;
  readonly saved: boolean;
  readonly type: "run_saved";
}

/** What moves a run, or happens inside one. */
export type RunEvent =
  | RunStarted
  | RunRetrying
  | RunConnecting
  | RunAnswering
  | PartStarted
  | PartDelta
  | PartEnded
  | RunPaused
  | RunResumed
  | RunRequeued
  | StopRequested
  | RunCompleted
  | RunIncomplete
  | RunStopped
  | RunFailed
  | RunInterrupted;

export type EndEvent = RunCompleted | RunIncomplete | RunStopped | RunFailed | RunInterrupted;

export type Event =
  | SessionCreated
  | SettingsChanged
  | UnreadChanged
  | SessionDeleted
  | MessageAdded
  | MessageRemoved
  | MessageSelected
  | RunQueued
  | RunStarted
  | RunRetrying
  | RunConnecting
  | RunAnswering
  | PartStarted
  | PartDelta
  | PartEnded
  | RunPaused
  | RunResumed
  | RunRequeued
  | StopRequested
  | RunCompleted
  | RunIncomplete
  | RunStopped
  | RunFailed
  | RunInterrupted
  | RunAcknowledged
  | RunSaved;

export type Role = "system" | "user" | "assistant" | "tool";

/** Tokens that a server says a run took; a count it did not give is None. */
export interface Usage {
  readonly input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly reasoning_tokens: number | null;
  readonly cached_tokens: number | null;
}

/** A stretch of Markdown, the user's or the model's. */
export interface TextPart {
  readonly text: string;
  readonly type: "text";
}

/** What the model thought aloud; shown folded, never sent back. */
export interface ReasoningPart {
  readonly text: string;
  /** How long it took, once it is over. */
  readonly seconds: number | null;
  readonly type: "reasoning";
}

/** A call the model asked for. `text` is the JSON of its arguments, as it arrived. */
export interface ToolCallPart {
  readonly call_id: string;
  readonly name: string;
  readonly text: string;
  readonly type: "tool_call";
}

/** What a tool returned; data, never parsed as structure again. */
export interface ToolResultPart {
  readonly call_id: string;
  readonly text: string;
  readonly is_error: boolean;
  readonly type: "tool_result";
}

/** An image the user attached, as a `data:` URL of type png, jpeg, gif or webp. */
export interface ImagePart {
  /** The whole `data:` URL. */
  readonly text: string;
  readonly name: string;
  readonly type: "image";
}

/**
 * A text file the user attached. It is not part of the message's `text`; a model reads `markdown`.
 */
export interface FilePart {
  readonly text: string;
  readonly name: string;
  /**
   * `variable`: the description of a variable of the notebook, as `nbchat.describe` returns it.
   */
  readonly kind: "file" | "variable";
  readonly type: "file";
}

/** A page or a file that an answer cites, as the server named it. */
export interface Source {
  /** Empty where the server gave an address alone. */
  readonly title: string;
  /** Empty for a file. It comes from the server: only `http` and `https` are drawn as links. */
  readonly url: string;
}

/** What a user may add to a message. */
export type Attachment = ImagePart | FilePart;

export type Part = TextPart | ReasoningPart | ToolCallPart | ToolResultPart | ImagePart | FilePart;

export type PartType = "text" | "reasoning" | "tool_call" | "tool_result" | "image" | "file";

/** One turn: who said it, and its pieces. */
export interface Message {
  readonly id: string;
  readonly role: Role;
  readonly parts: readonly Part[];
  /** Seconds since 1970-01-01 UTC. */
  readonly created_at: number;
  /** The message this one follows; None for the first. Siblings are versions of one turn. */
  readonly parent_id: string | null;
  /** The run that generated it last; None for what the user wrote. */
  readonly run_id: string | null;
  /** The model that answered, as the server named it. */
  readonly model: string | null;
  readonly finish_reason: string | null;
  readonly usage: Usage | null;
  /** What the answer cites, in the order of its numbers. */
  readonly sources: readonly Source[];
  /**
   * Sentences that a reader of the answer has to know, such as "1 item of type … is not shown.".
   */
  readonly notices: readonly string[];
}

/** One plain word, the same in Python, on the wire and in the page. */
export type RunState =
  | "queued"
  | "connecting"
  | "streaming"
  | "paused"
  | "retrying"
  | "awaiting_approval"
  | "stopping"
  | "completed"
  | "incomplete"
  | "stopped"
  | "failed"
  | "interrupted";

/** What is known of a run: an immutable value in the session's state, folded from its events. */
export interface RunRecord {
  readonly id: string;
  readonly kind: RunKind;
  readonly state: RunState;
  /** The answer. */
  readonly message_id: string;
  readonly queued_at: number;
  /** The user's message, as long as it waits outside of the transcript. */
  readonly prompt: Message | null;
  readonly prompt_id: string | null;
  readonly rooted: boolean;
  readonly parent_id: string | null;
  readonly replaces: string | null;
  /** Fields of the request for this run alone; they win over those of the session. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Index of the first part of the answer that is this run's. */
  readonly first_part: number;
  readonly started_at: number | null;
  readonly first_delta_at: number | null;
  readonly last_delta_at: number | null;
  readonly ended_at: number | null;
  /** Accepted so far, text and reasoning. */
  readonly characters: number;
  /** Retries so far. */
  readonly attempt: number;
  /** Retries that are allowed. */
  readonly attempts: number;
  readonly retry_at: number | null;
  /** The model that answers; until that is known, the one asked for. */
  readonly model: string | null;
  readonly response_id: string | null;
  readonly response_sequence: number;
  readonly finish_reason: string | null;
  readonly usage: Usage | null;
  /** Of a failed or interrupted run, the cause; of a retrying one, why. */
  readonly error: ErrorInfo | null;
  readonly acknowledged: boolean;
  readonly saved: boolean;
}

/** Everything about a session at one `seq`. */
export interface SessionState {
  readonly id: string;
  /** Number of the last event folded in; 0 before the first. */
  readonly seq: number;
  readonly created_at: number;
  readonly settings: Settings;
  readonly temporary: boolean;
  /** The name by which `nbchat.get_completion` finds this session. */
  readonly thread_id: string | null;
  readonly deleted: boolean;
  readonly unread: boolean;
  /** All versions of all turns, by id, in the order they came. */
  readonly messages: Readonly<Record<string, Message>>;
  /** Parent's id (or `ROOT`) to the id of the child that is shown. */
  readonly selected: Readonly<Record<string, string>>;
  /** Oldest first; at most one is live and not queued. */
  readonly runs: readonly RunRecord[];
}

/** A session as its tab shows it. A newer head replaces an older one whole. */
export interface Head {
  readonly id: string;
  /** Number of the session's last visible event. */
  readonly seq: number;
  readonly title: string;
  /** `status` of the session: of the live run, else of the last one, else `idle`. */
  readonly state: string;
  /** The live run. */
  readonly run_id: string | null;
  readonly model: string | null;
  readonly created_at: number;
  /** When something last happened in a run. */
  readonly active_at: number;
  /** When the live run started. */
  readonly started_at: number | null;
  /** Of the live run, so far. */
  readonly characters: number;
  /** Runs that wait behind the live one. */
  readonly queued: number;
  /** Place in the kernel's queue, from 1, where the live run waits for a slot. */
  readonly position: number | null;
  readonly unread: boolean;
  readonly pinned: boolean;
  /** Place among the tabs, lowest first; pinned ones stand before all others. */
  readonly rank: number;
  readonly closed: boolean;
  readonly archived: boolean;
  readonly deleted: boolean;
  readonly temporary: boolean;
  /** Length of the transcript. */
  readonly messages: number;
  /** Answered by a provider object of its own, not by one that settings or configuration name. */
  readonly own_provider: boolean;
  /** Identifies the session in `deltas` and `progress`, as long as the epoch lasts. */
  readonly number: number;
}

/** The answer to `hello`: which kernel this is, and how it is set up. */
export interface Welcome {
  readonly to: string;
  /** nbchat's version in the kernel. */
  readonly version: string;
  /** Answers come from the embedded server. */
  readonly demo: boolean;
  /** Where answers come from, for people: `demo`, or the server's host. */
  readonly provider: string;
  /** The model used where a session names none, if that is known. */
  readonly model: string | null;
  readonly type: "welcome";
}

/** Sessions that changed; with `all`, every session there is. */
export interface Heads {
  readonly heads: readonly Head[];
  /** Sessions that are not in `heads` are gone. */
  readonly all: boolean;
  readonly type: "heads";
}

/** A stretch of one session's log. */
export interface Events {
  readonly session_id: string;
  readonly first_seq: number;
  readonly events: readonly Event[];
  readonly type: "events";
}

/**
 * A `PartDelta` of the live run of a session. An array on the wire, since names and ids would
 * repeat.
 */
export type Delta = readonly [
  /** `number` of the session's head. */
  session: number,
  seq: number,
  /** Microseconds after `at` of the message. */
  at: number,
  part_index: number,
  offset: number,
  text: string,
];

/** Text of many sessions, in place of `events` for sessions where nothing else has happened. */
export interface Deltas {
  /** Microseconds since 1970-01-01 UTC. */
  readonly at: number;
  readonly deltas: readonly Delta[];
  readonly type: "deltas";
}

/** The fields of a head that change while an answer arrives. An array on the wire. */
export type Counts = readonly [
  /** `number` of the session's head. */
  session: number,
  seq: number,
  active_at: number,
  characters: number,
];

/** Counts of sessions whose heads have not changed otherwise. */
export interface Progress {
  readonly counts: readonly Counts[];
  readonly type: "progress";
}

/** A session whole, at `state.seq`; what a page has of it is replaced unless it is newer. */
export interface SessionStateMessage {
  /**
   * Windowed: `messages` holds the last `WINDOW` of the transcript, with their versions, and
   * `selected[""]` names the first of them.
   */
  readonly state: SessionState;
  /** Messages of the transcript before the window. */
  readonly omitted: number;
  readonly to: string | null;
  readonly type: "session_state";
}

/** Messages before the window, oldest first, to be put in front. */
export interface EarlierMessages {
  readonly to: string;
  readonly session_id: string;
  readonly messages: readonly Message[];
  readonly selected: Readonly<Record<string, string>>;
  /** Messages that are before these. */
  readonly omitted: number;
  readonly type: "earlier_messages";
}

/** What became of a command. Said once for each time it was asked. */
export interface Ack {
  readonly id: string;
  /** None: done. */
  readonly error: ErrorInfo | null;
  /** The session made by `new_session` and `fork`. */
  readonly session_id: string | null;
  readonly run_id: string | null;
  readonly type: "ack";
}

/** The answer to `hello` or `sync` ends here: the page has everything up to this packet. */
export interface Synced {
  readonly to: string;
  readonly id: string;
  readonly type: "synced";
}

/** Where answers come from has changed. */
export interface Config {
  readonly demo: boolean;
  readonly provider: string;
  readonly model: string | null;
  readonly type: "config";
}

/** The models that a session's server lists, in its order. */
export interface Models {
  readonly models: readonly string[];
  /** None: the server that new sessions ask. */
  readonly session_id: string | null;
  /** The one that answers where the session's settings name none. */
  readonly model: string | null;
  readonly error: ErrorInfo | null;
  readonly type: "models";
}

/** Where the state is kept, and whether it is. */
export interface Saving {
  readonly state: "off" | "saved" | "saving" | "unsaved";
  /** Why it is not. */
  readonly error: ErrorInfo | null;
  readonly type: "saving";
}

/** The notebook's metadata key `nbchat`, for the page that writes it. */
export interface Checkpoint {
  /** The page where the user last acted; None: whichever page there is. */
  readonly to: string | null;
  /** Counts up; a page never writes an older one over a newer one. */
  readonly version: number;
  readonly metadata: Readonly<Record<string, unknown>>;
  /**
   * What the page does not have yet of the outputs for where no widget runs: MIME bundles by
   * output.
   */
  readonly transcripts: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** No answer is being generated. Else the page keeps the outputs until the notebook is saved. */
  readonly settled: boolean;
  readonly type: "checkpoint";
}

/**
 * A bundle that not every page needs: maths, the highlighter, what opens at a click, a language.
 */
export type AssetName = "math" | "highlight" | "extras" | "zh-CN";

/** A bundle of the page, as the text of an ES module. */
export interface Asset {
  readonly to: string;
  readonly name: AssetName;
  readonly text: string;
  readonly type: "asset";
}

/** A message in which something was found: where, and the words around it. */
export interface Hit {
  readonly session_id: string;
  readonly message_id: string;
  readonly before: string;
  readonly match: string;
  readonly after: string;
}

/** The answer to `search`. */
export interface SearchResults {
  readonly to: string;
  readonly id: string;
  /** The session that was active last comes first, and in each the newest message. */
  readonly hits: readonly Hit[];
  /** There may be more: the search ended at a limit. */
  readonly more: boolean;
  readonly type: "search_results";
}

/** A variable of the notebook, as it is offered where the user types `@`. */
export interface Variable {
  readonly name: string;
  /** The name of its type. */
  readonly kind: string;
  /** Its shape or length, for people; empty where it has none at hand. */
  readonly size: string;
}

/** The answer to `want_variables`. */
export interface Variables {
  readonly to: string;
  readonly id: string;
  readonly variables: readonly Variable[];
  readonly type: "variables";
}

/** The answer to `want_described`: the parts that are sent if the user sends them. */
export interface Described {
  readonly to: string;
  readonly id: string;
  /** A text, and of a figure a picture too; empty if there is no such variable. */
  readonly parts: readonly Attachment[];
  readonly type: "described";
}

/** The answer to `want_export`: a session as a file, which the page offers as a download. */
export interface Exported {
  readonly to: string;
  readonly id: string;
  /** Suggested name of the file. */
  readonly name: string;
  readonly text: string;
  readonly error: ErrorInfo | null;
  readonly type: "exported";
}

/** The answer to `connect`. */
export interface Connected {
  readonly to: string;
  readonly id: string;
  /** The models that the server lists, after `models`. */
  readonly models: readonly string[];
  /** The beginning of the model's answer, after `test`. */
  readonly text: string;
  /** Why it failed; after `use`, nothing has changed then. */
  readonly error: ErrorInfo | null;
  readonly type: "connected";
}

export type KernelMessage =
  | Welcome
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
  | Connected;

/** What the kernel says in one tick, to all pages. */
export interface Packet {
  readonly epoch: string;
  /** Counts packets with news from 1; an empty packet repeats the last number. */
  readonly n: number;
  /** The directory's revision: all heads up to it have been said by packet `n`. */
  readonly rev: number;
  readonly messages: readonly KernelMessage[];
  readonly protocol: number;
  readonly type: "packet";
}

/** A page is there. Answered by `welcome`, then as `sync`. */
export interface Hello {
  readonly id: string;
  readonly page: string;
  readonly protocol: number;
  /** nbchat's version in the page. */
  readonly version: string;
  /** The kernel that `rev` and `sessions` are about; None for a new page. */
  readonly epoch: string | null;
  readonly rev: number;
  /** Last `seq` applied, for each session the page wants; 0: send it whole. */
  readonly sessions: Readonly<Record<string, number>>;
  readonly type: "hello";
}

/** A page missed something, was silent for long, or wants more sessions. */
export interface Sync {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly rev: number;
  readonly sessions: Readonly<Record<string, number>>;
  readonly type: "sync";
}

/** The reader scrolled to the beginning of the window. */
export interface WantEarlier {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly session_id: string;
  /** Id of the first message the page has. */
  readonly before: string;
  readonly type: "want_earlier";
}

/** A command, from the page where the user acted. */
export interface RunCommand {
  readonly page: string;
  readonly epoch: string;
  readonly command: Command;
  readonly type: "run_command";
}

/** A part of a command that is too long for one message: a stretch of its JSON. */
export interface CommandChunk {
  /** The command's. */
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /** Counted from 0. */
  readonly part: number;
  readonly of: number;
  readonly text: string;
  readonly type: "command_chunk";
}

/** What the page found under the notebook's metadata key `nbchat` (a piece of its JSON). */
export interface Stored {
  readonly id: string;
  readonly page: string;
  readonly piece: number;
  readonly of: number;
  readonly text: string;
  /** The notebook's path, as the page knows it. */
  readonly path: string;
  readonly type: "stored";
}

/** The notebook is about to be saved, or has been; the newest state is wanted. */
export interface WantCheckpoint {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /** The checkpoint that the page has. */
  readonly version: number;
  /**
   * The notebook's path, as the page knows it now: it may have been renamed, or saved as another.
   */
  readonly path: string;
  readonly type: "want_checkpoint";
}

/**
 * A page needs a bundle: it shows the first formula, speaks another language, or has time for it.
 */
export interface GetAsset {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly name: AssetName;
  readonly type: "get_asset";
}

/**
 * The reader looks for words in all sessions. A page's next search takes the place of its last.
 */
export interface Search {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly query: string;
  readonly type: "search";
}

/** The user typed `@`: names, types and sizes of variables are wanted, and no values. */
export interface WantVariables {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly type: "want_variables";
}

/** The user chose a variable: its description is wanted. */
export interface WantDescribed {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly name: string;
  readonly type: "want_described";
}

/** Formats in which a page can export a session, by the ending of the file. */
export type ExportFormat = "html" | "md" | "ipynb";

/** The user exports a session. The kernel returns the text and writes no file. */
export interface WantExport {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly session_id: string;
  readonly format: ExportFormat;
  readonly type: "want_export";
}

/**
 * The user lists the models of a server, tests it, or chooses it for this kernel.
 *
 * A page sends it on the control channel only.
 */
export interface Connect {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /** `reset` returns to what files and the environment configure. */
  readonly action: "models" | "reset" | "test" | "use";
  readonly base_url: string;
  /**
   * The typed key. Before the message is parsed, a reference in the kernel's memory takes its
   * place.
   * Empty: the key that this server already gets.
   */
  readonly api_key: string;
  /** Empty: the first that the server lists. */
  readonly model: string;
  readonly type: "connect";
}

export type PageMessage =
  | Hello
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
  | Connect;

/** Where an event leads from each state; what is not in a state's row is not taken there. */
export const TRANSITIONS: Readonly<
  Record<RunState, Readonly<Partial<Record<Event["type"], RunState>>>>
> = {
  queued: {
    run_started: "connecting",
    run_paused: "paused",
    stop_requested: "stopping",
    run_failed: "failed",
    run_interrupted: "interrupted",
  },
  connecting: {
    run_answering: "connecting",
    run_retrying: "retrying",
    part_started: "streaming",
    run_paused: "paused",
    stop_requested: "stopping",
    run_completed: "completed",
    run_incomplete: "incomplete",
    run_interrupted: "interrupted",
    run_failed: "failed",
  },
  retrying: {
    run_connecting: "connecting",
    run_paused: "paused",
    stop_requested: "stopping",
    run_failed: "failed",
    run_interrupted: "interrupted",
  },
  streaming: {
    run_answering: "streaming",
    part_started: "streaming",
    part_delta: "streaming",
    part_ended: "streaming",
    run_paused: "paused",
    stop_requested: "stopping",
    run_completed: "completed",
    run_incomplete: "incomplete",
    run_interrupted: "interrupted",
    run_failed: "failed",
  },
  paused: {
    part_delta: "paused",
    part_ended: "paused",
    run_resumed: "streaming",
    run_connecting: "connecting",
    run_requeued: "queued",
    stop_requested: "stopping",
    run_completed: "completed",
    run_incomplete: "incomplete",
    run_interrupted: "interrupted",
    run_failed: "failed",
  },
  awaiting_approval: {
    stop_requested: "stopping",
    run_completed: "completed",
    run_incomplete: "incomplete",
    run_interrupted: "interrupted",
    run_failed: "failed",
  },
  stopping: {
    run_answering: "stopping",
    part_started: "stopping",
    part_delta: "stopping",
    part_ended: "stopping",
    stop_requested: "stopping",
    run_stopped: "stopped",
    run_completed: "completed",
    run_incomplete: "incomplete",
    run_interrupted: "interrupted",
    run_failed: "failed",
  },
  completed: {},
  incomplete: {},
  stopped: {},
  failed: {},
  interrupted: {},
};
