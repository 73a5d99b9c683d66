/** The menu of a session. */

import { allStrings } from "../i18n/extras";
import type { Head } from "../protocol";
import type { Context, TabPlace } from "../types";
import { perform } from "./commands";
import { openConnect } from "./connect";
import { copyMarkdown, download } from "./export";
import { NOTIFY } from "./notify";
import { type MenuItem, openMenu } from "./popup";
import { archive, close, remove } from "./tab-commands";

/** Opens a view in a panel, as `chat.panel()` does. */
const PANEL = { type: "set_view", active: null, session_ids: null, panel: true } as const;

/** Whether the view can be opened beside the notebook, and is not there. */
function canDock({ root, runtime }: Context): boolean {
  return runtime.host.hasPanels && root.closest(".nbchat-dock") === null;
}

/** Show the menu of a session below `anchor`. */
export function openSessionMenu(
  context: Context,
  anchor: Element,
  head: Head,
  place: TabPlace,
): void {
  const t = allStrings(context.t);
  const { ids, beside, notifier } = place;
  const here = ids.indexOf(head.id);
  const pin = { type: "pin", session_id: head.id, pinned: !head.pinned } as const;
  const items: (MenuItem | null | false)[] = [
    { label: t.rename, run: () => place.rename() },
    { label: t.settings, run: () => place.openSettings() },
    { label: t.connect, run: () => openConnect(context, anchor) },
    { label: t.pin, checked: head.pinned, run: () => void perform(context, pin) },
    null,
    beside !== null && {
      label: t.beside,
      checked: beside,
      run: () => place.setBeside(!beside),
    },
    canDock(context) && {
      label: t.openBeside,
      run: () => void perform(context, { ...PANEL, view_id: place.viewId }),
    },
    here > 0 && { label: t.moveLeft, run: () => place.move(ids[here - 1] ?? null) },
    here < ids.length - 1 && { label: t.moveRight, run: () => place.move(ids[here + 2] ?? null) },
    notifier !== null && {
      label: t.notify,
      checked: notifier.on,
      run: () => void toggle(notifier),
    },
    null,
    { label: t.exportHtml, run: () => void download(context, head.id, "html") },
    { label: t.exportMarkdown, run: () => void download(context, head.id, "md") },
    { label: t.exportNotebook, run: () => void download(context, head.id, "ipynb") },
    { label: t.copyMarkdown, run: () => void copyMarkdown(context, head.id) },
    null,
    { label: t.archive, run: () => void archive(context, head) },
    { label: t.close, run: () => void close(context, head) },
    { label: t.deleteSession, run: () => void remove(context, head) },
  ];
  openMenu(
    context,
    anchor,
    t.sessionMenu,
    items.filter((item) => item !== false),
  );
}

/** Turn notifications on or off. */
async function toggle(notifier: { readonly on: boolean }): Promise<void> {
  const on = !notifier.on && (await Notification.requestPermission()) === "granted";
  try {
    localStorage.setItem(NOTIFY, on ? "1" : "0");
  } catch {
    // Storage is forbidden: the choice cannot be stored.
  }
}
