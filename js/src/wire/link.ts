/**
 * `Link`: the page's half of the wire. It keeps the store up to date with the kernel.
 *
 * There is one mechanism for every way of being late: a new page, a lost packet, a dropped connection, a laptop
 * that slept. The page sends what it has (`hello`, `sync`), and the kernel answers with everything after it in one
 * packet that ends in `synced`. Messages can get lost, so every request is repeated until it is answered. A page
 * that shows a live run asks after a silence, since the loss of the *last* packet leaves no gap.
 */

import { newId } from "../ids";
import { type AnyModel, follow } from "../jupyter";
import {
  type Checkpoint,
  type Command,
  type Hello,
  type KernelMessage,
  type Packet,
  type PageMessage,
  PROTOCOL_VERSION,
  type Welcome,
} from "../protocol";
import { type Connection, Store } from "../state/store";
import { Assets } from "./bundles";
import { ChannelWatch } from "./channel-watch";
import { messagesOf } from "./chunks";
import { EarlierRequests } from "./earlier";
import { Outbox } from "./outbox";
import { Pieces } from "./pieces";
import { type Request, Requests } from "./requests";
import { Searches } from "./search";
import { Sequence } from "./sequence";
import { Silence } from "./silence";
import { Sync } from "./sync";
import { type Channel, Uplink } from "./transport";

/** Interval at which unanswered requests are checked. */
const TICK_MS = 50;
/** The connection is shown as lost after this long without an answer. */
const LOST_MS = 5000;
/** A head can arrive this long before its events. */
const LAG_MS = 300;
/** A connection that is being restored is shown as lost after this long. */
const RECONNECT_MS = 1000;
/** A bundle is requested this many times at most; loading it may succeed later. */
const ASSET_TIMES = 8;

type Kernel = "there" | "reconnecting" | "restarted" | "dead" | "incompatible";

export class Link {
  readonly page = newId("page_");
  readonly store: Store;
  readonly outbox: Outbox;
  readonly requests = new Requests();
  readonly assets = new Assets((name) => {
    const options = { most: ASSET_TIMES, id: name, keep: true };
    return this.requests.ask((id) => this.request(id, { type: "get_asset", name }), options);
  });

  readonly searches = new Searches(this.requests, (id, query) =>
    this.request(id, { type: "search", query }),
  );
  #uplink: Uplink | null = null;
  #end = new AbortController();
  #pieces = new Pieces();
  #sequence = new Sequence();
  /** Epochs of kernels that are gone; late packets from them are dropped. */
  readonly #past = new Set<string>();
  #kernel: Kernel = "there";
  #kernelSince = 0;
  /** Whether a cell runs; null if the host does not tell. */
  #kernelBusy: boolean | null = null;
  #welcome: Welcome | null = null;
  readonly #sync = new Sync((id, times) => this.#sendSync(id, times));
  readonly #earlier = new EarlierRequests(
    (id, session_id, before) => void this.request(id, { type: "want_earlier", session_id, before }),
  );
  readonly #channels = new ChannelWatch();
  readonly #silence = new Silence();
  #laggingSince: number | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** Version of nbchat in this page. */
  readonly #version: string;
  /** Called with every checkpoint, also those for other pages. */
  readonly #onCheckpoint: (checkpoint: Checkpoint) => void;
  /** Called when a kernel, the first or another one, has answered. */
  readonly #onWelcome: () => void;

  constructor(
    version: string,
    onCheckpoint: (checkpoint: Checkpoint) => void = () => {},
    onWelcome: () => void = () => {},
  ) {
    this.#version = version;
    this.#onCheckpoint = onCheckpoint;
    this.#onWelcome = onWelcome;
    this.store = new Store(() => this.#review());
    this.outbox = new Outbox((command) => this.#sendCommand(command));
  }

  /** Connect to the kernel through its hub widget, in place of an earlier one. */
  attach(model: AnyModel): void {
    this.detach();
    this.#end = new AbortController();
    const { signal } = this.#end;
    const received = (content: unknown, buffers: unknown): void => this.#receive(content, buffers);
    model.on("msg:custom", received);
    signal.addEventListener("abort", () => model.off("msg:custom", received));

    const kernel = model.widget_manager?.kernel ?? undefined;
    follow(kernel?.statusChanged, signal, (status) => this.#statusChanged(status));
    follow(kernel?.connectionStatusChanged, signal, (status) => {
      // The best channel may have been given up while there was no network.
      if (status === "connected" && this.#uplink?.free === false) this.#openUplink(model);
      this.#connectionChanged(status);
    });
    follow(kernel?.disposed, signal, () => this.lose("dead"));
    this.#kernelBusy = kernel?.status === undefined ? null : kernel.status === "busy";
    whenBack(signal, () => this.#ask());

    this.#kernel = "there";
    this.#welcome = null;
    this.#sync.cancel();
    this.#openUplink(model);
    this.#ask();
  }

  #openUplink(model: AnyModel): void {
    this.#uplink?.close();
    this.#uplink = new Uplink(model);
    this.#channels.opened();
  }

  /** Disconnect from the hub widget and end all timers. */
  detach(): void {
    this.#end.abort();
    this.#uplink?.close();
    this.#uplink = null;
    this.#pieces = new Pieces();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** The kernel is gone: nothing more will arrive from it. */
  lose(how: "restarted" | "dead"): void {
    if (this.#kernel === how) return;
    this.#kernel = how;
    if (this.store.epoch) this.#past.add(this.store.epoch);
    this.#sync.cancel();
    this.#earlier.clear();
    this.outbox.abandon();
    this.requests.abandon();
    this.store.lose();
    this.#assess();
  }

  /** Whether the kernel of this page is gone for good. */
  get gone(): boolean {
    return this.#kernel === "restarted" || this.#kernel === "dead";
  }

  /** Follow a session from now on. */
  want(sessionId: string): void {
    if (this.store.want(sessionId)) this.#ask();
  }

  /** Request the messages before those that are loaded. */
  earlier(sessionId: string): void {
    const view = this.store.session(sessionId);
    const first = view?.path[0];
    if (view === undefined || view.omitted === 0 || first === undefined) return;
    this.#earlier.ask(sessionId, first.id);
    this.arm();
  }

  /** Send a message without waiting for an answer, on `only` one channel if it is named; return whether it was sent. */
  send(message: PageMessage, only?: Channel["name"]): boolean {
    return !this.gone && this.#uplink?.send(message, only) === true;
  }

  /** Send a request under this id as `send` does. */
  request(id: string, request: Request, only?: Channel["name"]): boolean {
    const message = { ...request, id, page: this.page, epoch: this.store.epoch };
    return this.send(message as PageMessage, only);
  }

  /** Check unanswered requests at the next interval; called after one was added. */
  arm(): void {
    if (this.#timer !== null || this.#uplink === null || !this.#watching) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#tick();
      this.arm();
    }, TICK_MS);
  }

  get #watching(): boolean {
    if (this.gone || this.#kernel === "incompatible") return false;
    return (
      this.#kernel === "reconnecting" ||
      this.#sync.pending ||
      this.outbox.size > 0 ||
      this.#earlier.size > 0 ||
      this.#sequence.gap ||
      this.store.lacking ||
      this.store.live
    );
  }

  #receive(content: unknown, buffers: unknown): void {
    const packet = readPacket(this.#pieces, content, buffers);
    if (packet === "damaged") this.store.stats.dropped++;
    if (packet === null || packet === "damaged") return;
    if (packet.protocol !== PROTOCOL_VERSION) {
      this.#kernel = "incompatible";
      this.#assess();
      return;
    }
    if (packet.epoch !== this.store.epoch) {
      const welcomed = packet.messages.some((m) => m.type === "welcome" && m.to === this.page);
      if (!welcomed || this.#past.has(packet.epoch)) {
        this.store.stats.dropped++;
        return;
      }
      this.#begin(packet.epoch);
    }
    this.#silence.heard(packet.messages);
    this.store.stats.packets++;
    if (this.#sequence.take(packet.n, packet.rev, packet.messages.length > 0)) {
      for (const message of packet.messages) this.#take(message, packet);
    } else {
      this.store.stats.duplicates++;
    }
    // The kernel sent something else than the pending answer, which may be lost.
    this.#sync.repeat(0);
    this.#review();
  }

  #begin(epoch: string): void {
    if (this.store.epoch !== "") {
      // Another kernel answers: pending commands may or may not have been executed.
      this.#past.add(this.store.epoch);
      this.outbox.abandon();
      this.requests.abandon();
    }
    this.#kernel = "there";
    this.#sequence = new Sequence();
    this.#earlier.clear();
    this.store.reset(epoch);
  }

  #take(message: KernelMessage, { n, rev }: Packet): void {
    // All pages get all packets. A checkpoint for another page concerns this one, too.
    const to = "to" in message && message.type !== "checkpoint" ? message.to : null;
    if (to !== null && to !== this.page) return;
    switch (message.type) {
      case "welcome":
        this.#welcomed(message);
        break;
      case "runner":
        this.store.setRunner(message);
        break;
      case "people":
        this.store.setPeople(message);
        break;
      case "heads":
        this.store.takeHeads(message, n);
        break;
      case "events":
        this.store.takeEvents(message, n);
        break;
      case "deltas":
        this.store.takeDeltas(message, n);
        break;
      case "progress":
        this.store.takeProgress(message, n);
        break;
      case "session_state":
        this.store.want(message.state.id); // sent without a request to a page that could not send one
        this.store.takeState(message, n);
        break;
      case "earlier_messages":
        this.#earlier.settle(message.session_id);
        this.store.takeEarlier(message);
        break;
      case "ack":
        if (this.outbox.take(message)) this.#channels.answered(this.#uplink?.free === true);
        break;
      case "synced":
        this.#synced(message.id, n, rev);
        break;
      case "config":
        this.store.setConfig(message);
        break;
      case "models":
        this.store.setModels(message);
        break;
      case "saving":
        this.store.setSaving(message);
        break;
      case "checkpoint":
        this.#onCheckpoint(message);
        break;
      case "asset":
      case "search_results":
      case "variables":
      case "described":
      case "exported":
      case "connected":
        this.requests.take(message);
        break;
      default:
        message satisfies never;
    }
  }

  #welcomed(welcome: Welcome): void {
    const first = this.#welcome === null;
    this.#welcome = welcome;
    const { demo, provider, model } = welcome;
    this.store.setConfig({ demo, provider, model, type: "config" });
    if (!first) return;
    this.outbox.again();
    this.#onWelcome();
  }

  #synced(id: string, n: number, rev: number): void {
    this.#sequence.settle(n, rev);
    if (this.#sync.settle(id, this.store.lacking, this.#had()))
      this.#channels.answered(this.#uplink?.free === true);
  }

  /** Send a request if something is missing; called whenever that may have changed. */
  #review(): void {
    const now = performance.now();
    if (this.#welcome !== null && this.#sync.ready) {
      this.store.recount();
      const { lacking, broken } = this.store;
      this.#laggingSince = lacking ? (this.#laggingSince ?? now) : null;
      const lagging = this.#laggingSince !== null && now - this.#laggingSince >= LAG_MS;
      if (this.#sequence.gap || broken || lagging) {
        this.store.stats.resyncs++;
        this.#ask();
      }
    }
    this.#assess();
    this.arm();
  }

  #tick(): void {
    this.#checkChannel();
    if (this.#sync.pending) this.#sync.repeat();
    else if (this.store.live && this.#silence.isLong) this.#ask();
    this.#earlier.repeat();
    if (this.#welcome !== null) this.outbox.repeat();
    this.#review();
  }

  /** Age of the oldest request without an answer, in milliseconds. */
  get #outstandingMs(): number {
    return Math.max(this.#sync.unansweredMs, this.outbox.unansweredMs);
  }

  /** Change the channel if it brings no answers, or open the connection again; send what is outstanding again. */
  #checkChannel(): void {
    const other = this.#uplink?.other ?? null;
    if (other === null || this.#kernel !== "there") return;
    if (!this.#channels.shouldChange(other, this.#outstandingMs, this.#kernelBusy)) return;
    this.#channels.changed();
    this.#uplink?.next();
    // The whole notebook uses the connection; while a cell runs, its output could get lost.
    const waiting = this.outbox.size > 0 && this.#kernelBusy === false;
    if (waiting && this.#channels.shouldReopen()) this.#uplink?.reopen();
    if (this.#welcome !== null) this.outbox.again();
    this.#ask();
  }

  /** Request everything that is missing. */
  #ask(): void {
    if (this.gone || this.#uplink === null || this.#kernel === "incompatible") return;
    this.#sync.ask(this.#had());
    this.arm();
  }

  #had(): string {
    return JSON.stringify([this.#sequence.rev, this.store.cursors()]);
  }

  #sendSync(id: string, times: number): void {
    const had = { rev: this.#sequence.rev, sessions: this.store.cursors() };
    // A kernel with another epoch does not answer `sync`; it always answers `hello`.
    const known = this.#welcome !== null && times <= 2;
    if (known) this.request(id, { ...had, type: "sync" });
    else this.send(hello({ ...had, id, page: this.page }, this.store.epoch, this.#version));
  }

  #sendCommand(command: Command): void {
    if (this.gone) {
      queueMicrotask(() => this.outbox.abandon());
    } else if (this.#welcome !== null) {
      // Before the welcome the epoch is unknown; the command is sent after it.
      for (const message of messagesOf(command, this.page, this.store.epoch)) this.send(message);
    }
    this.arm();
  }

  #statusChanged(status: string): void {
    this.#kernelBusy = status === "busy";
    if (status === "restarting" || status === "autorestarting") this.lose("restarted");
    else if (status === "dead" || status === "terminating") this.lose("dead");
    else this.#assess();
  }

  #connectionChanged(status: string): void {
    if (this.gone) return;
    if (status === "connected") {
      if (this.#kernel === "reconnecting") this.#kernel = "there";
      if (this.#welcome !== null) this.outbox.again();
      this.#ask();
    } else if (this.#kernel === "there") {
      this.#kernel = "reconnecting";
      this.#kernelSince = performance.now();
    }
    this.#assess();
    this.arm();
  }

  #assess(): void {
    this.store.connection = this.#connection();
  }

  #connection(): Connection {
    const now = performance.now();
    const kernel = this.#kernel;
    if (kernel === "dead" || kernel === "restarted" || kernel === "incompatible") return kernel;
    if (kernel === "reconnecting" && now - this.#kernelSince >= RECONNECT_MS) return "lost";
    const unanswered = this.#channels.unansweredMs(this.#outstandingMs);
    if (this.#uplink !== null && !this.#uplink.free) {
      // Not every host tells whether a cell runs; packets show at least that the kernel is there.
      const heard = this.#silence.ms < LOST_MS;
      if (this.#outstandingMs >= 1000 && (this.#kernelBusy ?? heard)) return "waiting";
    }
    if (unanswered >= LOST_MS) return this.#kernelBusy === null ? "unheard" : "lost";
    return this.#welcome === null ? "connecting" : "live";
  }
}

/** Return a packet, or `null` before its last piece. A damaged one counts as lost: its contents are requested again. */
function readPacket(pieces: Pieces, content: unknown, buffers: unknown): Packet | "damaged" | null {
  try {
    return pieces.read(content, buffers);
  } catch {
    return "damaged";
  }
}

function hello(
  request: Pick<Hello, "id" | "page" | "rev" | "sessions">,
  epoch: string,
  version: string,
): Hello {
  const protocol = PROTOCOL_VERSION;
  return { ...request, type: "hello", protocol, version, epoch: epoch === "" ? null : epoch };
}

/** Call `ask` when the page becomes visible or the network is back: timers of a hidden page are late or paused. */
function whenBack(signal: AbortSignal, ask: () => void): void {
  if (typeof document === "undefined") return;
  const visible = (): void => {
    if (!document.hidden) ask();
  };
  document.addEventListener("visibilitychange", visible, { signal });
  globalThis.addEventListener?.("online", ask, { signal });
}
