/**
 * Every word the page shows, in each language it speaks.
 *
 * English is the reference: it fixes which entries there are and what they take, and the compiler
 * holds the other catalogues to it. Roles and accessible names that tests and users rely on are the
 * English ones. An entry is a text, or a function where a count or a name belongs into it. The other
 * languages are bundles of their own, loaded by those who read them.
 */

const one = (n: number, single: string, many: string): string =>
  n === 1 ? `1 ${single}` : `${n.toLocaleString("en")} ${many}`;

export const en = {
  // Around the sessions
  chatSessions: "Chat sessions",
  sessions: "Sessions",
  newSession: "New session",
  untitled: "New chat",
  allSessions: "All sessions",
  sessionMenu: "Session menu",
  noOpenSessions: "No conversation is open.",
  close: "Close",
  notBeside: "Show alone",
  closed: (title: string) => `“${title}” is closed.`,
  closedLive: (title: string) => `“${title}” is closed. Its answer goes on in the background.`,
  deleted: (title: string) => `“${title}” is deleted.`,
  archived: (title: string) => `“${title}” is in the archive.`,
  reopen: "Reopen",
  undo: "Undo",
  dismiss: "Dismiss",
  demo: "demo",
  demoHint: "Answers come from the built-in demo server; no key and no network is used.",

  // What a run is doing: in a tab's name, in the list, and as the polite status
  state: {
    idle: "",
    queued: "waiting for its turn",
    connecting: "answering",
    streaming: "answering",
    paused: "paused",
    retrying: "waiting to try again",
    awaiting_approval: "waiting for approval",
    stopping: "stopping",
    completed: "done",
    incomplete: "done, cut short",
    stopped: "stopped",
    failed: "failed",
    interrupted: "interrupted",
  } as Readonly<Record<string, string>>,
  badge: {
    streaming: "streaming",
    waiting: "waiting",
    paused: "paused",
    failed: "failed",
    unread: "unread",
    pinned: "pinned",
  },
  characters: (n: number) => one(n, "character", "characters"),
  perSecond: (n: number) => `${n.toLocaleString("en")} characters/s`,
  seconds: (s: string) => `${s} s`,
  minutes: (m: number, s: number) => `${m} min ${s} s`,
  place: (n: number) => `place ${n} in the kernel's line`,
  queuedBehind: (n: number) => one(n, "question waits", "questions wait"),

  // Messages
  conversation: "Conversation",
  you: "You",
  assistant: "Assistant",
  system: "System",
  tool: "Tool",
  earlier: "Show earlier messages",
  loadingEarlier: "Loading earlier messages…",
  loading: "Loading the conversation…",
  latest: "Jump to latest",
  latestNew: (n: number) => `Jump to latest (${n} new)`,
  thinking: "Thinking…",
  thought: "Thought",
  thoughtFor: (s: string) => `Thought for ${s} s`,
  toolCall: "Tool call",
  toolResult: "Tool result",
  toolError: "Tool error",
  showAll: "Show all",
  image: "Attached image",
  madeImage: "Generated image",
  sources: "Sources",
  file: "File",
  copy: "Copy",
  copied: "copied",
  copyFailed: "The browser did not allow copying.",
  edit: "Edit",
  editLabel: "Edited text",
  fork: "Fork",
  regenerate: "Regenerate",
  retry: "Retry",
  continue_: "Continue",
  keep: "Keep",
  discard: "Discard",
  details: "Details",
  previousVersion: "Previous version",
  nextVersion: "Next version",
  version: (i: number, n: number) => `Version ${i} of ${n}`,
  connecting: "Connecting…",
  waitingRetry: (s: number, attempt: number, of: number) => `Waiting ${s} s (${attempt} of ${of})`,
  retryingNow: (attempt: number, of: number) => `Trying again (${attempt} of ${of})`,
  pausedNote: "Paused. The connection is held for a while; the server may go on generating.",
  stoppedNote: "Stopped. What had arrived is kept.",
  interruptedNote: "The answer was interrupted.",
  failedNote: "No answer came.",
  leftOut: "Refused by the server: not sent with later questions.",
  lengthNote: "The answer reached its length limit.",
  filterNote: "The server's content filter ended this answer.",
  earlyNote: (reason: string) => `The model ended early (${reason}).`,
  unsavedNote: "Not saved yet.",
  model: "Model",
  tokensOut: "Tokens out",

  // Writing
  message: "Message",
  placeholder: "Ask something",
  hintEnter: "Enter sends, Shift+Enter breaks the line",
  hintShiftEnter: "Shift+Enter sends, Enter breaks the line",
  hintCtrlEnter: "Ctrl+Enter sends, Enter breaks the line",
  send: "Send",
  stop: "Stop",
  goesOn: "The answer goes on in the kernel when you leave this page.",
  wentOn: (n: number) => `${one(n, "answer", "answers")} went on while this page was away.`,
  pause: "Pause",
  resume: "Resume",
  sending: "sending…",
  sendingWaits: "waits for the running cell…",
  notSent: "Not sent:",
  tooLong: (size: string, limit: string) => `it is ${size}, and the limit is ${limit}.`,
  attach: "Attach a file",
  removeAttachment: (name: string) => `Remove ${name}`,
  attachments: "Attached",
  queue: "Waiting questions",
  change: "Change",
  remove: "Remove",
  notAsked: "This question was not asked:",
  useAgain: "Put back",
  suggestions: [
    "Show me what you can do",
    "Explain this error message: ",
    "Write a function that ",
    "Summarise the following text: ",
  ] as readonly string[],
  demoSuggestions: [
    "What is nbchat?",
    "What states can a run have?",
    "How do I drive chats from cells?",
    "How do I use a real model?",
  ] as readonly string[],
  suggest: "Some ways to begin",

  // Settings
  fromFile: "Model, instructions and parameters came with the file and are not used yet.",
  adopt: "Adopt",
  review: "Review",

  // The connection
  connection: {
    connecting: "Connecting to the kernel…",
    waiting: "This host carries actions only between cells: they wait for the running cell.",
    lost: "No answer from the kernel. Answers go on there; what is shown here may be old. Trying again…",
    restarted: "The kernel was restarted. Run the notebook's cell again to go on.",
    dead: "The kernel is gone. Start it and run the notebook's cell again; what was saved comes back.",
    incompatible:
      "The page and the kernel run different versions of nbchat. Reload the page, or restart the kernel.",
  } as Readonly<Record<string, string>>,
  notLoaded: "The kernel did not send this part of the page. Try again when it is free.",
  notSaved: "The conversations are not being saved:",

  // Beside the model's text; `markdown/` says where
  markdown: {
    copy: "Copy",
    copyCode: "Copy code",
    copied: "Copied",
    copyFailed: "Not copied",
    code: "code",
    table: "Table",
    loadImage: (host: string) => `Load image from ${host}`,
    footnote: (n: number) => `Footnote ${n}`,
    footnoteBack: (n: number) => `Back to the text of footnote ${n}`,
    footnotes: "Footnotes",
    taskOpen: "To do",
    taskDone: "Done",
  },
  insertCell: "Insert into a new cell",
  runCell: "Run in a new cell",
};

/** The entries of a catalogue. */
export type Strings = typeof en;

/** A language the page speaks. */
export type Locale = "en" | "zh-CN";

/**
 * Return the language to speak.
 *
 * @param wanted what the author of the notebook asked for; empty: the reader's browser decides.
 * @param preferred the browser's languages, best first.
 */
export function chooseLocale(wanted: string, preferred: readonly string[]): Locale {
  for (const tag of wanted ? [wanted] : preferred) {
    const language = tag.toLowerCase().split("-")[0];
    if (language === "zh") return "zh-CN";
    if (language === "en") return "en";
  }
  return "en";
}
