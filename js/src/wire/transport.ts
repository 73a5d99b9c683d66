/**
 * The channels from a page to the kernel, best first.
 *
 * 1. The control channel. The kernel takes messages from it at any time, beside the cell that runs, and the
 *    cell is not touched.
 * 2. The hub widget's own comm. It always works, and its messages are handled when the running cell has
 *    ended.
 *
 * A comm that the host runs on a subshell is handled at any time, too, but as a part of the running cell:
 * ipykernel makes each message the parent of what the cell prints and displays from then on.
 */
import { newId } from "../ids";
import { type AnyModel, documentOf, type KernelConnection } from "../jupyter";
import type { PageMessage } from "../protocol";

/** Type of the request that the kernel takes from its control channel. */
export const REQUEST = "nbchat_request";

/** One way to the kernel. */
export interface Channel {
  readonly name: "control" | "model";
  /** Messages are handled while a cell runs. */
  readonly free: boolean;
  /** Send a message, or throw if the channel is closed. */
  send(message: PageMessage): void;
}

/** Sends a page's messages on the best channel that works, in order. */
export class Uplink {
  readonly #channels: readonly [Channel, ...Channel[]];
  /** The kernel's connection, if the page may open it again. */
  readonly #connection: KernelConnection | null;
  #index = 0;
  #closed = false;

  constructor(model: AnyModel) {
    const manager = model.widget_manager;
    const kernel = manager?.kernel ?? null;
    // Without a notebook the connection is a stand-in, as in VS Code, where another one is never connected.
    this.#connection = documentOf(manager) === undefined ? null : kernel;
    const control = controlChannel(kernel);
    this.#channels = control === null ? [modelChannel(model)] : [control, modelChannel(model)];
  }

  /** Messages are handled while a cell runs. */
  get free(): boolean {
    return this.#channel.free;
  }

  /** The channel that `next` changes to; null if there is no other. */
  get other(): Channel | null {
    return this.#channels.length < 2 ? null : (this.#channels[this.#following] ?? null);
  }

  get name(): Channel["name"] {
    return this.#channel.name;
  }

  /**
   * Send a message and return whether it was sent; it can get lost on any channel.
   *
   * @param only the channel to use; without it, the best one that works.
   */
  send(message: PageMessage, only?: Channel["name"]): boolean {
    if (this.#closed) return false;
    if (only) return this.#channels.some((one) => one.name === only && attempt(one, message));
    for (const _ of this.#channels) {
      if (attempt(this.#channel, message)) return true;
      this.next();
    }
    return false;
  }

  /** Change to the next channel, as this one brings no answers; after the last one, to the first. */
  next(): void {
    this.#index = this.#following;
  }

  /** Open the kernel's connection again, if the host can do that. It serves the whole notebook. */
  reopen(): void {
    // The host reports both the attempt and its end with the connection's status.
    this.#connection?.reconnect?.().catch(() => {});
  }

  close(): void {
    this.#closed = true;
  }

  get #channel(): Channel {
    return this.#channels[this.#index] ?? this.#channels[0];
  }

  get #following(): number {
    return (this.#index + 1) % this.#channels.length;
  }
}

/** Send a message on one channel; return false if the channel is closed. */
function attempt(channel: Channel, message: PageMessage): boolean {
  try {
    channel.send(message);
    return true;
  } catch {
    return false;
  }
}

function controlChannel(kernel: KernelConnection | null): Channel | null {
  if (typeof kernel?.sendControlMessage !== "function") return null;
  return {
    name: "control",
    free: true,
    send(message) {
      const future = kernel.sendControlMessage?.(
        {
          header: {
            msg_id: newId(""),
            msg_type: REQUEST,
            session: kernel.clientId ?? "",
            username: kernel.username ?? "",
            date: new Date().toISOString(),
            version: "5.3",
            subshell_id: null,
          },
          parent_header: {},
          metadata: {},
          channel: "control",
          content: { message },
          buffers: [],
        },
        false,
        true,
      );
      // Answers are packets. The request itself has no reply and no status, for which a future would wait.
      future?.done?.catch(() => {});
      future?.dispose?.();
    },
  };
}

function modelChannel(model: AnyModel): Channel {
  return { name: "model", free: false, send: (message) => model.send({ message }) };
}
