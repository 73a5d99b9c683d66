/**
 * Outputs of earlier versions, which hold the text of models as raw Markdown.
 *
 * JupyterLab does not sanitize the outputs of a trusted notebook, so that script in such a text would run each time the
 * notebook is opened. They are replaced by the same text as plain text; `nbchat/export/raw_outputs.py` finds them
 * by the same rules.
 */
import type { NotebookModel, Output } from ".";

/** The mark by which the styles of a view hide the transcript beside it. */
const MARK = '<a href="#nbchat-transcript"></a>';
/** What a message, a run and a result were as plain text. */
const REPR = /^<(?:Message|Run|Result) [^\n]*>$/;
const MAGIC = /^%{1,2}chat\b/;

/** Replace the outputs that an earlier version wrote as raw Markdown. */
export function replaceRawOutputs(model: NotebookModel | undefined): void {
  if (model?.readOnly) return;
  for (const { outputs, sharedModel } of model?.cells ?? []) {
    for (let index = 0; index < (outputs?.length ?? 0); index++) {
      const output = outputs?.get?.(index);
      const data = output && replacement(output, sharedModel?.getSource?.() ?? "");
      if (data) outputs?.set?.(index, { ...output.toJSON?.(), data });
    }
  }
}

/** Return the data to put in place of a raw output's; `null` if the output is not raw. */
function replacement(output: Output, source: string): Record<string, string> | null {
  const markdown = textOf(output.data?.["text/markdown"]);
  const plain = textOf(output.data?.["text/plain"]) ?? "";
  if (markdown === null) return null;
  if (typeof output.metadata?.nbchat?.transcript === "string") {
    return { "text/html": `${MARK}<pre>${escaped(plain)}</pre>`, "text/plain": plain };
  }
  const isOwn = REPR.test(plain) || (plain === markdown && MAGIC.test(source.trimStart()));
  return isOwn ? { "text/plain": markdown } : null;
}

function textOf(value: unknown): string | null {
  if (Array.isArray(value)) return value.join("");
  return typeof value === "string" ? value : null;
}

/** Return text in which nothing is markup; a `pre` is not searched for formulas. */
function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
