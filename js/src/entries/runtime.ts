/**
 * `PageRuntime`: everything that the views of one page share: the store, the link, drafts, the notebook.
 *
 * `hub.ts` creates one for each hub widget. After a kernel restart in the same page, the hub widget of the new kernel
 * takes over the runtime with its views.
 */

import { newId } from "../ids";
import type { AnyModel, DocumentContext } from "../jupyter";
import { type Host, hostOf, NotebookMetadata } from "../jupyter/host";
import {
  type Ack,
  type AssetName,
  type Command,
  type Connect,
  type Connected,
  type Described,
  type Exported,
  type ExportFormat,
  MAX_COMMAND,
  type SearchResults,
  type SetView,
  type Variables,
} from "../protocol";
import { type Drafts, openDrafts } from "../state/drafts";
import type { Stats } from "../state/replica";
import type { Store } from "../state/store";
import type { AssetModule, CommandInput, Runtime, ViewChange } from "../types";
import { Link } from "../wire/link";
import { NoChannel, type Request } from "../wire/requests";
import type { SharedRuntime } from "./exchange";

/** Draws a view. Passed in by `hub.ts`, since views import the runtime. */
export type Mount = (
  runtime: Runtime,
  kind: string,
  model: AnyModel,
  el: HTMLElement,
) => () => void;

interface ColabPage {
  readonly google?: {
    readonly colab?: { readonly kernel?: { readonly accessAllowed?: boolean } };
  };
}

/** Delay before the sessions in view are reported. */
const VIEWING_MS = 100;
/** Times that variables are requested of a kernel that does not answer. */
const ASKS = 8;

export class PageRuntime implements SharedRuntime {
  readonly drafts: Drafts;
  readonly host: Host;

  #hub: AnyModel | null = null;
  readonly #link: Link;
  readonly #metadata: NotebookMetadata;
  readonly #end = new AbortController();
  readonly #shown = new Map<symbol, readonly string[]>();
  #viewingTimer: ReturnType<typeof setTimeout> | null = null;
  #viewingSaid = "";
  #viewingId = "";
  /** The changes of each view that the kernel has not acknowledged. */
  readonly #viewChanges = new Map<string, SetView>();
  /** Last known `active_at` of each session in view. */
  readonly #activeAt = new Map<string, number>();

  readonly #draw: Mount;

  constructor(
    /** Version of nbchat in this page. */
    readonly version: string,
    /** The notebook, if the host gives access to it. */
    context: DocumentContext | undefined,
    draw: Mount,
  ) {
    this.#draw = draw;
    this.#link = new Link(
      version,
      (checkpoint) => this.#metadata.take(checkpoint),
      () => this.#welcomed(),
    );
    this.#metadata = new NotebookMetadata(context, this.#link.page, (m) => this.#link.send(m));
    this.#metadata.watch(this.#end.signal);
    this.host = hostOf(context);
    this.drafts = openDrafts(() => this.#planViewing());
    this.store.subscribe(({ heads }) => this.#sawEnds(heads));
    if (typeof document !== "undefined") {
      const { signal } = this.#end;
      document.addEventListener("visibilitychange", () => this.#planViewing(), { signal });
    }
  }

  get store(): Store {
    return this.#link.store;
  }

  get hasKernel(): boolean {
    // Colab passes no kernel to widgets, but a flag that is false in notebooks that are only read.
    const { google } = globalThis as ColabPage;
    const kernel = this.#hub?.widget_manager?.kernel ?? null;
    return kernel !== null || google?.colab?.kernel?.accessAllowed === true;
  }

  get page(): string {
    return this.#link.page;
  }

  get stats(): Readonly<Stats> {
    return this.store.stats;
  }

  get orphaned(): boolean {
    return this.#link.gone;
  }

  attach(hub: AnyModel): void {
    this.#hub = hub;
    this.#link.attach(hub);
    // The kernel may be waiting for the notebook's metadata.
    this.#metadata.sendStored();
  }

  release(hub: AnyModel): void {
    if (this.#hub !== hub) return;
    this.#hub = null;
    this.#end.abort();
    if (this.#viewingTimer !== null) clearTimeout(this.#viewingTimer);
    this.#link.lose("dead");
    this.#link.detach();
  }

  want(sessionId: string): void {
    this.#link.want(sessionId);
  }

  earlier(sessionId: string): void {
    this.#link.earlier(sessionId);
  }

  async do(input: CommandInput): Promise<Ack> {
    const command = { ...input, id: newId("cmd_") } as Command;
    const bytes = byteLength(JSON.stringify(command));
    if (bytes > MAX_COMMAND) return tooLarge(command.id, bytes);
    return this.#link.outbox.do(command, bytes);
  }

  viewing(view: symbol, sessionIds: readonly string[]): void {
    if (sessionIds.length > 0) this.#shown.set(view, sessionIds);
    else this.#shown.delete(view);
    this.#planViewing();
  }

  setView(viewId: string, change: ViewChange): void {
    const before = this.#viewChanges.get(viewId);
    // A repetition of an older change would undo this one.
    if (before) this.#link.outbox.withdraw(before.id);
    const { active = null, session_ids = null } = { ...before, ...change };
    const id = newId("cmd_");
    const command: SetView = {
      type: "set_view",
      id,
      view_id: viewId,
      active,
      session_ids,
      panel: false,
    };
    this.#viewChanges.set(viewId, command);
    const done = (): void => {
      if (this.#viewChanges.get(viewId) === command) this.#viewChanges.delete(viewId);
    };
    this.#link.outbox.do(command).then(done, done);
  }

  typing(session_id: string): void {
    this.#link.request(newId("ask_"), { type: "typing", session_id });
  }

  askVariables<T extends Variables | Described>(
    request: Parameters<Runtime["askVariables"]>[0],
  ): Promise<T | null> {
    return this.#request<T>(request, ASKS).catch(() => null);
  }

  search(query: string): Promise<SearchResults | null> {
    return this.#link.searches.find(query);
  }

  exportSession(session_id: string, format: ExportFormat): Promise<Exported> {
    return this.#request({ type: "want_export", session_id, format });
  }

  connect(input: Pick<Connect, "action" | "base_url" | "api_key" | "model">): Promise<Connected> {
    return this.#request({ type: "connect", ...input });
  }

  #request<T extends Exported | Connected | Variables | Described>(
    request: Request,
    most?: number,
  ): Promise<T> {
    // A key is sent on the control channel only: other code in the kernel can read the other channels.
    const only = request.type === "connect" ? "control" : undefined;
    const unsent = only && !this.orphaned ? new NoChannel() : undefined;
    return this.#link.requests.ask((id) => this.#link.request(id, request, only), { most, unsent });
  }

  load(name: AssetName): Promise<AssetModule> {
    return this.#link.assets.load(name);
  }

  loaded(name: AssetName): AssetModule | undefined {
    return this.#link.assets.loaded(name);
  }

  mount(kind: string, model: AnyModel, el: HTMLElement): () => void {
    return this.#draw(this, kind, model, el);
  }

  #welcomed(): void {
    this.#metadata.begin(this.store.epoch);
    this.#viewingSaid = "";
    this.#planViewing();
  }

  /** Report the sessions in view again when one of their answers ends, so that the kernel marks it as read. */
  #sawEnds(heads: ReadonlySet<string>): void {
    for (const id of heads) {
      const head = this.store.heads.get(id);
      if (head === undefined || head.run_id !== null) continue;
      const before = this.#activeAt.get(id);
      this.#activeAt.set(id, head.active_at);
      if (before === head.active_at || ![...this.#shown.values()].flat().includes(id)) continue;
      this.#viewingSaid = "";
      this.#planViewing();
    }
  }

  #planViewing(): void {
    this.#viewingTimer ??= setTimeout(() => {
      this.#viewingTimer = null;
      this.#sayViewing();
    }, VIEWING_MS);
  }

  #sayViewing(): void {
    const hidden = typeof document !== "undefined" && document.hidden;
    const ids = hidden ? [] : [...new Set([...this.#shown.values()].flat())].sort();
    const drafts = this.drafts.held();
    const said = JSON.stringify([ids, drafts]);
    if (said === (this.#viewingSaid || "[[],[]]") || this.orphaned) return;
    this.#viewingSaid = said;
    // An older report must not arrive after a newer one.
    this.#link.outbox.withdraw(this.#viewingId);
    this.#viewingId = newId("cmd_");
    this.#link.outbox
      .do({ type: "viewing", id: this.#viewingId, session_ids: ids, drafts })
      .catch(() => {}); // the next kernel gets a report with its welcome
  }
}

function byteLength(text: string): number {
  return text.length * 3 <= MAX_COMMAND ? text.length : new TextEncoder().encode(text).length;
}

function tooLarge(id: string, bytes: number): Ack {
  const size = (bytes / 1024 / 1024).toFixed(1);
  return {
    id,
    error: {
      code: "message_too_large",
      message: `This message has ${size} MiB; one message can have ${MAX_COMMAND / 1024 / 1024} MiB.`,
      stage: "command",
      retryable: false,
      hint: "Send less at once.",
      http_status: null,
      request_id: null,
      partial_chars: 0,
    },
    session_id: null,
    run_id: null,
    type: "ack",
  };
}
