/** English texts of everything that opens at a click; they are part of the bundle `extras`. */
import type { Strings } from ".";

const english = {
  // The list of all sessions
  searchSessions: "Find a session or a message",
  inMessages: "In messages",
  noMatch: "Nothing found",
  searching: "Searching messages…",
  moreFound: "More results; refine your search.",
  openSessions: "Open",
  closedSessions: "Closed",
  archivedSessions: "Archived",
  deletedSessions: "Deleted",

  // The menu of a session
  rename: "Rename",
  title: "Title",
  pin: "Pin",
  archive: "Archive",
  deleteSession: "Delete",
  closed: (title: string) => `Closed “${title}”.`,
  closedLive: (title: string) => `Closed “${title}”. Its answer continues in the background.`,
  deleted: (title: string) => `Deleted “${title}”.`,
  archived: (title: string) => `Archived “${title}”.`,
  reopen: "Reopen",
  undo: "Undo",
  settings: "Settings",
  beside: "Show in side view",
  openBeside: "Open beside the notebook",
  moveLeft: "Move left",
  moveRight: "Move right",
  notify: "Notify me when an answer ends",
  exportHtml: "Export as HTML",
  exportMarkdown: "Export as Markdown",
  exportNotebook: "Export as notebook",
  copyMarkdown: "Copy as Markdown",
  exported: (name: string) => `Exported as ${name}.`,
  conversationCopied: "Copied the conversation as Markdown.",

  /** In the title of a fork: “Rivers (fork)”. */
  forkWord: "fork",

  // Tool calls
  /** Titles by the state of the call. */
  call: {
    arriving: (name: string) => `${name} wants to run`,
    asking: (name: string) => `${name} wants to run`,
    running: (name: string) => `${name} is running`,
    ran: (name: string) => `${name} ran`,
    not_run: (name: string) => `${name} was not run`,
    unknown: (name: string) => `${name} has an unknown outcome`,
  },
  callWaits: (name: string) => `${name} is waiting for the running cell`,
  /** Above the text that a call would send to the model. */
  callPreview: "This would be sent:",
  callRun: "Run",
  callRunAll: "Run all in this answer",
  callRunAllHint: "Also runs all later calls of this answer without asking.",
  callRefuse: "Don't run",
  pictureOf: (i: number, name: string) => `Picture ${i} of ${name}`,
  toolResult: "Result",
  toolError: "Error",
  showAll: "Show all",

  // How a run ended
  hints: {
    resume: "Reads the rest of this answer from the server.",
    continue_: "Asks the model to continue this text.",
    retry: "Asks the question again and replaces this answer.",
    regenerate: "Adds another version; this one is kept.",
    keep: "Keeps the text as it is and closes this notice.",
    discard: "Removes this answer.",
  },
  stoppedEmpty: "Stopped before any text arrived.",
  stoppedNote: "Stopped. The text so far is kept.",
  interruptedNote: "The answer was interrupted.",
  failedNote: "No answer was received.",
  lengthNote: "The answer reached its length limit.",
  filterNote: "The server's content filter ended this answer.",
  earlyNote: (reason: string) => `The model stopped early (${reason}).`,
  unsavedNote: "Not saved yet.",
  leftOut: "Refused by the server: not sent with later questions.",

  // Other people in a service
  alsoHere: "Also here",
  roles: { viewer: "viewer", editor: "editor", owner: "owner" } as Readonly<Record<string, string>>,
  withRole: (name: string, role: string) => `${name} (${role})`,
  typing: (name: string, n: number) =>
    n === 1
      ? `${name} is typing…`
      : `${name} and ${n - 1} ${n === 2 ? "other" : "others"} are typing…`,

  // Forms
  sendEdit: "Send edit",
  sendEditHint: "Asks the edited question. The earlier one is kept as a version.",
  cancel: "Cancel",

  // Sources and details of an answer
  sources: "Sources",
  tokensIn: "Input tokens",
  tokensOut: "Output tokens",
  tokensThought: "Reasoning tokens",
  tokensCached: "Cached tokens",
  firstToken: "Time to first token",
  duration: "Duration",
  finish: "Finish reason",
  sent: "Sent",
  requestId: "Request ID",
  httpStatus: "HTTP status",
  total: "Session total",
  totalTokens: (into: string, out: string) => `${into} input tokens, ${out} output tokens`,

  // A session's settings
  settingsTitle: "Session settings",
  defaultModel: (name: string) => (name ? `Default: ${name}` : "The server's first model"),
  instructions: "Instructions",
  temperature: "Temperature",
  maxTokens: "Max output tokens",
  otherParams: "Other parameters (JSON)",
  badParams: "Other parameters must be a JSON object.",
  badNumber: (name: string) => `${name} must be a number.`,
  save: "Save",
  changedBy: (name: string) => `Last changed by ${name}.`,

  // An empty session
  welcome: "Chat in this notebook",
  welcomeText:
    "Answers are generated in the kernel. They continue while you switch tabs, run cells or reload the page.",
  suggestions: [
    "Explain what a p-value is, and what it is not, in three sentences.",
    "Write a Python function that finds the outliers in a list of numbers.",
    "Compare LEFT JOIN and INNER JOIN on two small tables.",
  ] as readonly string[],
  demoSuggestions: [
    "What is nbchat?",
    "How do I drive chats from cells?",
    "How do I use a real model?",
  ] as readonly string[],
  suggest: "Example questions",

  // Connecting a server
  connectNote:
    "For sessions of this kernel without a provider of their own. The key stays in the kernel's memory and is sent to this server only.",
  server: "Server",
  otherServer: "Other",
  baseUrl: "Base URL",
  apiKey: "API key",
  listModels: "List models",
  testModel: "Test",
  useServer: "Connect",
  resetServer: "Reset",
  inCode: "The same in a cell",
  noChannel:
    "This environment has no private channel to the kernel, so no key can be sent from here. Run the code below in a cell instead.",
  asking: "Waiting for the server…",
  modelsListed: (n: number, some: string) =>
    n === 0
      ? "The server lists no models."
      : `${n} ${n === 1 ? "model" : "models"}: ${some}${n > 6 ? ", …" : ""}`,
  tested: (text: string) =>
    text ? `The model answered: ${text}` : "The model answered without text.",

  // Files
  file: "File",
  variable: "Variable",
  variables: "Variables",
  sentOf: (name: string) => `What is sent of ${name}`,
  notDescribed: (name: string) => `Can't read the variable ${name}.`,
  changed: (names: string) =>
    `${names} changed after you looked at what is sent. Send again to send the new description.`,
  cannotAttach: (name: string, why: string) => `Can't attach ${name}: ${why}`,
  fileTypes: "only text, PNG, JPEG, GIF or WebP.",
};

/** The entries of this bundle. */
export type ExtraStrings = typeof english;

/** All entries. */
export type AllStrings = Strings & ExtraStrings;

/** Return all entries, in the language of `t`. */
export function allStrings(t: Strings): AllStrings {
  return { ...english, ...t };
}
