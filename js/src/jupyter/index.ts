/**
 * The parts of Jupyter's front end that nbchat uses.
 *
 * In JupyterLab and Notebook, the model that anywidget passes to a module has a `widget_manager` with the notebook's
 * context and the kernel's connection. This is no public interface and other hosts have less, so every member is
 * optional and checked before use.
 */

import type { AnyModel as WidgetModel } from "@anywidget/types";

/** An anywidget model; the members of its manager are optional. */
export interface AnyModel extends Omit<WidgetModel, "widget_manager"> {
  readonly widget_manager?: WidgetManager | undefined;
}

export interface WidgetManager {
  get_model?(id: string): Promise<AnyModel>;
  /** Create the models that the kernel has and the page lacks. */
  _loadFromKernel?(): Promise<unknown>;
  create_view?(model: AnyModel): Promise<{ readonly luminoWidget?: DockedWidget }>;
  readonly kernel?: KernelConnection | null;
  readonly context?: DocumentContext;
}

/** A panel of Lumino, as far as it is used. */
export interface DockedWidget {
  readonly node: HTMLElement;
  readonly title: { label: string; closable: boolean };
  readonly disposed: { connect(slot: () => void): unknown };
  addClass(name: string): void;
  dispose(): void;
}

export interface Signal<T> {
  connect(slot: (sender: unknown, value: T) => void): unknown;
  disconnect(slot: (sender: unknown, value: T) => void): unknown;
}

export interface KernelConnection {
  readonly status?: string;
  readonly connectionStatus?: string;
  readonly clientId?: string;
  readonly username?: string;
  readonly statusChanged?: Signal<string>;
  readonly connectionStatusChanged?: Signal<string>;
  readonly disposed?: Signal<unknown>;
  readonly isDisposed?: boolean;
  /** Open the websocket to the kernel again. */
  reconnect?(): Promise<unknown>;
  sendControlMessage?(message: unknown, expectReply?: boolean, dispose?: boolean): ControlFuture;
}

export interface ControlFuture {
  readonly done?: Promise<unknown>;
  dispose?(): void;
}

/** The notebook that a widget is in. */
export interface DocumentContext {
  readonly path?: string;
  readonly model?: NotebookModel;
  readonly saveState?: Signal<string>;
  /** The file, as it was loaded or saved last. */
  readonly contentsModel?: { readonly last_modified?: string } | null;
  /** Open another widget beside the notebook. */
  addSibling?(widget: DockedWidget, options: { readonly mode: "split-right" }): unknown;
}

export interface NotebookModel {
  readonly readOnly?: boolean;
  getMetadata?(key: string): unknown;
  setMetadata?(key: string, value: unknown): void;
  readonly cells?: Iterable<{
    readonly outputs?: Outputs;
    readonly sharedModel?: { getSource?(): string };
  }>;
  readonly sharedModel?: {
    readonly cells?: readonly SharedCell[];
    insertCell?(index: number, cell: NewCell): SharedCell | undefined;
  };
}

export interface SharedCell {
  readonly id?: string;
}

export interface NewCell {
  readonly cell_type: "code" | "markdown";
  readonly source: string;
}

/** The outputs of a cell. */
export interface Outputs {
  readonly length: number;
  get?(index: number): Output;
  set?(index: number, output: unknown): void;
}

export interface Output {
  readonly metadata?: { readonly nbchat?: { readonly transcript?: unknown } };
  readonly data?: { readonly [type: string]: unknown };
  toJSON?(): object;
}

/**
 * Return the notebook that a widget is in, if the host gives access to it.
 *
 * VS Code passes an empty document without a path, which is neither shown nor saved.
 */
export function documentOf(manager: WidgetManager | undefined): DocumentContext | undefined {
  return manager?.context?.path ? manager.context : undefined;
}

/** Whether a view can be opened beside this document. Notebook 7 has the same interfaces, but shows one document. */
export function hasPanels(context: DocumentContext | undefined): boolean {
  if (typeof document === "undefined" || typeof context?.addSibling !== "function") return false;
  return document.getElementById("jp-main-dock-panel") !== null;
}

/** Connect to a signal, if it exists, until `end` is aborted. */
export function follow<T>(
  signal: Signal<T> | undefined,
  end: AbortSignal,
  slot: (value: T) => void,
): void {
  if (signal?.connect === undefined) return;
  const connected = (_: unknown, value: T): void => slot(value);
  signal.connect(connected);
  end.addEventListener("abort", () => signal.disconnect?.(connected), { once: true });
}
