/**
 * The texts of the page in English, and the choice of the language.
 *
 * English defines the entries and their parameters, and the compiler checks the other catalogues against it.
 * An entry is a text, or a function of a count or a name. Every other language is a bundle of its own.
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
  noOpenSessions: "No session is open.",
  close: "Close",
  notBeside: "Close side view",
  dismiss: "Dismiss",
  demo: "demo",
  connect: "Connect a model",
  demoHint: "Answers come from the built-in demo server.",

  // State of a run: in a tab's name, in the list of sessions, and as the polite status
  state: {
    idle: "",
    queued: "queued",
    connecting: "answering",
    streaming: "answering",
    paused: "paused",
    retrying: "retrying",
    awaiting_approval: "waiting for your approval",
    acting: "running tools",
    stopping: "stopping",
    completed: "done",
    incomplete: "truncated",
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
  place: (n: number) => `position ${n} in queue`,
  queuedBehind: (n: number) => one(n, "question queued", "questions queued"),

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
  image: "Attached image",
  madeImage: "Generated image",
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
  fromCache: "from cache",
  previousVersion: "Previous version",
  nextVersion: "Next version",
  version: (i: number, n: number) => `Version ${i} of ${n}`,
  connecting: "Connecting…",
  waitingFor: (model: string, s: number, limit: number | null) =>
    `Waiting for ${model}… ${s} s${limit === null ? "" : ` (gives up after ${limit} s)`}`,
  waitingRetry: (s: number, attempt: number, of: number) =>
    `Retrying in ${s} s (attempt ${attempt} of ${of})`,
  retryingNow: (attempt: number, of: number) => `Retrying now (attempt ${attempt} of ${of})`,
  retryNow: "Try now",
  retryNowHint: "Sends the question again without waiting.",
  pausedNote: "Paused. The connection stays open for a while; the server may continue.",
  model: "Model",
  tools: "Tools",
  tokens: (n: string) => `${n} tokens`,
  aboutCost: (cost: string) => `about ${cost}`,

  // Writing
  message: "Message",
  placeholder: "Ask something",
  hintEnter: "Enter sends, Shift+Enter inserts a line break",
  hintShiftEnter: "Shift+Enter sends, Enter inserts a line break",
  hintCtrlEnter: "Ctrl+Enter sends, Enter inserts a line break",
  send: "Send",
  stop: "Stop",
  goesOn: "The answer continues in the kernel when you leave this page.",
  outlives: "continues without the kernel",
  endsHere: "ends with this kernel",
  wentOn: (n: number) => `${one(n, "answer", "answers")} continued in the background.`,
  pause: "Pause",
  resume: "Resume",
  sending: "sending…",
  sendingWaits: "waiting for the running cell…",
  notSent: "Not sent:",
  tooLong: (size: string, limit: string) => `too large (${size}); the limit is ${limit}.`,
  aboutTokens: (n: string) => `about ${n} tokens`,
  largeMessage: (n: string) =>
    `About ${n} tokens, which may be slow, costly or too many. Send again to send it anyway.`,
  attach: "Attach a file",
  removeAttachment: (name: string) => `Remove ${name}`,
  attachments: "Attachments",
  showSent: (name: string) => `Show what is sent of ${name}`,
  queue: "Queued questions",
  change: "Change",
  remove: "Remove",
  notAsked: "This question was not sent:",
  useAgain: "Restore to composer",
  answersFrom: (provider: string) => `Answers come from ${provider}.`,

  // Settings
  fromFile: "This file’s model, instructions and parameters are not used yet.",
  adopt: "Use these settings",
  review: "Review",

  // The connection
  connection: {
    connecting: "Connecting to the kernel…",
    waiting: "In this environment, buttons take effect after the running cell finishes.",
    unheard:
      "No answer from the kernel. Some environments show answers only while a cell runs: run chat.wait() in a cell.",
    lost: "Lost connection to the kernel. Answers continue there; this view may be out of date. Reconnecting…",
    restarted: "The kernel was restarted. Run this cell again to continue.",
    dead: "The kernel has stopped. Start it and run this cell again; saved sessions are restored.",
    incompatible:
      "The page and the kernel run different versions of nbchat. Reload the page, or restart the kernel.",
  } as Readonly<Record<string, string>>,
  notLoaded: "This part could not be loaded. Try again when the kernel is idle.",
  notSaved: "Sessions are not being saved:",
  savedOutside: "Not saved in the notebook file, only in a journal on the kernel's computer.",
  saveToKeep: "Save the notebook to keep this view",
  saveHint:
    "This view is not in the notebook file yet. A reload of the page drops unsaved outputs.",
  savedNowhere: "Not saved; lost when the kernel stops.",
  savedInPage: "Not saved; lost when this page is reloaded or closed.",

  // Inside an answer's Markdown
  markdown: {
    copy: "Copy",
    copyCode: "Copy code",
    copied: "Copied",
    copyFailed: "Not copied",
    code: "code",
    table: "Table",
    loadImage: (host: string) => `Load image from ${host}`,
    footnote: (n: number) => `Footnote ${n}`,
    footnoteBack: (n: number) => `Back to reference ${n}`,
    footnotes: "Footnotes",
    taskOpen: "To do",
    taskDone: "Done",
  },
  insertCell: "Insert into a new cell",
  runCell: "Run in a new cell",
};

/** The entries of a catalogue that every page needs. */
export type Strings = typeof en;

/** A language of the page. */
export type Locale = "en" | "zh-CN";

/**
 * Return the language of a page.
 *
 * @param wanted the author's choice; empty if the reader's browser decides.
 * @param preferred the browser's languages, in order of preference.
 */
export function chooseLocale(wanted: string, preferred: readonly string[]): Locale {
  for (const tag of wanted ? [wanted] : preferred) {
    const language = tag.toLowerCase().split("-")[0];
    if (language === "zh") return "zh-CN";
    if (language === "en") return "en";
  }
  return "en";
}
