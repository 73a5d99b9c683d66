/**
 * The roads from a page to the kernel, best first.
 *
 * 1. A comm of our own. JupyterLab gives its target a subshell, so what is sent is handled beside a
 *    running cell. The kernel never publishes on it: ipykernel 7.4 re-routes a comm on which it has
 *    published to the shell that was busy then.
 * 2. The control channel, which is never busy either, where the comm got no subshell.
 * 3. The hub widget's own comm. It always works, and waits until the running cell has ended.
 */
import { newId } from "../ids";
import type { AnyModel, KernelComm, KernelConnection } from "../jupyter";
import type { PageMessage } from "../protocol";

/** Target that the kernel has registered for comms of pages. */
export const TARGET = "nbchat.up";
/** Request that the kernel handles on its control channel. */
export const REQUEST = "nbchat_request";
/** Time that a subshell may take to start. */
const SUBSHELL_WAIT_MS = 1500;

/** One way to the kernel. */
export interface Road {
  readonly name: "comm" | "control" | "model";
  /** What is sent is handled while a cell runs. */
  readonly free: boolean;
  /** Send, or throw where the road is closed. */
  send(message: PageMessage): void;
  close(): void;
}

/** Sends a page's messages by the best road there is, in order. */
export class Uplink {
  #road: Road | null = null;
  readonly #roads: (() => Promise<Road | null>)[];
  readonly #queue: PageMessage[] = [];
  #closed = false;

  constructor(model: AnyModel) {
    const kernel = model.widget_manager?.kernel ?? null;
    this.#roads = [() => byComm(kernel), () => byControl(kernel), async () => byModel(model)];
    void this.#open();
  }

  /** Whether what is sent is handled while a cell runs; true until that is known. */
  get free(): boolean {
    return this.#road?.free ?? true;
  }

  /** Name of the road that is used; null while it is being found. */
  get name(): Road["name"] | null {
    return this.#road?.name ?? null;
  }

  /** Send a message; what cannot be sent is lost, as it can be on any road. */
  send(message: PageMessage): void {
    if (this.#closed) return;
    if (this.#road === null) {
      this.#queue.push(message);
      return;
    }
    try {
      this.#road.send(message);
    } catch {
      // The comm died with its connection. The next road may still be there.
      this.next();
      this.#queue.push(message);
    }
  }

  /** Give this road up, as nothing that was sent on it is answered; the last one stays. */
  next(): void {
    if (this.#closed || this.#road === null || this.#roads.length === 0) return;
    this.#road.close();
    this.#road = null;
    void this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
    this.#road?.close();
    this.#road = null;
  }

  async #open(): Promise<void> {
    while (this.#roads.length > 0) {
      const road = await this.#roads
        .shift()?.()
        .catch(() => null);
      if (this.#closed) road?.close();
      if (this.#closed) return;
      if (!road) continue;
      this.#road = road;
      for (const message of this.#queue.splice(0)) this.send(message);
      return;
    }
  }
}

async function byComm(kernel: KernelConnection | null): Promise<Road | null> {
  if (typeof kernel?.createComm !== "function") return null;
  const comm: KernelComm = kernel.createComm(TARGET);
  // The first messages would go to the main shell if they did not wait for the subshell.
  await Promise.race([comm.subshellStarted, wait(SUBSHELL_WAIT_MS)]);
  if (comm.subshellId == null) return null;
  comm.open({});
  return {
    name: "comm",
    free: true,
    send(message) {
      if (comm.isDisposed) throw new Error("the comm is gone");
      comm.send(message);
    },
    close() {
      if (!comm.isDisposed) comm.close?.();
    },
  };
}

async function byControl(kernel: KernelConnection | null): Promise<Road | null> {
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
        true,
        true,
      );
      // Answers come as packets. A reply that is missed is none of anybody's business.
      future?.done?.catch(() => {});
    },
    close() {},
  };
}

function byModel(model: AnyModel): Road {
  return {
    name: "model",
    free: false,
    send: (message) => model.send({ message }),
    close() {},
  };
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
