/** `World`: a kernel and its pages in one process, with faulty lines, fake time and an oracle. */
import { expect, vi } from "vitest";
import type { PageMessage } from "../src/protocol";
import { transcript } from "../src/state/session";
import { Link } from "../src/wire/link";
import { Author } from "./author";
import { FakeHost } from "./host";
import { chance, type Faults, Line } from "./line";
import { type Wire, WireKernel } from "./wire-kernel";

export interface Page {
  readonly link: Link;
  readonly host: FakeHost;
  readonly down: Line<Wire>;
  readonly up: Line<PageMessage>;
}

export interface Options {
  seed?: number;
  pages?: number;
  pieceBytes?: number;
  window?: number;
  epoch?: string;
  /** How much has happened in each session before a page looks at it. */
  past?: number;
}

/** A kernel and its pages, with a line of its own from and to each page. */
export class World {
  readonly random: () => number;
  readonly #windowed: boolean;
  readonly kernel: WireKernel;
  readonly pages: Page[] = [];
  readonly #authors = new Map<string, Author>();

  constructor({ seed = 1, pages = 1, pieceBytes, window, epoch = "k1" }: Options = {}) {
    this.random = chance(seed);
    this.#windowed = window !== undefined;
    const broadcast = (wire: Wire): void => {
      for (const { down } of this.pages) down.send(wire);
    };
    this.kernel = new WireKernel(epoch, broadcast, { pieceBytes, window });
    for (let i = 0; i < pages; i++) this.open();
  }

  /** Open one more page; messages of it that `lose` names never arrive. */
  open(lose?: (message: PageMessage, host: FakeHost) => boolean): Page {
    return this.adopt(new Link("0"), lose);
  }

  /** Give a page, new or orphaned, this kernel. */
  adopt(link: Link, lose?: (message: PageMessage, host: FakeHost) => boolean): Page {
    const up = new Line<PageMessage>(this.random, (message) => this.kernel.receive(message));
    if (lose) up.lose = (message) => lose(message, host);
    const host: FakeHost = new FakeHost((message) => up.send(message));
    const down = new Line<Wire>(this.random, (wire) => {
      host.receive(wire);
      this.inspect();
    });
    const page = { link, host, down, up };
    this.pages.push(page);
    link.attach(host.model);
    return page;
  }

  set faults(faults: Faults) {
    for (const { down, up } of this.pages) down.faults = up.faults = faults;
  }

  /** Let something happen in a session. */
  step(id: string): void {
    const author = this.#authors.get(id) ?? new Author(this.random, id);
    this.#authors.set(id, author);
    this.kernel.append(id, ...author.next(this.kernel.state(id)));
  }

  /** Whatever a page shows of a session is what the kernel had at some time. */
  inspect(): void {
    for (const { link } of this.pages) {
      // Until the next kernel has answered, a page shows what the last one had.
      if (link.store.epoch !== this.kernel.epoch) continue;
      for (const id of this.kernel.sessions.keys()) {
        const view = link.store.session(id);
        if (view === undefined) continue;
        const then = this.kernel.state(id, view.state.seq);
        expect(then).toBeDefined();
        expect(view.path).toEqual(transcript(then).slice(view.omitted));
        if (!this.#windowed && !link.gone) expect(view.state).toEqual(then);
      }
    }
  }

  /** Whether every page has everything. */
  get settled(): boolean {
    return this.pages.every(({ link }) =>
      [...this.kernel.sessions.keys()].every((id) => {
        const { store } = link;
        const seq = this.kernel.state(id).seq;
        return (
          store.session(id)?.state.seq === seq &&
          store.heads.get(id)?.state === this.kernel.head(id).state
        );
      }),
    );
  }

  /** Let time pass until every page has everything; return how long it took. */
  async settle(limit = 30_000): Promise<number> {
    let spent = 0;
    for (; !this.settled && spent < limit; spent += 20) await vi.advanceTimersByTimeAsync(20);
    expect(this.settled).toBe(true);
    this.inspect();
    return spent;
  }

  close(): void {
    this.kernel.close();
    for (const { link, host } of this.pages) {
      link.detach();
      expect(host.listeners).toBe(0);
    }
  }
}

/** Let things happen in some sessions while the line does its worst, then wait for the pages. */
export async function play(
  options: Options,
  faults: Faults,
  sessions: number,
  steps: number,
  limit?: number,
): Promise<World> {
  const world = new World(options);
  world.faults = faults;
  for (let i = 0; i < sessions; i++) {
    for (let past = 0; past <= (options.past ?? 0); past++) world.step(`s${i}`);
    for (const { link } of world.pages) link.want(`s${i}`);
  }
  for (let i = 0; i < steps; i++) {
    world.step(`s${Math.floor(world.random() * sessions)}`);
    if (world.random() < 0.5) await vi.advanceTimersByTimeAsync(world.random() * 60);
  }
  await world.settle(limit);
  return world;
}
