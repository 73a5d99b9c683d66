/** Lists the details of an answer: model, tokens, times, ids. */

import { allStrings } from "../i18n/extras";
import type { Context, Turn } from "../types";
import { h, installStyles } from "./dom";
import css from "./extras.css";
import { inSeconds, label } from "./text";

/** Return a row for each known detail. */
export function detailsOf(context: Context, { message, run, runs }: Turn): HTMLElement[] {
  const { locale } = context;
  installStyles(context.root, css);
  const t = allStrings(context.t);
  const { usage } = message;
  const seconds = (from: number | null | undefined, to: number | null | undefined) =>
    from && to ? t.seconds(inSeconds(Math.max(0, to - from))) : "";
  const count = (n: number | null | undefined) =>
    typeof n === "number" ? n.toLocaleString(locale) : "";
  const sum = (kind: "input_tokens" | "output_tokens") =>
    count(total(runs.map(({ usage }) => usage?.[kind])));
  const [into, out] = [sum("input_tokens"), sum("output_tokens")];
  const rows: readonly (readonly [string, string])[] = [
    [t.model, label(message.model ?? run?.model ?? "")],
    [t.tokensIn, count(usage?.input_tokens)],
    [t.tokensCached, count(usage?.cached_tokens)],
    [t.tokensOut, count(usage?.output_tokens)],
    [t.tokensThought, count(usage?.reasoning_tokens)],
    [t.firstToken, seconds(run?.started_at, run?.first_delta_at)],
    [t.duration, seconds(run?.started_at, run?.ended_at)],
    [t.finish, label(message.finish_reason ?? "")],
    [t.httpStatus, run?.error?.http_status ? String(run.error.http_status) : ""],
    [t.requestId, label(run?.error?.request_id ?? "")],
    [t.sent, message.created_at ? new Date(message.created_at * 1000).toLocaleString(locale) : ""],
    [t.total, into || out ? t.totalTokens(into || "?", out || "?") : ""],
  ];
  return rows
    .filter(([, value]) => value !== "")
    .map(([name, value]) =>
      h("div", {}, h("dt", { text: name }), h("dd", {}, h("bdi", { text: value }))),
    );
}

/** Return the sum of the reported numbers; null if there are none. */
function total(counts: readonly (number | null | undefined)[]): number | null {
  const known = counts.filter((count) => typeof count === "number");
  return known.length > 0 ? known.reduce((a, b) => a + b, 0) : null;
}
