/** Describes how a run ended, and offers what can be done about it. */

import { type AllStrings, allStrings } from "../i18n/extras";
import { isLive } from "../state/session";
import type { Context, Turn } from "../types";
import { button, h, installStyles, setAttribute, show } from "./dom";
import css from "./extras.css";
import { causeOf, label, reveal, sentence } from "./text";

type Choice = "retry" | "continue_" | "regenerate" | "keep" | "discard" | "resume";

interface Outcome {
  readonly tone: "error" | "note";
  readonly lines: readonly HTMLElement[];
  /** The first one is the primary action. */
  readonly choices: readonly Choice[];
}

/** Show the outcome of a turn in an element, which is hidden if it needs no words. */
export function showOutcome(context: Context, element: HTMLElement, turn: Turn): void {
  const t = allStrings(context.t);
  installStyles(context.root, css);
  const { tone, lines, choices } = outcomeOf(t, turn);
  setAttribute(element, "data-tone", tone);
  element.replaceChildren(...lines, ...buttonsOf(t, choices));
  show(element, lines.length > 0);
}

function buttonsOf(t: AllStrings, choices: readonly Choice[]): HTMLElement[] {
  if (choices.length === 0) return [];
  const buttons = choices.map((name, i) =>
    button(name, t[name], {
      title: t.hints[name],
      class: i === 0 ? "button primary" : "button",
    }),
  );
  return [h("div", { class: "choices" }, ...buttons)];
}

/** Return how the run of a turn ended; without lines if that needs no words. */
function outcomeOf(t: AllStrings, turn: Turn): Outcome {
  const { message, run, refused, last, busy } = turn;
  const note = (text: string): HTMLElement => h("p", { text });
  if (refused && message.role === "user") {
    return { tone: "note", lines: [note(t.leftOut)], choices: busy ? [] : ["retry"] };
  }
  if (run === null || isLive(run)) return { tone: "note", lines: [], choices: [] };
  const kept = run.state === "interrupted" && run.acknowledged;
  const { words, choices } = kept ? NOTHING : ended(t, turn);
  const lines = words ? [note(words)] : [];
  if (run.error && !kept) {
    const text = reveal(sentence(causeOf(run.error)));
    lines.push(h("p", { class: "cause-text", dir: "auto", text }));
  }
  for (const notice of message.notices) lines.push(h("p", { dir: "auto", text: reveal(notice) }));
  if (!run.saved) lines.push(note(t.unsavedNote));
  return {
    tone: run.state === "failed" || run.state === "interrupted" ? "error" : "note",
    lines,
    choices: last && !busy ? choices : [],
  };
}

const NOTHING: { readonly words: string; readonly choices: readonly Choice[] } = {
  words: "",
  choices: [],
};

/** Return the words and the choices for a run that is over. */
function ended(t: AllStrings, { message, run, refused }: Turn): typeof NOTHING {
  const hasText = message.parts.length > 0;
  switch (run?.state) {
    case "failed":
      return {
        words: t.failedNote,
        choices: [
          ...(refused ? [] : (["retry"] as const)), // else the question has it
          // The run was to continue an answer, which still exists.
          ...(hasText ? (["continue_", "regenerate"] as const) : []),
          "discard",
        ],
      };
    case "interrupted": {
      // At a limit of the kernel it ended in the middle of what had been read.
      const resumable = run.response_id && run.error?.code !== "limit_exceeded";
      return {
        words: t.interruptedNote,
        choices: [
          ...(resumable ? (["resume"] as const) : []),
          "continue_",
          "regenerate",
          "retry",
          "keep",
          "discard",
        ],
      };
    }
    case "stopped":
      return hasText
        ? { words: t.stoppedNote, choices: ["continue_", "retry", "regenerate"] }
        : { words: t.stoppedEmpty, choices: ["retry"] };
    case "incomplete": {
      const reason = run.finish_reason ?? "";
      if (reason === "content_filter") return { words: t.filterNote, choices: [] };
      const words = reason === "length" ? t.lengthNote : t.earlyNote(label(reason));
      return { words, choices: ["continue_"] };
    }
    default:
      return NOTHING;
  }
}
