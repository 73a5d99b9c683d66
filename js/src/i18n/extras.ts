/**
 * The words of what opens at a click, in English: they are part of that bundle, and not of what every page
 * loads. The other languages have all their words in one catalogue.
 */
import type { Strings } from ".";

const english = {
  // The list of all sessions
  searchSessions: "Find a session or a message",
  inMessages: "In messages",
  noMatch: "Nothing found",
  searching: "Searching messages…",
  moreFound: "There is more: write a longer word.",
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
  settings: "Settings",
  beside: "Show beside",
  moveLeft: "Move left",
  moveRight: "Move right",
  notify: "Notify me when an answer ends",

  // Forms
  askAgain: "Ask again",
  cancel: "Cancel",

  // What an answer took
  tokensIn: "Tokens in",
  tokensThought: "of them thinking",
  tokensCached: "of them cached",
  firstToken: "First token after",
  duration: "Duration",
  finish: "Finish reason",
  sent: "Sent",
  requestId: "Request",
  httpStatus: "HTTP status",
  total: "Session total",
  totalTokens: (into: string, out: string) => `${into} tokens in, ${out} out`,

  // A session's settings
  settingsTitle: "Session settings",
  defaultModel: (name: string) => (name ? `Default: ${name}` : "The server's first model"),
  instructions: "Instructions",
  temperature: "Temperature",
  maxTokens: "Longest answer, in tokens",
  otherParams: "Other parameters (JSON)",
  badParams: "The other parameters must be a JSON object.",
  badNumber: (name: string) => `${name} must be a number.`,
  save: "Save",

  // Files
  badFile: (name: string) => `“${name}” is neither text nor a PNG, JPEG, GIF or WebP image.`,
};

/** The entries that the core does not have. */
export type ExtraStrings = typeof english;

/** Every word there is, in the language of `t`. */
export type AllStrings = Strings & ExtraStrings;

/** Return every word, in the language of `t`. */
export function allStrings(t: Strings): AllStrings {
  return { ...english, ...t };
}
