/**
 * `Drafts`: text that was typed and not sent. It survives a reload and the closing of a tab.
 *
 * Two pages of one notebook share the storage. So that they do not overwrite each other's text, a page reads a
 * draft once and keeps its own copy from then on.
 */
import type { Attachment } from "../protocol";

const PREFIX = "nbchat:draft:";
/** Unused drafts are removed after this time. */
const KEEP_DAYS = 30;
const MAX_LENGTH = 200_000;

/** The reader's place: the end, or a message that is `offset` pixels below the upper edge. */
export type Place = "end" | { readonly id: string; readonly offset: number };

export interface Drafts {
  /** The reader's last place in each session. Moving a cell creates another view, which continues there. */
  readonly places: Map<string, Place>;
  /** Unsent edits of questions, by message id, while no view shows them. */
  readonly edits: Map<string, string>;
  /** Ids of the sessions for which this page holds text or attachments. */
  held(): string[];
  get(sessionId: string): string;
  set(sessionId: string, text: string): void;
  /** Return the attachments; they last as long as the page. */
  attached(sessionId: string): readonly Attachment[];
  attach(sessionId: string, attachments: readonly Attachment[]): void;
}

/**
 * Return the drafts. Their keys are session ids alone, since a notebook can be renamed.
 *
 * @param changed called when `held` may have changed.
 */
export function openDrafts(changed: () => void = () => {}): Drafts {
  const own = new Map<string, string>();
  const attached = new Map<string, readonly Attachment[]>();
  // The tab's own storage first: after a reload it holds the text of this page and not of another.
  const storages = [storage("sessionStorage"), storage("localStorage")].filter((s) => s !== null);
  for (const stored of storages) prune(stored);
  const key = (sessionId: string): string => PREFIX + sessionId;
  return {
    places: new Map(),
    edits: new Map(),
    held: () => {
      const texts = [...own].filter(([, text]) => text !== "").map(([id]) => id);
      return [...new Set([...texts, ...attached.keys()])].sort();
    },
    get(sessionId) {
      const known = own.get(sessionId);
      if (known !== undefined) return known;
      let text = "";
      for (const stored of storages) {
        text = read(stored, key(sessionId))?.text ?? "";
        if (text !== "") break;
      }
      own.set(sessionId, text);
      if (text !== "") changed();
      return text;
    },
    set(sessionId, text) {
      const before = own.get(sessionId) ?? "";
      if (own.has(sessionId) && before === text) return;
      own.set(sessionId, text);
      if ((before === "") !== (text === "")) changed();
      for (const stored of storages) {
        try {
          if (text === "" || text.length > MAX_LENGTH) stored.removeItem(key(sessionId));
          else stored.setItem(key(sessionId), JSON.stringify({ text, at: Date.now() }));
        } catch {
          // The storage is full or forbidden: the draft lasts only as long as the page.
        }
      }
    },
    attached: (sessionId) => attached.get(sessionId) ?? [],
    attach(sessionId, attachments) {
      if (attachments.length > 0) attached.set(sessionId, attachments);
      else attached.delete(sessionId);
      changed();
    },
  };
}

function storage(name: "sessionStorage" | "localStorage"): Storage | null {
  try {
    return globalThis[name] ?? null;
  } catch {
    return null; // forbidden by the browser's settings
  }
}

function read(stored: Storage, key: string): { text: string; at: number } | null {
  try {
    const draft: unknown = JSON.parse(stored.getItem(key) ?? "null");
    if (typeof draft !== "object" || draft === null) return null;
    const { text, at } = draft as Record<string, unknown>;
    return typeof text === "string" && typeof at === "number" ? { text, at } : null;
  } catch {
    return null;
  }
}

function prune(stored: Storage): void {
  const before = Date.now() - KEEP_DAYS * 86_400_000;
  try {
    for (const key of Object.keys(stored)) {
      if (key.startsWith(PREFIX) && (read(stored, key)?.at ?? 0) < before) stored.removeItem(key);
    }
  } catch {
    // Unused drafts do no harm.
  }
}
