/** The module of every view widget: finds the hub's runtime in this page and mounts the view. */

import type { Host } from "@anywidget/types";
import { type AnyModel, documentOf, type WidgetManager } from "../jupyter";
import { followRequests } from "../jupyter/dock";
import { placeOf } from "./exchange";

const REFERENCE = "IPY_MODEL_";
/** Longest wait for the module of the hub. */
const PATIENCE_MS = 20_000;

const GONE = {
  en: "The kernel of this view has stopped. Run its cell again.",
  zh: "此视图的内核已停止。请重新运行其单元格。",
};

interface Props {
  readonly model: AnyModel;
  readonly el: HTMLElement;
  /** Since anywidget 0.11. */
  readonly host?: Host;
}

async function render({ model, el, host }: Props): Promise<() => void> {
  const manager = model.widget_manager;
  const ended = new AbortController();
  try {
    const id = String(model.get("hub") ?? "");
    if (!id.startsWith(REFERENCE)) throw new Error("the view has no hub");
    const hubId = id.slice(REFERENCE.length);
    const hub = await hubOf(manager, hubId);
    if (hub === undefined) throw new Error("this page has no hub");
    const place = placeOf(manager, String(hub.get("epoch") ?? ""));
    // marimo initializes only widgets that are displayed or requested in this way.
    host?.getWidget(`anywidget:${hubId}`).catch(() => {});
    const runtime = await Promise.race([place.runtime, late(ended.signal)]);
    return runtime.mount(String(model.get("kind") ?? "tabs"), model, el);
  } catch (error) {
    console.error("nbchat: a view could not be shown", error);
    // Without a kernel the transcript beside the view is what there is to read.
    if (hasTranscript(el)) return () => {};
    const line = el.ownerDocument.createElement("p");
    line.setAttribute("role", "alert");
    line.textContent = navigator.language.startsWith("zh") ? GONE.zh : GONE.en;
    el.append(line);
    return () => line.remove();
  } finally {
    ended.abort();
  }
}

/**
 * Return the model of the hub.
 *
 * VS Code does not load the models of a kernel that was already running when its window was loaded.
 */
async function hubOf(
  manager: WidgetManager | undefined,
  id: string,
): Promise<AnyModel | undefined> {
  try {
    return await manager?.get_model?.(id);
  } catch (error) {
    if (documentOf(manager) !== undefined || !manager?._loadFromKernel) throw error;
    await manager._loadFromKernel();
    return manager.get_model?.(id);
  }
}

/** Whether the output before the view's is its transcript. */
function hasTranscript(el: HTMLElement): boolean {
  const before = el.closest(".jp-OutputArea-child, .output_area")?.previousElementSibling;
  return before?.querySelector('a[href="#nbchat-transcript"]') != null;
}

function late(ended: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(() => reject(new Error("the hub did not load")), PATIENCE_MS);
    ended.addEventListener("abort", () => clearTimeout(timer));
  });
}

/** Serve `ChatTabs.panel`. */
function initialize({ model }: { model: AnyModel }): () => void {
  const end = new AbortController();
  followRequests(model, end.signal);
  return () => end.abort();
}

export default { initialize, render };
