/** Exports a session: as a download or as text in the clipboard. The kernel makes the text; no file is written there. */

import { allStrings } from "../i18n/extras";
import { copyText } from "../markdown/clipboard";
import type { Exported, ExportFormat } from "../protocol";
import type { Context } from "../types";
import { h } from "./dom";
import { causeOf, reveal, sentence, thrown } from "./text";

const TYPES: Readonly<Record<ExportFormat, string>> = {
  html: "text/html",
  md: "text/markdown",
  ipynb: "application/x-ipynb+json",
};
/** Time that a browser gets to begin a download before the text is released. */
const RELEASE_MS = 60_000;

/** Download a session as a file. */
export async function download(
  context: Context,
  sessionId: string,
  format: ExportFormat,
): Promise<void> {
  const file = await request(context, sessionId, format);
  if (file === null) return;
  const blob = new Blob([file.text], { type: `${TYPES[format]};charset=utf-8` });
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: file.name, hidden: true });
  context.root.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), RELEASE_MS);
  context.notify(allStrings(context.t).exported(file.name));
}

/** Copy a session as Markdown. */
export async function copyMarkdown(context: Context, sessionId: string): Promise<void> {
  const file = await request(context, sessionId, "md");
  if (file === null) return;
  const { t } = context;
  const done = await copyText(withoutMarks(file.text));
  context.notify(done ? allStrings(t).conversationCopied : t.copyFailed);
}

/** Remove the comments by which nbchat reads an export again. Their token occurs in no text of the conversation. */
export function withoutMarks(markdown: string): string {
  const token = /^<!-- nbchat: session (\w+) -->\n/.exec(markdown)?.[1];
  return token
    ? markdown.replace(new RegExp(`^<!-- nbchat: \\w+ ${token} -->\n`, "gm"), "")
    : markdown;
}

/** Return the session as text; null if that failed, which is shown. */
async function request(
  context: Context,
  session_id: string,
  format: ExportFormat,
): Promise<Exported | null> {
  try {
    const file = await context.runtime.exportSession(session_id, format);
    if (!file.error) return file;
    context.notify(reveal(sentence(causeOf(file.error))));
  } catch (reason) {
    context.notify(reveal(thrown(reason)));
  }
  return null;
}
