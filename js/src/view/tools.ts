/** `openTools`: the menu in which the user switches a session's tools off and on. */

import type { Context } from "../types";
import { perform } from "./commands";
import { openMenu } from "./popup";
import { label } from "./text";

/** Open the menu below `anchor`. The tools are those that code has given the session. */
export function openTools(context: Context, anchor: Element, sessionId: string): void {
  const tools = context.runtime.store.heads.get(sessionId)?.tools ?? [];
  const items = tools.map(({ name, on }) => ({
    label: label(name, 60),
    checked: on,
    run: () => void perform(context, { type: "switch_tool", session_id: sessionId, name, on: !on }),
  }));
  openMenu(context, anchor, context.t.tools, items);
}
