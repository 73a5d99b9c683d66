/** `FakePage`: a page of a `FakeKernel`, with the real runtime and link over a fake Jupyter. */

import * as extras from "../src/entries/extras";
import * as highlight from "../src/entries/highlight";
import * as math from "../src/entries/math";
import { PageRuntime } from "../src/entries/runtime";
import * as zh from "../src/i18n/zh-CN";
import type { AssetName } from "../src/protocol";
import type { Store } from "../src/state/store";
import type { AssetModule } from "../src/types";
import { FakeHost, type HostKind } from "./host";
import { FakeKernel } from "./kernel";

const BUNDLES: Readonly<Record<AssetName, AssetModule>> = { math, highlight, extras, "zh-CN": zh };

/** The runtime with its bundles built in: a test cannot import them from memory. */
class Runtime extends PageRuntime {
  override async load(name: AssetName): Promise<AssetModule> {
    return BUNDLES[name];
  }

  override loaded(name: AssetName): AssetModule {
    return BUNDLES[name];
  }
}

export class FakePage {
  readonly kernel: FakeKernel;
  readonly host: FakeHost;
  readonly runtime: PageRuntime;

  constructor(kernel = new FakeKernel(), kind: HostKind = {}) {
    this.kernel = kernel;
    this.host = new FakeHost((message) => kernel.receive(message), kind);
    kernel.broadcast = (wire) => this.host.receive(wire);
    this.runtime = new Runtime("0", undefined, () => () => {});
    this.runtime.attach(this.host.model);
  }

  get store(): Store {
    return this.runtime.store;
  }

  /** Resolves when the kernel has answered. */
  async connected(): Promise<this> {
    if (this.store.connection === "live") return this;
    await new Promise<void>((resolve) => {
      const unsubscribe = this.store.subscribe(() => {
        if (this.store.connection !== "live") return;
        unsubscribe();
        resolve();
      });
    });
    return this;
  }

  /** End all timers. */
  close(): void {
    this.kernel.close();
    this.runtime.release(this.host.model);
  }
}
