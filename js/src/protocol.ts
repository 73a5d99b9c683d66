// Generated from nbchat/protocol.py by `make build`. Do not edit.

export const PROTOCOL_VERSION = 2;

/**
 * Maximum size in bytes of the buffer of a comm message, which with its envelope stays below 256
 * KiB.
 */
export const MAX_PIECE = 229376;

/** Maximum size in bytes of a message from a page. */
export const MAX_PAGE_MESSAGE = 10485760;

/** Maximum number of characters of a command's JSON. */
export const MAX_COMMAND = 16777216;

/**
 * Maximum number of characters of a command's JSON in one message. A longer command is sent in
 * parts.
 */
export const MAX_PART = 524288;

/** Messages of a transcript that a state contains. Earlier ones are sent on request. */
export const WINDOW = 200;

/** The user's decision on a tool call. */
export type Decision = "run" | "run_all" | "refuse";

/** Send a message to a session. It is queued if the session is busy. */
export interface Send {
  readonly id: string;
  readonly session_id: string;
  readonly text: string;
  readonly attachments: readonly Attachment[];
  /** Id of the new run; `None`: the kernel creates one. */
  readonly run_id: string | null;
  /** Id of the question; `None`: the kernel creates one. */
  readonly message_id: string | null;
  /** Request fields of this run, which override those of the session. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly type: "send";
}

/** Stop a live or queued run, and keep its text. */
export interface Stop {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "stop";
}

/** Stop all runs of a session or of the kernel, including queued ones. */
export interface StopAll {
  readonly id: string;
  readonly session_id: string | null;
  readonly type: "stop_all";
}

/** Stop reading the answer until `resume`. */
export interface Pause {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "pause";
}

/** Resume a paused run, or an interrupted one if the provider supports it. */
export interface Resume {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "resume";
}

/** End the delay before the next attempt of a run. Without such a delay it does nothing. */
export interface RetryNow {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "retry_now";
}

/** Decide on a tool call that waits for approval. Each call is decided once. */
export interface Decide {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly call_id: string;
  /** `run`, `run_all` (also all later calls of this run) or `refuse`. */
  readonly decision: Decision;
  /** CRC-32 of the arguments that were displayed, in UTF-8. Other arguments are not approved. */
  readonly shown: number;
  /** With `refuse`: text for the model, such as "use the test table". */
  readonly reason: string;
  readonly type: "decide";
}

/**
 * Switch one of a session's tools off or on again, for questions that start later. It is not saved.
 */
export interface SwitchTool {
  readonly id: string;
  readonly session_id: string;
  readonly name: string;
  readonly on: boolean;
  readonly type: "switch_tool";
}

/** Generate a failed, interrupted or stopped answer again, and replace it. */
export interface Retry {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "retry";
}

/** Generate another version of an answer. */
export interface Regenerate {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "regenerate";
}

/** Continue an incomplete answer at its end. */
export interface Continue {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "continue";
}

/**
 * Send an edited question and keep the earlier one as a version. A queued question changes in
 * place.
 */
export interface Edit {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly text: string;
  readonly type: "edit";
}

/** Keep an interrupted answer as it is. */
export interface Keep {
  readonly id: string;
  readonly session_id: string;
  readonly run_id: string;
  readonly type: "keep";
}

/** Remove an answer whose run has ended, and keep the question. */
export interface Discard {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "discard";
}

/** Select the version of a turn that is shown and used as context. */
export interface SelectVersion {
  readonly id: string;
  readonly session_id: string;
  readonly message_id: string;
  readonly type: "select_version";
}

/** Create a session with the conversation up to a message. */
export interface Fork {
  readonly id: string;
  readonly session_id: string;
  /** `None`: the whole conversation. */
  readonly message_id: string | null;
  /** `None`: the same title, with a word that marks it as a fork. */
  readonly title: string | null;
  /** That word, in the language of the sender. */
  readonly word: string;
  readonly type: "fork";
}

/** Create a session. The acknowledgement contains its id. */
export interface NewSession {
  readonly id: string;
  readonly title: string;
  readonly type: "new_session";
}

/** Set a session's title. An empty title selects the first words of the first question. */
export interface Rename {
  readonly id: string;
  readonly session_id: string;
  readonly title: string;
  readonly type: "rename";
}

/** Set model, instructions and parameters. This also adopts settings that came from a file. */
export interface Configure {
  readonly id: string;
  readonly session_id: string;
  readonly model: string | null;
  readonly instructions: string | null;
  readonly params: Readonly<Record<string, unknown>>;
  readonly type: "configure";
}

/** Protect a session from eviction, and place its tab first. */
export interface Pin {
  readonly id: string;
  readonly session_id: string;
  readonly pinned: boolean;
  readonly type: "pin";
}

/** Move a session's tab before another one. `before=None` moves it to the end. */
export interface Move {
  readonly id: string;
  readonly session_id: string;
  readonly before: string | null;
  readonly type: "move";
}

/** Hide a session's tab; its runs continue. With `closed=False`, show it again. */
export interface Close {
  readonly id: string;
  readonly session_id: string;
  readonly closed: boolean;
  readonly type: "close";
}

/** Archive a session: remove it from the tabs and from the first page of the list. */
export interface Archive {
  readonly id: string;
  readonly session_id: string;
  readonly archived: boolean;
  readonly type: "archive";
}

/** Stop a session's runs and remove it. With `deleted=False`, restore it. */
export interface Delete {
  readonly id: string;
  readonly session_id: string;
  readonly deleted: boolean;
  readonly type: "delete";
}

/** Set the sessions that the page shows now. Their answers are not marked as unread. */
export interface Viewing {
  readonly id: string;
  readonly session_ids: readonly string[];
  /** Sessions for which the page holds unsent text or files. */
  readonly drafts: readonly string[];
  readonly type: "viewing";
}

/** Change a view's active tab or its list of sessions, or show it in a panel. */
export interface SetView {
  readonly id: string;
  readonly view_id: string;
  /** Id of the session whose tab is active; `None`: unchanged. */
  readonly active: string | null;
  /** Sessions that the view shows; `None`: unchanged. */
  readonly session_ids: readonly string[] | null;
  /**
   * `True`: show the view in a panel beside the notebook, as `ChatTabs.panel` does; else no change.
   */
  readonly panel: boolean;
  readonly type: "set_view";
}

/** List the models of a session's server. The response is a `models` message. */
export interface ListModels {
  readonly id: string;
  /** `None`: the server of new sessions. */
  readonly session_id: string | null;
  readonly type: "list_models";
}

export type Command =
  | Send
  | Stop
  | StopAll
  | Pause
  | Resume
  | RetryNow
  | Decide
  | SwitchTool
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

/** Stage of a run at which an error occurred. */
export type Stage =
  | "command"
  | "connect"
  | "first_byte"
  | "stream"
  | "tool"
  | "persist"
  | "restore"
  | "view";

/** `False`: a retry cannot succeed. `True`: it may. A number: it may, after that many seconds. */
export type Retryable = boolean | number;

/**
 * An error as recorded in the log, on the wire and in a snapshot, without traceback and secrets.
 */
export interface ErrorInfo {
  /** The class's name in `snake_case`, such as `rate_limited`. */
  readonly code: string;
  readonly message: string;
  readonly stage: Stage;
  readonly retryable: Retryable;
  /** The next step for the user, in one sentence. */
  readonly hint: string;
  readonly http_status: number | null;
  readonly request_id: string | null;
  /** Number of characters of the answer that had arrived. */
  readonly partial_chars: number;
}

/** Command that started a run. */
export type RunKind = "send" | "retry" | "regenerate" | "continue" | "resume";

/** Source of the approval of a tool call. */
export type Approver = "user" | "policy" | "author";

/** The user's settings of a session. Every field may change at any time. */
export interface Settings {
  /** Empty: the page shows the first words of the first question. */
  readonly title: string;
  readonly model: string | null;
  readonly instructions: string | null;
  readonly params: Readonly<Record<string, unknown>>;
  /** Name of an `nbchat.providers` entry point; `None`: the configured one. */
  readonly provider: string | null;
  readonly pinned: boolean;
  /**
   * Position among the tabs, lowest first; `None`: the session's creation time, in seconds since
   * 1970.
   */
  readonly rank: number | null;
  /** The tab is hidden; runs continue. */
  readonly closed: boolean;
  readonly archived: boolean;
  /**
   * Model, instructions and parameters came from a file and are not used until the user adopts
   * them.
   */
  readonly from_file: boolean;
  /**
   * Name of the person who last changed the title, the model, the instructions or the parameters.
   */
  readonly changed_by?: string;
}

/** The session was created, or restored from a snapshot of another lineage. */
export interface SessionCreated {
  readonly at: number;
  readonly settings: Settings;
  readonly temporary: boolean;
  readonly thread_id: string | null;
  readonly type: "session_created";
}

/** The settings changed. The event has all of them, so that applying it twice changes nothing. */
export interface SettingsChanged {
  readonly settings: Settings;
  readonly type: "settings_changed";
}

/** An answer arrived that no page showed, or an unread answer was shown. */
export interface UnreadChanged {
  readonly unread: boolean;
  readonly type: "unread_changed";
}

/** The session was deleted or, with `deleted=False`, restored. */
export interface SessionDeleted {
  readonly at: number;
  readonly deleted: boolean;
  readonly type: "session_deleted";
}

/** A message that no run generated was added to the tree: imported, forked, restored. */
export interface MessageAdded {
  readonly message: Message;
  readonly type: "message_added";
}

/** A message and its descendants were discarded. */
export interface MessageRemoved {
  readonly message_id: string;
  readonly type: "message_removed";
}

/** A version of a turn was selected: it is shown and used as context. */
export interface MessageSelected {
  readonly message_id: string;
  readonly type: "message_selected";
}

/**
 * A run was queued. Its user message is added to the transcript when the run starts.
 *
 * For a run that is still queued, the event replaces the message.
 */
export interface RunQueued {
  readonly run_id: string;
  readonly at: number;
  readonly kind: RunKind;
  /** Id of the answer: a new message, or with `continue` and `resume` the one to append to. */
  readonly message_id: string;
  /** The user's message. Its `parent_id` is used only if `rooted`. */
  readonly prompt: Message | null;
  /** The position of the prompt (or the answer) in the tree is fixed: an edit, a new version. */
  readonly rooted: boolean;
  /** With `rooted` and no prompt: id of the user message that the answer follows. */
  readonly parent_id: string | null;
  /**
   * Id of the answer to remove: when this run starts if it is empty, else with this run's first
   * part.
   */
  readonly replaces: string | null;
  /** Request fields of this run, which override those of the session. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly type: "run_queued";
}

/** The run started: the user message and an empty answer are in the transcript. */
export interface RunStarted {
  readonly run_id: string;
  readonly at: number;
  readonly prompt: Message | null;
  /** The new, empty answer; `None` if the run appends to an existing one. */
  readonly answer: Message | null;
  /** The requested model. */
  readonly model: string | null;
  readonly type: "run_started";
}

/**
 * An attempt failed before the first token, or its answer does not match the schema. Another
 * follows.
 */
export interface RunRetrying {
  readonly run_id: string;
  /** Number of the next retry, from 1. */
  readonly attempt: number;
  readonly of: number;
  readonly retry_at: number;
  readonly error: ErrorInfo;
  readonly type: "run_retrying";
}

/**
 * The run sends its request to the provider (again), after a delay or with the results of tools.
 */
export interface RunConnecting {
  readonly run_id: string;
  readonly type: "run_connecting";
}

/** The provider reported the model that answers, and the response's id. */
export interface RunAnswering {
  readonly run_id: string;
  readonly model: string | null;
  readonly response_id: string | null;
  readonly sequence: number;
  /** As in `RunRecord`. */
  readonly server: string | null;
  /** As in `RunRecord`. */
  readonly from_cache: boolean;
  readonly type: "run_answering";
}

/**
 * A new, empty part of the answer was added. Parts are numbered from 0 in their message.
 *
 * If it is the first part of another attempt, the parts of the attempt before are removed.
 */
export interface PartStarted {
  readonly run_id: string;
  readonly at: number;
  readonly part_index: number;
  readonly part: Part;
  readonly type: "part_started";
}

/** Text was appended to a part of the answer. */
export interface PartDelta {
  readonly run_id: string;
  readonly at: number;
  readonly part_index: number;
  /** Length of the part before this text, in UTF-16 code units. */
  readonly offset: number;
  readonly text: string;
  readonly type: "part_delta";
}

/** A part of the answer is complete. Views can verify their text against length and checksum. */
export interface PartEnded {
  readonly run_id: string;
  readonly part_index: number;
  /** Length in UTF-16 code units. */
  readonly length: number;
  /** Checksum of the UTF-8. */
  readonly crc32: number;
  /** Duration of the part. */
  readonly seconds: number;
  readonly call_id: string | null;
  /** Id and name of a tool call, which may be complete only at its end. */
  readonly name: string | null;
  readonly type: "part_ended";
}

/**
 * Calls of the answer wait for the user's approval. No connection is open, and no time limit
 * applies.
 */
export interface RunAwaitingApproval {
  readonly run_id: string;
  readonly at: number;
  /** All calls that wait now, in the order of the answer. */
  readonly call_ids: readonly string[];
  readonly type: "run_awaiting_approval";
}

/** Calls of the answer were approved. The event is stored before the first of them starts. */
export interface RunActing {
  readonly run_id: string;
  readonly at: number;
  readonly call_ids: readonly string[];
  /**
   * `user`: a click or `run.approve()`; `policy`: `session.approve`; `author`: `tool(ask=False)`.
   */
  readonly by: Approver;
  readonly type: "run_acting";
}

/** The run was paused. Nothing is read, and the connection stays open. */
export interface RunPaused {
  readonly run_id: string;
  readonly at: number;
  readonly type: "run_paused";
}

/** The run was resumed. Reading continues in the middle of the text. */
export interface RunResumed {
  readonly run_id: string;
  readonly type: "run_resumed";
}

/** A run that was paused in the queue was queued again. */
export interface RunRequeued {
  readonly run_id: string;
  readonly type: "run_requeued";
}

/** The user stopped the run. A delta may still arrive. */
export interface StopRequested {
  readonly run_id: string;
  readonly at: number;
  readonly type: "stop_requested";
}

/** The run ended with a complete answer. */
export interface RunCompleted {
  readonly run_id: string;
  readonly at: number;
  readonly finish_reason: string;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_completed";
}

/** The run ended because the model stopped early: `length`, `content_filter`. */
export interface RunIncomplete {
  readonly run_id: string;
  readonly at: number;
  readonly finish_reason: string;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_incomplete";
}

/** The run ended because the user stopped it. Its text is kept. */
export interface RunStopped {
  readonly run_id: string;
  readonly at: number;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_stopped";
}

/** The run ended with an error before any text had arrived. */
export interface RunFailed {
  readonly run_id: string;
  readonly at: number;
  readonly error: ErrorInfo;
  readonly usage: Usage | null;
  readonly type: "run_failed";
}

/** The run ended in the middle of the answer, without a finish reason. Its text is kept. */
export interface RunInterrupted {
  readonly run_id: string;
  readonly at: number;
  readonly error: ErrorInfo;
  readonly usage: Usage | null;
  readonly sources: readonly Source[];
  readonly notices: readonly string[];
  readonly type: "run_interrupted";
}

/** The user kept an interrupted answer as it is. */
export interface RunAcknowledged {
  readonly run_id: string;
  readonly type: "run_acknowledged";
}

/** The end of a run could not be saved in the journal, or was saved later after a failure. */
export interface RunSaved {
  readonly run_id: string;
  readonly saved: boolean;
  readonly type: "run_saved";
}

/** Events that change a run's state or its answer. */
export type RunEvent =
  | RunStarted
  | RunRetrying
  | RunConnecting
  | RunAnswering
  | PartStarted
  | PartDelta
  | PartEnded
  | RunAwaitingApproval
  | RunActing
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
  | RunAwaitingApproval
  | RunActing
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

/**
 * Token counts of a run, as the server reported them. A count that it did not report is `None`.
 *
 * `input_tokens` includes `cached_tokens`, and `output_tokens` includes `reasoning_tokens`.
 */
export interface Usage {
  readonly input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly reasoning_tokens: number | null;
  readonly cached_tokens: number | null;
}

/** Markdown text of the user or the model. */
export interface TextPart {
  readonly text: string;
  readonly type: "text";
}

/** Reasoning of the model. It is shown collapsed and never sent back. */
export interface ReasoningPart {
  readonly text: string;
  /** Duration of the reasoning, once it has ended. */
  readonly seconds: number | null;
  readonly type: "reasoning";
}

/**
 * A tool call that the model requested. `text` is the JSON of its arguments, as received.
 *
 * A call with `started_at` and without a result has an unknown outcome: its kernel ended in
 * between.
 */
export interface ToolCallPart {
  readonly call_id: string;
  readonly name: string;
  readonly text: string;
  /** When the call was approved and started, in seconds since 1970; `None` if it was not run. */
  readonly started_at: number | null;
  readonly type: "tool_call";
}

/** The result of a tool call, as text that is never parsed. */
export interface ToolResultPart {
  readonly call_id: string;
  readonly text: string;
  readonly is_error: boolean;
  /** The tool was not called; the text is the reason. */
  readonly not_run: boolean;
  /** Pictures of the result, as `data:` URLs of type png, jpeg, gif or webp. */
  readonly images: readonly string[];
  readonly type: "tool_result";
}

/** An image that the user attached, as a `data:` URL of type png, jpeg, gif or webp. */
export interface ImagePart {
  /** The complete `data:` URL. */
  readonly text: string;
  readonly name: string;
  readonly type: "image";
}

/**
 * A text file that the user attached. It is not part of the message's `text`; models get
 * `markdown`.
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

/** A page or file that an answer cites, as reported by the server. */
export interface Source {
  /** Empty if the server reported only an address. */
  readonly title: string;
  /**
   * Empty for a file. The server's value is not trusted: only `http` and `https` are shown as
   * links.
   */
  readonly url: string;
}

/** A part that a user can attach to a message. */
export type Attachment = ImagePart | FilePart;

export type Part = TextPart | ReasoningPart | ToolCallPart | ToolResultPart | ImagePart | FilePart;

export type PartType = "text" | "reasoning" | "tool_call" | "tool_result" | "image" | "file";

/** One turn of a conversation: its role and its parts. */
export interface Message {
  readonly id: string;
  readonly role: Role;
  readonly parts: readonly Part[];
  /** Seconds since 1970-01-01 UTC. */
  readonly created_at: number;
  /** Id of the preceding message; `None` for the first. Siblings are versions of one turn. */
  readonly parent_id: string | null;
  /** Id of the last run that generated it; `None` for a message of the user. */
  readonly run_id: string | null;
  /** The model that answered, as reported by the server. */
  readonly model: string | null;
  readonly finish_reason: string | null;
  readonly usage: Usage | null;
  /** Sources that the answer cites, in the order of their numbers. */
  readonly sources: readonly Source[];
  /** Notices for the reader of the answer, such as "1 item of type … is not shown.". */
  readonly notices: readonly string[];
  /** Name of the person who wrote the question, as the service identified them. */
  readonly author?: string;
}

/** The state of a run: one word, the same in Python, on the wire and in the page. */
export type RunState =
  | "queued"
  | "connecting"
  | "streaming"
  | "paused"
  | "retrying"
  | "awaiting_approval"
  | "acting"
  | "stopping"
  | "completed"
  | "incomplete"
  | "stopped"
  | "failed"
  | "interrupted";

/** Record of a run: an immutable value in the session's state, folded from its events. */
export interface RunRecord {
  readonly id: string;
  readonly kind: RunKind;
  readonly state: RunState;
  /** Id of the answer. */
  readonly message_id: string;
  readonly queued_at: number;
  /** The user's message, until it is added to the transcript. */
  readonly prompt: Message | null;
  readonly prompt_id: string | null;
  readonly rooted: boolean;
  readonly parent_id: string | null;
  readonly replaces: string | null;
  /** Request fields of this run, which override those of the session. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Index of the first part of the answer that this run generated. */
  readonly first_part: number;
  /**
   * Index of the first part after the results of the last tools; another attempt replaces from
   * here.
   */
  readonly round_part: number;
  /** Ids of the tool calls that wait for approval, in the order of the answer. */
  readonly asking: readonly string[];
  readonly started_at: number | null;
  readonly first_delta_at: number | null;
  readonly last_delta_at: number | null;
  readonly ended_at: number | null;
  /** Characters accepted so far, of text and reasoning. */
  readonly characters: number;
  /** Number of retries so far. */
  readonly attempt: number;
  /** Maximum number of retries. */
  readonly attempts: number;
  readonly retry_at: number | null;
  /** The model that answers; until it is known, the requested one. */
  readonly model: string | null;
  /**
   * Host of the server that answers. `None` if it is unknown, on this machine, or in a private
   * network.
   */
  readonly server: string | null;
  /** The answer was taken from the cache of answers; nothing was sent. */
  readonly from_cache: boolean;
  readonly response_id: string | null;
  readonly response_sequence: number;
  readonly finish_reason: string | null;
  readonly usage: Usage | null;
  /** The cause of a failed or interrupted run, or of the retry of a retrying one. */
  readonly error: ErrorInfo | null;
  readonly acknowledged: boolean;
  readonly saved: boolean;
}

/** The complete state of a session at one `seq`. */
export interface SessionState {
  readonly id: string;
  /** Number of the last event folded in; 0 before the first. */
  readonly seq: number;
  readonly created_at: number;
  readonly settings: Settings;
  readonly temporary: boolean;
  /** The `thread_id` of `nbchat.get_completion` for this session. */
  readonly thread_id: string | null;
  readonly deleted: boolean;
  readonly unread: boolean;
  /** All versions of all turns, by id, in order of arrival. */
  readonly messages: Readonly<Record<string, Message>>;
  /** Maps the id of a parent (or `ROOT`) to the id of the selected child. */
  readonly selected: Readonly<Record<string, string>>;
  /** Oldest first; at most one live run is not queued. */
  readonly runs: readonly RunRecord[];
}

/** A tool that code has given a session. */
export interface HeadTool {
  readonly name: string;
  /** The model may call it in answers that start later. */
  readonly on: boolean;
}

/** A tool call of the live run that waits. It is kept in memory only, unlike the call itself. */
export interface HeadCall {
  readonly call_id: string;
  /** While it waits for approval: the text that would be sent to the model, if it is known. */
  readonly preview: string | null;
  /** It is approved, and waits for the running cell. */
  readonly queued: boolean;
}

/** Summary of a session for its tab. A newer head replaces an older one completely. */
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
  /** Time of the last activity of a run. */
  readonly active_at: number;
  /** Start time of the live run. */
  readonly started_at: number | null;
  /** Start time of the live run's wait for its first content. */
  readonly waiting_since: number | null;
  /** Seconds after which that wait ends the attempt. */
  readonly first_token_s: number | null;
  /** Characters that the live run has generated. */
  readonly characters: number;
  /** Number of runs queued behind the live one. */
  readonly queued: number;
  /** Position of the live run in the kernel's queue, from 1, while it waits for a slot. */
  readonly position: number | null;
  readonly unread: boolean;
  readonly pinned: boolean;
  /** Position among the tabs, lowest first. Pinned tabs precede all others. */
  readonly rank: number;
  readonly closed: boolean;
  readonly archived: boolean;
  readonly deleted: boolean;
  readonly temporary: boolean;
  /** Length of the transcript. */
  readonly messages: number;
  /** Cost of the last run once it is over, such as `$0.012`; empty if it is unknown. */
  readonly cost: string;
  /** The session uses a provider object, not a provider named in settings or configuration. */
  readonly own_provider: boolean;
  readonly tools: readonly HeadTool[];
  /** Calls of the live run that wait and have more to show than their arguments. */
  readonly calls: readonly HeadCall[];
  /** Identifies the session in `deltas` and `progress` within the epoch. */
  readonly number: number;
}

/** Response to `hello`: the kernel's version and configuration. */
export interface Welcome {
  readonly to: string;
  /** Version of nbchat in the kernel. */
  readonly version: string;
  /** The embedded server generates the answers. */
  readonly demo: boolean;
  /** Source of the answers, for display: `demo`, or the server's host. */
  readonly provider: string;
  /** Model of sessions without a model setting, if it is known. */
  readonly model: string | null;
  readonly type: "welcome";
}

/** Follows `welcome` if answers are generated beside the kernel, and continue without it. */
export interface Runner {
  readonly to: string;
  /**
   * Name of the user, as the `author` of messages has it; empty if the runner is not a service.
   */
  readonly person: string;
  readonly type: "runner";
}

/** A person whose kernel is linked to the same sessions. */
export interface Person {
  /** As the `author` of messages. */
  readonly name: string;
  /** `viewer`, `editor` or `owner`. */
  readonly role: string;
  /** Id of the session in which the person is typing. */
  readonly typing: string | null;
}

/**
 * The people who are linked to a service's sessions, including the user. It replaces an earlier
 * one.
 */
export interface People {
  readonly people: readonly Person[];
  readonly type: "people";
}

/** Heads of sessions that changed; with `all`, of every session. */
export interface Heads {
  readonly heads: readonly Head[];
  /** Sessions that are not in `heads` no longer exist. */
  readonly all: boolean;
  readonly type: "heads";
}

/** Consecutive events of one session's log. */
export interface Events {
  readonly session_id: string;
  readonly first_seq: number;
  readonly events: readonly Event[];
  readonly type: "events";
}

/** A `PartDelta` of a session's live run. Encoded as an array to avoid repeated names and ids. */
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

/** Text deltas of many sessions. Replaces `events` for sessions without other events. */
export interface Deltas {
  /** Microseconds since 1970-01-01 UTC. */
  readonly at: number;
  readonly deltas: readonly Delta[];
  readonly type: "deltas";
}

/** The fields of a head that change while an answer arrives. Encoded as an array. */
export type Counts = readonly [
  /** `number` of the session's head. */
  session: number,
  seq: number,
  active_at: number,
  characters: number,
];

/** Counts of sessions whose heads have no other changes. */
export interface Progress {
  readonly counts: readonly Counts[];
  readonly type: "progress";
}

/**
 * The complete state of a session at `state.seq`. Replaces the page's state unless that is newer.
 */
export interface SessionStateMessage {
  /**
   * Windowed: `messages` holds the last `WINDOW` messages of the transcript, with their versions,
   * and
   * `selected[""]` is the id of the first of them.
   */
  readonly state: SessionState;
  /** Number of messages of the transcript before the window. */
  readonly omitted: number;
  readonly to: string | null;
  readonly type: "session_state";
}

/** Messages that precede the window, oldest first. */
export interface EarlierMessages {
  readonly to: string;
  readonly session_id: string;
  readonly messages: readonly Message[];
  readonly selected: Readonly<Record<string, string>>;
  /** Number of messages that precede these. */
  readonly omitted: number;
  readonly type: "earlier_messages";
}

/** Acknowledgement of a command, sent once for each time it is received. */
export interface Ack {
  readonly id: string;
  /** `None`: the command succeeded. */
  readonly error: ErrorInfo | null;
  /** The session created by `new_session` or `fork`. */
  readonly session_id: string | null;
  readonly run_id: string | null;
  readonly type: "ack";
}

/** End of the response to `hello` or `sync`. The page is up to date as of this packet. */
export interface Synced {
  readonly to: string;
  readonly id: string;
  readonly type: "synced";
}

/** The source of answers has changed. */
export interface Config {
  readonly demo: boolean;
  readonly provider: string;
  readonly model: string | null;
  readonly type: "config";
}

/** The models that a session's server lists, in its order. */
export interface Models {
  readonly models: readonly string[];
  /** `None`: the server of new sessions. */
  readonly session_id: string | null;
  /** The model that is used if the session's settings do not name one. */
  readonly model: string | null;
  readonly error: ErrorInfo | null;
  readonly type: "models";
}

/** Status of saving the state. */
export interface Saving {
  readonly state: "off" | "saved" | "saving" | "unsaved";
  /** Reason that the state is not saved. */
  readonly error: ErrorInfo | null;
  readonly type: "saving";
}

/** Content of the notebook's metadata key `nbchat`, for the page that writes it. */
export interface Checkpoint {
  /** The page where the user last acted; `None`: any page. */
  readonly to: string | null;
  /**
   * Increases with each checkpoint. A page never overwrites a newer checkpoint with an older one.
   */
  readonly version: number;
  readonly metadata: Readonly<Record<string, unknown>>;
  /**
   * Outputs for viewers without widgets that the page does not have yet: MIME bundles by output.
   */
  readonly transcripts: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /**
   * No answer is being generated. Otherwise the page keeps the outputs until the notebook is saved.
   */
  readonly settled: boolean;
  readonly type: "checkpoint";
}

/**
 * A bundle that is not always needed: math, syntax highlighting, views that open on a click, a
 * language.
 */
export type AssetName = "math" | "highlight" | "extras" | "zh-CN";

/** A JavaScript bundle of the page, as the text of an ES module. */
export interface Asset {
  readonly to: string;
  readonly name: AssetName;
  readonly text: string;
  readonly type: "asset";
}

/** A message that matches a search, with the text around the match. */
export interface Hit {
  readonly session_id: string;
  readonly message_id: string;
  readonly before: string;
  readonly match: string;
  readonly after: string;
}

/** Response to `search`. */
export interface SearchResults {
  readonly to: string;
  readonly id: string;
  /** Most recently active session first, and newest message first in each session. */
  readonly hits: readonly Hit[];
  /** The search ended at a limit, so there may be more results. */
  readonly more: boolean;
  readonly type: "search_results";
}

/**
 * A variable of the notebook, the last error (`error`) or a cell (`cell`, `cell:3`), to complete
 * `@`.
 */
export interface Variable {
  readonly name: string;
  /** Name of its type; for `cell:3` the first line of the cell. */
  readonly kind: string;
  /**
   * Its shape or length, for display; empty if it is not available. For `cell` the number of the
   * cell.
   */
  readonly size: string;
}

/** Response to `want_variables`. */
export interface Variables {
  readonly to: string;
  readonly id: string;
  readonly variables: readonly Variable[];
  readonly type: "variables";
}

/** Response to `want_described`: the parts to attach to the user's message. */
export interface Described {
  readonly to: string;
  readonly id: string;
  /** A text, and for a figure also an image; empty if it cannot be sent. */
  readonly parts: readonly Attachment[];
  /** The reason if `parts` is empty and the variable exists. */
  readonly error: string;
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
  | Connected;

/** The messages of one tick, broadcast to all pages. */
export interface Packet {
  readonly epoch: string;
  /** Number of the packet, from 1; an empty packet repeats the last number. */
  readonly n: number;
  /** Revision of the directory: all heads up to it have been sent by packet `n`. */
  readonly rev: number;
  readonly messages: readonly KernelMessage[];
  readonly protocol: number;
  readonly type: "packet";
}

/** Connect a page. The kernel responds with `welcome`, then as to `sync`. */
export interface Hello {
  readonly id: string;
  readonly page: string;
  readonly protocol: number;
  /** Version of nbchat in the page. */
  readonly version: string;
  /** The epoch of `rev` and `sessions`; `None` for a new page. */
  readonly epoch: string | null;
  readonly rev: number;
  /** Last `seq` applied, for each requested session; 0 requests its complete state. */
  readonly sessions: Readonly<Record<string, number>>;
  readonly type: "hello";
}

/** Request missing messages, after a gap or a long silence, or more sessions. */
export interface Sync {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly rev: number;
  readonly sessions: Readonly<Record<string, number>>;
  readonly type: "sync";
}

/** Request earlier messages, when the reader scrolls to the beginning of the window. */
export interface WantEarlier {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly session_id: string;
  /** Id of the first message the page has. */
  readonly before: string;
  readonly type: "want_earlier";
}

/** Execute a command from the page where the user acted. */
export interface RunCommand {
  readonly page: string;
  readonly epoch: string;
  readonly command: Command;
  readonly type: "run_command";
}

/** A part of the JSON of a command that is too long for one message. */
export interface CommandChunk {
  /** Id of the command. */
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /** Counted from 0. */
  readonly part: number;
  readonly of: number;
  readonly text: string;
  readonly type: "command_chunk";
}

/** A piece of the JSON under the notebook's metadata key `nbchat`, as the page found it. */
export interface Stored {
  readonly id: string;
  readonly page: string;
  readonly piece: number;
  /** Number of pieces; 0 if the host gives the page no access to the notebook. */
  readonly of: number;
  readonly text: string;
  /** Path of the notebook in the page. */
  readonly path: string;
  readonly type: "stored";
}

/** Request the newest checkpoint, before or after the notebook is saved. */
export interface WantCheckpoint {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /** The checkpoint that the page has. */
  readonly version: number;
  /** Current path of the notebook in the page; renaming or "Save As" changes it. */
  readonly path: string;
  readonly type: "want_checkpoint";
}

/**
 * Request a bundle: for the first formula, for another language, or in advance when the page is
 * idle.
 */
export interface GetAsset {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly name: AssetName;
  readonly type: "get_asset";
}

/** Search all sessions for text. A new search of a page replaces its previous one. */
export interface Search {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly query: string;
  readonly type: "search";
}

/** Request names, types and sizes of variables, but no values, after the user typed `@`. */
export interface WantVariables {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  readonly type: "want_variables";
}

/** Request the description of a variable that the user chose. */
export interface WantDescribed {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /**
   * The name of a variable, `error`, `cell` or `cell:3`, or the name of a part described earlier.
   */
  readonly name: string;
  /** Characters of the other descriptions in the same message, which has a limit. */
  readonly used: number;
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

/**
 * The user is typing, or has emptied the text. It has no response, is not repeated and is in no
 * log.
 */
export interface Typing {
  readonly id: string;
  readonly page: string;
  readonly epoch: string;
  /** Empty: the user is no longer typing. */
  readonly session_id: string;
  readonly type: "typing";
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
  | Connect
  | Typing;

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
    run_retrying: "retrying",
    part_started: "streaming",
    part_delta: "streaming",
    part_ended: "streaming",
    run_awaiting_approval: "awaiting_approval",
    run_acting: "acting",
    run_connecting: "connecting",
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
    part_started: "awaiting_approval",
    part_ended: "awaiting_approval",
    run_acting: "acting",
    run_connecting: "connecting",
    stop_requested: "stopping",
    run_completed: "completed",
    run_incomplete: "incomplete",
    run_interrupted: "interrupted",
    run_failed: "failed",
  },
  acting: {
    part_started: "acting",
    part_ended: "acting",
    run_acting: "acting",
    run_awaiting_approval: "awaiting_approval",
    run_connecting: "connecting",
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
