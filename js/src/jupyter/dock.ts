/** Shows a view in a panel beside the notebook, in JupyterLab. */

import { type AnyModel, type DockedWidget, documentOf, hasPanels, type WidgetManager } from ".";

/** Class of the panel; its style makes the view as tall as the panel. */
const CLASS = "nbchat-dock";
/** Storage key of the request whose panel the user has closed. */
const CLOSED = "nbchat:panel-closed";

interface DockedWidgetClass {
  new (): DockedWidget;
  attach(widget: DockedWidget, node: HTMLElement): void;
}

/** Open a panel at each request of the kernel, until `end` is aborted. */
export function followRequests(model: AnyModel, end: AbortSignal): void {
  let panel: DockedWidget | null = null;
  let seen = "";
  const open = async (): Promise<void> => {
    const request = String(model.get("panel_request") ?? "");
    if (request === seen) return;
    seen = request;
    if (request === "" || closed() === request) return;
    const made = await createPanel(model.widget_manager, request.split(" ")[0] ?? "");
    if (made === null) return;
    if (end.aborted) return made.dispose();
    panel?.dispose();
    panel = made;
    made.disposed.connect(() => {
      if (panel !== made) return;
      panel = null;
      if (!end.aborted) remember(request);
    });
  };
  const request = (): void => {
    open().catch((error: unknown) => console.error("nbchat: no panel could be opened", error));
  };
  model.on("change:panel_request", request);
  end.addEventListener("abort", () => {
    model.off("change:panel_request", request);
    panel?.dispose();
  });
  request();
}

/** Return a new panel that shows the widget of this id; null outside of JupyterLab. */
async function createPanel(
  manager: WidgetManager | undefined,
  id: string,
): Promise<DockedWidget | null> {
  const context = documentOf(manager);
  if (!manager?.create_view || !context?.addSibling || !hasPanels(context)) return null;
  const model = await manager.get_model?.(id);
  if (model === undefined) return null;
  const view = await manager.create_view(model);
  const shown = view.luminoWidget;
  const Panel = shown === undefined ? null : panelClass(shown);
  if (Panel === null || shown === undefined) return null;
  // The view's own node is no panel: its Jupyter layout removes the position that the dock gives it.
  const panel = new Panel();
  panel.title.label = "Chat";
  panel.title.closable = true;
  panel.addClass(CLASS);
  context.addSibling(panel, { mode: "split-right" });
  Panel.attach(shown, panel.node);
  panel.disposed.connect(() => shown.dispose());
  shown.disposed.connect(() => panel.dispose());
  return panel;
}

/** Return the class `Widget` of Lumino, which is the base of the class of every view's widget. */
function panelClass(widget: DockedWidget): DockedWidgetClass | null {
  const base: unknown = Object.getPrototypeOf(Object.getPrototypeOf(widget))?.constructor;
  return typeof base === "function" && "attach" in base ? (base as DockedWidgetClass) : null;
}

function closed(): string | null {
  try {
    return sessionStorage.getItem(CLOSED);
  } catch {
    return null; // forbidden by the browser's settings
  }
}

function remember(request: string): void {
  try {
    sessionStorage.setItem(CLOSED, request);
  } catch {
    // After a reload the panel opens again.
  }
}
