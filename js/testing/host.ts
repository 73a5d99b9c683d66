/** `FakeHost`: the page's end of Jupyter, as far as nbchat uses it. */

import type { AnyModel, KernelConnection, Signal } from "../src/jupyter";
import type { PageMessage } from "../src/protocol";
import type { Wire } from "./wire-kernel";

/** A signal as in Lumino. */
export class FakeSignal<T> implements Signal<T> {
  readonly #slots = new Set<(sender: unknown, value: T) => void>();

  connect(slot: (sender: unknown, value: T) => void): void {
    this.#slots.add(slot);
  }

  disconnect(slot: (sender: unknown, value: T) => void): void {
    this.#slots.delete(slot);
  }

  emit(value: T): void {
    for (const slot of [...this.#slots]) slot(null, value);
  }

  get size(): number {
    return this.#slots.size;
  }
}

/** What the host has: `control` for the control channel, `path` for the notebook's path. */
export interface HostKind {
  readonly control?: boolean;
  readonly path?: string;
}

/** A hub model and a kernel connection. */
export class FakeHost {
  readonly statusChanged = new FakeSignal<string>();
  readonly connectionStatusChanged = new FakeSignal<string>();
  readonly disposed = new FakeSignal<unknown>();
  status = "idle";
  /** Times at which the page has opened the connection again. */
  readonly reopened: number[] = [];
  /** Called when the page opens the connection again. */
  onReopen: () => void = () => {};
  /** The channel of each message that was sent. */
  readonly channels: string[] = [];
  readonly #custom = new Set<(content: unknown, buffers: DataView[]) => void>();
  readonly model: AnyModel;

  readonly #up: (message: PageMessage) => void;

  constructor(
    up: (message: PageMessage) => void,
    { control = true, path = "notes.ipynb" }: HostKind = {},
    traits: Record<string, unknown> = { epoch: "k1", version: "0" },
    context: Record<string, unknown> = { path },
  ) {
    this.#up = up;
    const host = this;
    const kernel: KernelConnection = {
      get status() {
        return host.status;
      },
      clientId: "client",
      username: "user",
      statusChanged: this.statusChanged,
      connectionStatusChanged: this.connectionStatusChanged,
      disposed: this.disposed,
      reconnect: async () => {
        this.reopened.push(performance.now());
        this.connectionStatusChanged.emit("connecting");
        await Promise.resolve();
        this.onReopen();
        this.connectionStatusChanged.emit("connected");
      },
      ...(control && {
        sendControlMessage: (message: unknown) => {
          const { content } = message as { content: { message: PageMessage } };
          this.#sent("control", content.message);
          return {};
        },
      }),
    };
    this.model = {
      get: (key: string) => traits[key],
      set() {},
      save_changes() {},
      on: (event: string, callback: (...args: never[]) => void) => {
        if (event === "msg:custom") this.#custom.add(callback as never);
      },
      off: (_event?: string | null, callback?: unknown) => {
        this.#custom.delete(callback as never);
      },
      send: (content: { message: PageMessage }) => this.#sent("model", content.message),
      widget_manager: { kernel, context },
    } as AnyModel;
  }

  /** Deliver a comm message from the kernel. */
  receive([content, buffers]: Wire): void {
    for (const callback of [...this.#custom]) callback(content, buffers);
  }

  get listeners(): number {
    return this.#custom.size + this.statusChanged.size + this.connectionStatusChanged.size;
  }

  #sent(channel: string, message: PageMessage): void {
    this.channels.push(channel);
    // What crosses the wire is JSON, and nothing of the page's objects.
    this.#up(JSON.parse(JSON.stringify(message)));
  }
}
