/** Handles the buttons inside Markdown by one listener, which finds them by class. */
import type { CodeAction } from "./build";
import { copyText } from "./clipboard";
import type { MarkdownDocument } from "./document";
import type { MarkdownStrings } from "./strings";

const COPIED_MS = 2000;

/** Handle the buttons under `root` until `signal` is aborted. */
export function serveButtons(
  root: HTMLElement,
  document: () => MarkdownDocument,
  strings: MarkdownStrings,
  codeActions: readonly CodeAction[],
  signal: AbortSignal,
): void {
  const serve = (event: Event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (button === null || !root.contains(button)) return;
    const kind = /^nbc-(copy|action|image|noteref|noteback)$/.exec(button.className)?.[1];
    if (kind === undefined) return;
    // The button may be inside a link.
    event.preventDefault();
    if (kind === "copy") void copyCode(button, strings);
    else if (kind === "action") runAction(button, codeActions);
    else if (kind === "image") document().loadImage(button);
    else followNote(root, button, kind === "noteref");
  };
  root.addEventListener("click", serve, { signal });
}

/** Return the code of the block that a button belongs to, as shown. */
function codeOf(button: Element): { code: string; language: string } {
  const code = button.closest(".nbc-code")?.querySelector("pre > code");
  return {
    code: (code?.textContent ?? "").replace(/\n$/, ""),
    language: /^language-(\S+)$/.exec(code?.className ?? "")?.[1] ?? "",
  };
}

async function copyCode(button: Element, strings: MarkdownStrings): Promise<void> {
  const done = await copyText(codeOf(button).code);
  button.textContent = done ? strings.copied : strings.copyFailed;
  setTimeout(() => {
    button.textContent = strings.copy;
  }, COPIED_MS);
}

function runAction(button: Element, actions: readonly CodeAction[]): void {
  const { code, language } = codeOf(button);
  actions.find(({ label }) => label === button.textContent)?.run(code, language);
}

/** Scroll from a footnote reference to the note, or back. Notes have no ids, since a page has many texts. */
function followNote(root: HTMLElement, button: Element, toNote: boolean): void {
  const items = Array.from(root.querySelectorAll(".nbc-notes > ol > li"));
  if (toNote) {
    const target =
      items[Number(button.textContent) - 1]?.querySelector<HTMLElement>(".nbc-noteback");
    (target ?? items[Number(button.textContent) - 1])?.scrollIntoView({ block: "nearest" });
    target?.focus({ preventScroll: true });
    return;
  }
  const number = String(items.findIndex((item) => item.contains(button)) + 1);
  const references = Array.from(root.querySelectorAll<HTMLElement>(".nbc-noteref"));
  const reference = references.find((element) => element.textContent === number);
  reference?.scrollIntoView({ block: "nearest" });
  reference?.focus({ preventScroll: true });
}
