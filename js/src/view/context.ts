/** What every piece of a view needs to know about the view it is in. */

import type { Extras } from "../entries/extras";
import type { Runtime } from "../entries/runtime";
import type { Strings } from "../i18n";
import type { ErrorInfo } from "../protocol";

/** Markdown that is drawn as it arrives; see `markdown/`. */
export interface Markdown {
  append(text: string): void;
  end(): void;
  reset(text: string, done: boolean): void;
  destroy(): void;
}

/** How a session is to be shown; a user who asked for it says whether to write there. */
export interface Way {
  /** Whether the composer gets the focus; undefined where no user asked. */
  readonly focus?: boolean;
  /** Message to go to. */
  readonly messageId?: string;
}

export interface Context {
  readonly runtime: Runtime;
  readonly t: Strings;
  /** Language tag, for numbers and dates. */
  readonly locale: string;
  /** The view's outermost element; whatever floats is put into it. */
  readonly root: HTMLElement;
  /** Ends with the view. */
  readonly signal: AbortSignal;
  /** Draw Markdown into an element. */
  markdown(element: HTMLElement): Markdown;
  /** Use what opens at a click: at once where it is here, else when it has come. */
  extras(use: (extras: Extras) => void): void;
  /** Which key sends: `enter`, `shift-enter` or `ctrl-enter`. */
  sendKey(): string;
  /** Show a session and its tab, now or as soon as it is there. */
  go(sessionId: string, way?: Way): void;
  /** Say something once to a screen reader; nothing: take back what was said. */
  say(text: string): void;
  /** Show a line at the bottom, with buttons. */
  notify(text: string, actions?: readonly (readonly [string, () => void])[]): void;
}

/** Return a cause for people: what happened, and what to do. It may follow a colon. */
export function causeOf({ message, hint }: ErrorInfo): string {
  if (!hint) return message;
  // A server's own words often end without a full stop.
  return /[.!?…。！？]$/.test(message) ? `${message} ${hint}` : `${message}. ${hint}`;
}

/** Return a text as one that stands alone: messages of errors begin in lower case. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return whatever was thrown as a line for people. */
export function thrown(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
