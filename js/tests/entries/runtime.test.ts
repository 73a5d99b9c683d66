// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { placeOf, runtimesOf } from "../../src/entries/exchange";
import hub from "../../src/entries/hub";
import { PageRuntime } from "../../src/entries/runtime";
import view from "../../src/entries/view";
import { type AnyModel, documentOf, type NotebookModel } from "../../src/jupyter";
import { insertCell } from "../../src/jupyter/cells";
import { replaceRawOutputs } from "../../src/jupyter/raw-outputs";
import type { Checkpoint, PageMessage } from "../../src/protocol";
import { openDrafts } from "../../src/state/drafts";
import { Author } from "../../testing/author";
import { FakeHost, FakeSignal } from "../../testing/host";
import { FakeModel } from "../../testing/model";
import { WireKernel } from "../../testing/wire-kernel";

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  sessionStorage.clear();
});
afterEach(() => void vi.useRealTimers());

/** A notebook that remembers its metadata. */
class FakeNotebook {
  readonly saveState = new FakeSignal<string>();
  readonly path = "folder/notes.ipynb";
  readonly cells: { id: string; cell_type: string; source: string }[] = [
    { id: "c-0", cell_type: "code", source: "1 + 1" },
  ];
  readonly model: Record<string, unknown>;
  writes = 0;

  constructor(readonly metadata: Record<string, unknown> = {}) {
    this.model = {
      getMetadata: (key: string) => this.metadata[key],
      setMetadata: (key: string, value: unknown) => {
        this.writes++;
        this.metadata[key] = value;
      },
      sharedModel: {
        cells: this.cells,
        insertCell: (index: number, cell: { cell_type: string; source: string }) => {
          const made = { id: `c-${this.cells.length}`, ...cell };
          this.cells.splice(index, 0, made);
          return made;
        },
      },
    };
  }
}

interface FakeOutput {
  readonly output_type: string;
  readonly data?: { readonly [type: string]: string };
  readonly [name: string]: unknown;
}

function shownAs(transcript: string) {
  return { nbchat: { transcript } };
}

class FakeOutputs {
  writes = 0;

  constructor(readonly all: FakeOutput[]) {}

  get length(): number {
    return this.all.length;
  }

  get(index: number) {
    const output = this.all[index];
    return { ...output, toJSON: () => output };
  }

  set(index: number, output: FakeOutput): void {
    this.writes++;
    this.all[index] = output;
  }
}

interface Rig {
  readonly runtime: PageRuntime;
  readonly host: FakeHost;
  readonly kernel: WireKernel;
  readonly heard: PageMessage[];
}

const rigs: Rig[] = [];

function open(notebook?: object, kind = {}): Rig {
  const kernel: WireKernel = new WireKernel("k1", (wire) =>
    setTimeout(() => host.receive(wire), 5),
  );
  const context = notebook as unknown as Record<string, unknown> | undefined;
  const traits = { epoch: "k1", version: "1" };
  const host = new FakeHost((message) => kernel.receive(message), kind, traits, context);
  const runtime = new PageRuntime("1", documentOf(host.model.widget_manager), () => () => {});
  runtime.attach(host.model);
  const rig = { runtime, host, kernel, heard: kernel.heard };
  rigs.push(rig);
  return rig;
}

afterEach(() => {
  for (const { runtime, host, kernel } of rigs.splice(0)) {
    runtime.release(host.model);
    kernel.close();
    expect(host.listeners).toBe(0);
  }
});

function hide(hidden: boolean): void {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}
afterEach(() => hide(false));

function viewings(heard: readonly PageMessage[]): (readonly string[])[] {
  return heard.flatMap((message) =>
    message.type === "run_command" && message.command.type === "viewing"
      ? [message.command.session_ids]
      : [],
  );
}

describe("commands", () => {
  test("get an id of their own and an answer", async () => {
    const { runtime, heard } = open();
    const asked = [1, 2].map(() => runtime.do({ type: "new_session", title: "geo" }));
    await vi.advanceTimersByTimeAsync(200);
    const [one, two] = await Promise.all(asked);
    expect(one?.id).not.toBe(two?.id);
    expect(heard.filter(({ type }) => type === "run_command")).toHaveLength(2);
  });

  test("that are too large are refused in the page, with their size", async () => {
    const { runtime, heard } = open();
    const text = "é".repeat(9_000_000);
    const ids = { run_id: null, message_id: null };
    const command = {
      type: "send",
      session_id: "s",
      text,
      attachments: [],
      params: {},
      ...ids,
    } as const;
    expect((await runtime.do(command)).error).toMatchObject({
      code: "message_too_large",
      message: expect.stringContaining("17.2 MiB"),
    });
    await vi.advanceTimersByTimeAsync(100);
    expect(heard.filter(({ type }) => type === "run_command")).toEqual([]);
  });

  test("wait for the running cell in hosts without a control channel, and the page shows it", async () => {
    const { runtime, host, heard } = open(undefined, { control: false });
    await vi.advanceTimersByTimeAsync(2000);
    expect(runtime.store.connection).toBe("live");
    host.status = "busy";
    host.statusChanged.emit("busy");
    const before = heard.length;
    vi.spyOn(rigs[0]?.kernel as WireKernel, "receive").mockImplementation(() => {});
    void runtime.do({ type: "list_models", session_id: null }).catch(() => {});
    await vi.advanceTimersByTimeAsync(1200);
    expect(runtime.store.connection).toBe("waiting");
    vi.restoreAllMocks();
    host.statusChanged.emit("idle");
    await vi.advanceTimersByTimeAsync(3000);
    expect(runtime.store.connection).toBe("live");
    expect(heard.length).toBeGreaterThan(before);
  });
});

describe("what a user changes in a view", () => {
  const changes = (heard: readonly PageMessage[]) =>
    heard.flatMap((m) =>
      m.type === "run_command" && m.command.type === "set_view" ? [m.command] : [],
    );

  test("is sent at once, by view, and a change that is sent again never undoes a later one", async () => {
    const { runtime, heard } = open();
    await vi.advanceTimersByTimeAsync(100);
    const lost = vi.spyOn(rigs[0]?.kernel as WireKernel, "receive").mockImplementation(() => {});
    runtime.setView("v1", { session_ids: ["a", "b"] });
    runtime.setView("v1", { active: "a" });
    runtime.setView("v2", { active: "c" });
    runtime.setView("v1", { active: "b" });
    lost.mockRestore();
    const sent = changes(heard).length;
    await vi.advanceTimersByTimeAsync(5000);
    const repeated = changes(heard).slice(sent);
    expect(
      repeated.map(({ view_id, active, session_ids }) => [view_id, active, session_ids]),
    ).toEqual([
      ["v2", "c", null],
      ["v1", "b", ["a", "b"]],
    ]);
    runtime.setView("v1", { active: "a" });
    expect(changes(heard).at(-1)).toMatchObject({ view_id: "v1", active: "a", session_ids: null });
  });
});

describe("what views show", () => {
  test("is reported once for all views of the page, and again after a change", async () => {
    const { runtime, heard } = open();
    const [a, b] = [Symbol("a"), Symbol("b")];
    runtime.viewing(a, ["s1"]);
    runtime.viewing(b, ["s2", "s1"]);
    await vi.advanceTimersByTimeAsync(1000);
    runtime.viewing(b, []);
    await vi.advanceTimersByTimeAsync(1000);
    runtime.viewing(b, ["s1"]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(viewings(heard)).toEqual([["s1", "s2"], ["s1"]]);
  });

  test("is reported again when an answer ends there, so that it is marked as read", async () => {
    const { runtime, kernel, heard } = open();
    const author = new Author(() => 0.99, "x");
    const answer = async (id: string): Promise<void> => {
      const goOn = (): void => kernel.append(id, ...author.next(kernel.state(id)));
      while (kernel.head(id).run_id === null) goOn();
      while (kernel.head(id).run_id !== null) goOn();
      await vi.advanceTimersByTimeAsync(1000);
    };
    runtime.viewing(Symbol("a"), ["s1"]);
    await vi.advanceTimersByTimeAsync(1000);
    await answer("s1");
    await answer("s2");
    expect(viewings(heard)).toEqual([["s1"], ["s1"]]);
  });

  test("includes the sessions with unsent text, and is reported again when a draft begins or ends", async () => {
    const { runtime, heard } = open();
    runtime.viewing(Symbol("a"), ["s1"]);
    for (const text of ["W", "Wh", ""]) {
      runtime.drafts.set("s2", text);
      await vi.advanceTimersByTimeAsync(500);
    }
    const drafts = heard.flatMap((message) =>
      message.type === "run_command" && message.command.type === "viewing"
        ? [message.command.drafts]
        : [],
    );
    expect(drafts).toEqual([["s2"], []]);
  });

  test("is nothing while the page is hidden", async () => {
    const { runtime, heard } = open();
    runtime.viewing(Symbol("a"), ["s1"]);
    await vi.advanceTimersByTimeAsync(500);
    hide(true);
    await vi.advanceTimersByTimeAsync(500);
    hide(false);
    await vi.advanceTimersByTimeAsync(500);
    expect(viewings(heard)).toEqual([["s1"], [], ["s1"]]);
  });
});

test("a page that becomes visible requests missing events at once", async () => {
  const { heard } = open();
  await vi.advanceTimersByTimeAsync(1000);
  hide(true);
  const before = heard.length;
  hide(false);
  expect(heard.slice(before).map(({ type }) => type)).toEqual(["sync"]);
});

describe("the notebook", () => {
  function checkpoint(version: number, to: string | null = null): Checkpoint {
    return {
      type: "checkpoint",
      to,
      version,
      metadata: { version },
      transcripts: {},
      settled: true,
    };
  }

  test("sends its stored snapshot as soon as a page is open, in pieces of a limited size", async () => {
    const stored = { text: "👩".repeat(500_000) };
    const { heard } = open(new FakeNotebook({ nbchat: stored }));
    await vi.advanceTimersByTimeAsync(10);
    const pieces = heard.filter((message) => message.type === "stored");
    expect(JSON.parse(pieces.map(({ text }) => text).join(""))).toEqual(stored);
    expect(pieces.map(({ piece, of }) => [piece, of])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    for (const piece of pieces) {
      expect(new TextEncoder().encode(piece.text).length).toBeLessThanOrEqual(1024 * 1024);
      expect(piece.text).not.toMatch(/\p{Surrogate}/u);
      expect(piece.path).toBe("folder/notes.ipynb");
    }
  });

  test("reports that it has no stored snapshot, and the page that it has no notebook", async () => {
    const { heard } = open(new FakeNotebook());
    await vi.advanceTimersByTimeAsync(10);
    expect(heard.find(({ type }) => type === "stored")).toMatchObject({ text: "null", of: 1 });
    const other = open();
    await vi.advanceTimersByTimeAsync(10);
    expect(other.heard.find(({ type }) => type === "stored")).toMatchObject({ text: "", of: 0 });
  });

  test("gets the newest checkpoint, and never an older one or another page's", async () => {
    const notebook = new FakeNotebook();
    const { runtime, kernel } = open(notebook);
    await vi.advanceTimersByTimeAsync(100);
    const written: unknown[] = [];
    for (const [version, to] of [[1], [3, runtime.page], [2], [4, "another"], [5]] as const) {
      kernel.say(checkpoint(version, to ?? null));
      await vi.advanceTimersByTimeAsync(100);
      written.push(notebook.metadata["nbchat"]);
    }
    expect(written).toEqual([1, 3, 3, 3, 5].map((version) => ({ version })));
    expect(notebook.writes).toBe(3);
  });

  test("is ignored if it has no path, as the empty document that VS Code passes to widgets", async () => {
    const notebook = new FakeNotebook({ nbchat: "stored" });
    const { runtime, kernel, heard } = open(Object.assign(notebook, { path: undefined }));
    await vi.advanceTimersByTimeAsync(100);
    kernel.say(checkpoint(1));
    await vi.advanceTimersByTimeAsync(100);
    expect(heard.find(({ type }) => type === "stored")).toMatchObject({ text: "", of: 0 });
    expect(notebook.metadata).toEqual({ nbchat: "stored" });
    expect(runtime.host).toEqual({ hasCells: false, hasPanels: false, savesInFile: false });
  });

  test("that could not be written is written again before it is saved", async () => {
    const complaint = vi.spyOn(console, "warn").mockImplementation(() => {});
    const notebook = new FakeNotebook();
    const { setMetadata } = notebook.model;
    notebook.model["setMetadata"] = () => {
      throw new Error("read only");
    };
    const { kernel, heard, runtime } = open(notebook);
    await vi.advanceTimersByTimeAsync(100);
    kernel.say(checkpoint(1));
    await vi.advanceTimersByTimeAsync(100);
    expect(complaint).toHaveBeenCalledOnce();
    notebook.model["setMetadata"] = setMetadata;
    notebook.saveState.emit("started");
    expect(notebook.metadata["nbchat"]).toEqual({ version: 1 });
    expect(heard.at(-1)).toMatchObject({ type: "want_checkpoint", version: 1, page: runtime.page });
    notebook.saveState.emit("completed");
    expect(heard.filter(({ type }) => type === "want_checkpoint")).toHaveLength(1);
  });

  test("gets its readable outputs when the answers are complete or it is saved", async () => {
    const notebook = new FakeNotebook();
    const cell = new FakeOutputs([
      { output_type: "display_data", data: { "text/html": "old" }, metadata: shownAs("t-1") },
      { output_type: "stream", name: "stdout", text: "t-1" },
      {
        output_type: "display_data",
        data: { "text/html": "mine" },
        metadata: shownAs("__proto__"),
      },
    ]);
    notebook.model["cells"] = [{}, { outputs: cell }];
    const { kernel, runtime } = open(notebook);
    await vi.advanceTimersByTimeAsync(100);
    const say = async (version: number, text: string, settled: boolean, to = runtime.page) => {
      const transcripts = { "t-1": { "text/html": text }, "t-2": { "text/html": "?" } };
      kernel.say({ ...checkpoint(version, to), transcripts, settled });
      await vi.advanceTimersByTimeAsync(100);
    };
    const texts = () => cell.all.map(({ data }) => data?.["text/html"]);

    await say(1, "new", true);
    expect(texts()).toEqual(["new", undefined, "mine"]);
    expect(cell.all[0]).toMatchObject({ output_type: "display_data", metadata: shownAs("t-1") });
    await say(2, "half", false);
    expect(texts()[0]).toBe("new");
    notebook.saveState.emit("started");
    expect(texts()[0]).toBe("half");
    await say(3, "half", true);
    expect(cell.writes).toBe(2); // the same text again makes no notebook unsaved
    await say(4, "elsewhere", true, "another");
    notebook.saveState.emit("started");
    expect(texts()[0]).toBe("half");
    const long = "long ".repeat(8000);
    await say(5, long, true);
    expect(texts()[0]).toBe("half"); // it takes long to be drawn, and is hidden here
    notebook.saveState.emit("started");
    expect(texts()[0]).toBe(long);
  });

  test("loses the raw Markdown that an earlier version wrote", () => {
    const message = "<Message m_1 assistant, 9 characters>";
    const raw = (markdown: string, plain: string, metadata = {}): FakeOutput => ({
      output_type: "display_data",
      data: { "text/markdown": markdown, "text/plain": plain },
      metadata,
    });
    const answers = new FakeOutputs([
      raw("<script>", message),
      raw("<script>", "geo <script>", shownAs("t-1")),
      raw("mine", "<IPython.core.display.Markdown object>"),
      raw("same", "same"),
    ]);
    const magic = new FakeOutputs([raw("<script>", "<script>")]);
    const notebook = new FakeNotebook();
    notebook.model["cells"] = [
      { outputs: answers, sharedModel: { getSource: () => "nbchat.ask('x')" } },
      { outputs: magic, sharedModel: { getSource: () => "%%chat\nx" } },
    ];
    replaceRawOutputs(notebook.model as NotebookModel);
    expect(answers.all.map(({ data }) => data)).toEqual([
      { "text/plain": "<script>" },
      {
        "text/html": '<a href="#nbchat-transcript"></a><pre>geo &lt;script></pre>',
        "text/plain": "geo <script>",
      },
      { "text/markdown": "mine", "text/plain": "<IPython.core.display.Markdown object>" },
      { "text/markdown": "same", "text/plain": "same" },
    ]);
    expect(answers.all[1]?.["metadata"]).toEqual(shownAs("t-1"));
    expect(magic.all[0]?.data).toEqual({ "text/plain": "<script>" });
  });

  test("gets code in a new cell", async () => {
    const notebook = new FakeNotebook();
    const { runtime } = open(notebook);
    expect(runtime.host.hasCells).toBe(true);
    await insertCell(runtime.host.context, "2 + 2", "python", false);
    expect(notebook.cells.map(({ source }) => source)).toEqual(["1 + 1", "2 + 2"]);
    expect(open().runtime.host.hasCells).toBe(false);
    expect(runtime.host.savesInFile).toBe(true);
    expect(open().runtime.host.savesInFile).toBe(false);
  });

  test("inserts several pieces of code in their order, below the cell that has the focus", async () => {
    const notebook = new FakeNotebook();
    notebook.cells.push({ id: "c-1", cell_type: "code", source: "last" });
    const { runtime } = open(notebook);
    document.body.innerHTML = `<div data-windowed-list-index="0"><button>Insert</button></div>`;
    document.querySelector("button")?.focus();
    for (const code of ["a", "b", "c"]) {
      await insertCell(runtime.host.context, code, "python", false);
    }
    expect(notebook.cells.map(({ source }) => source)).toEqual(["1 + 1", "a", "b", "c", "last"]);
    document.body.replaceChildren();
  });

  test("keeps the language of the code that it inserts", async () => {
    const notebook = new FakeNotebook();
    const { runtime } = open(notebook);
    const insert = (code: string, language: string) =>
      insertCell(runtime.host.context, code, language, false);
    await insert("%time f()", "ipython");
    await insert("ls -l", "bash");
    await insert("SELECT 1;", "sql");
    await insert("Use ```x```.", "text");
    expect(notebook.cells.slice(1).map((cell) => [cell.cell_type, cell.source])).toEqual([
      ["code", "%time f()"],
      ["code", "%%bash\nls -l"],
      ["markdown", "```sql\nSELECT 1;\n```"],
      ["markdown", "````text\nUse ```x```.\n````"],
    ]);
  });
});

describe("drafts", () => {
  test("survive a reload, and are removed when they are sent", () => {
    openDrafts().set("s", "half a thought");
    expect(openDrafts().get("s")).toBe("half a thought");
    openDrafts().set("s", "");
    expect(openDrafts().get("s")).toBe("");
  });

  test("survive the browser tab, and are separate in two pages", () => {
    const one = openDrafts();
    const two = openDrafts();
    expect([one.get("s"), two.get("s")]).toEqual(["", ""]);
    one.set("s", "one");
    two.set("s", "two");
    expect([one.get("s"), two.get("s")]).toEqual(["one", "two"]);
    sessionStorage.clear();
    expect(openDrafts().get("s")).toBe("two");
  });

  test("are kept in memory where there is no storage, and for a month where there is", () => {
    openDrafts().set("s", "old");
    vi.setSystemTime(Date.now() + 31 * 86_400_000);
    expect(openDrafts().get("s")).toBe("");
    const setItem = vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
      throw new Error("full");
    });
    const drafts = openDrafts();
    drafts.set("s", "text");
    expect(setItem).toHaveBeenCalled();
    expect(drafts.get("s")).toBe("text");
  });

  test("that are not valid are ignored", () => {
    for (const text of ["{", "null", "[]", '{"text":1}', '"x"']) {
      sessionStorage.setItem("nbchat:draft:s", text);
      localStorage.setItem("nbchat:draft:s", text);
      expect(openDrafts().get("s")).toBe("");
    }
  });
});

describe("hub and views", () => {
  function viewModel(manager: object): AnyModel {
    const traits: Record<string, string> = { hub: "IPY_MODEL_7", kind: "tabs" };
    return { get: (key: string) => traits[key], widget_manager: manager } as unknown as AnyModel;
  }

  test("find each other, whichever module is loaded first", async () => {
    const { runtime, host } = open();
    const manager = { kernel: null, get_model: async () => host.model };
    const mount = vi.spyOn(runtime, "mount").mockReturnValue(() => {});
    const shown = view.render({ model: viewModel(manager), el: document.createElement("div") });
    await vi.advanceTimersByTimeAsync(100);
    expect(mount).not.toHaveBeenCalled();
    placeOf(manager, "k1").offer(runtime);
    await shown;
    expect(mount).toHaveBeenCalledOnce();
    await view.render({ model: viewModel(manager), el: document.createElement("div") });
    expect(mount).toHaveBeenCalledTimes(2);
    expect(runtimesOf(manager)).toEqual([runtime]);
  });

  test("of a notebook that was closed and opened again are kept apart", async () => {
    const [old, again] = [{ kernel: null }, { kernel: null }];
    const { runtime } = open();
    placeOf(old, "k1").offer(runtime);
    expect(runtimesOf(again)).toEqual([]);
  });

  test("find each other in a host that initializes only requested widgets, as marimo does", async () => {
    const kernel: WireKernel = new WireKernel("k5", (wire) =>
      setTimeout(() => host.receive(wire), 5),
    );
    const traits = { epoch: "k5", version: "0" };
    const host = new FakeHost((message) => kernel.receive(message), { control: false }, traits);
    const requested: string[] = [];
    const composition = {
      getModel: () => Promise.reject(new Error("not used")),
      getWidget: async (ref: string) => {
        requested.push(ref);
        // Each model has a manager of its own.
        hub.initialize({ model: { ...host.model, widget_manager: {} } as AnyModel });
        return { exports: undefined as never, render: async () => {} };
      },
    };
    const el = document.createElement("div");
    const widget_manager = { get_model: async () => host.model };
    const model = Object.assign(new FakeModel({ hub: "IPY_MODEL_7" }), { widget_manager });
    const dispose = await view.render({ model, el, host: composition });
    expect(requested).toEqual(["anywidget:7"]);
    await vi.advanceTimersByTimeAsync(500);
    expect(el.querySelector("[data-welcomed]")).not.toBeNull();
    dispose();
  });

  test("a view loads the hub from the kernel in a host that did not, as VS Code after a reload", async () => {
    const { runtime, host } = open();
    vi.spyOn(runtime, "mount").mockReturnValue(() => {});
    const loaded: unknown[] = [];
    const missing = Promise.reject(new Error("widget model not found"));
    const manager = {
      kernel: null,
      get_model: async () => (loaded.length > 0 ? host.model : missing),
      _loadFromKernel: async () => loaded.push("all"),
    };
    placeOf(manager, "k1").offer(runtime);
    await view.render({ model: viewModel(manager), el: document.createElement("div") });
    expect(runtime.mount).toHaveBeenCalledTimes(1);
    expect(loaded).toEqual(["all"]);
  });

  test("a view without a hub shows what to do", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const el = document.createElement("div");
    const manager = { get_model: async () => Promise.reject(new Error("widget model not found")) };
    const dispose = await view.render({ model: viewModel(manager), el });
    expect(el.querySelector("[role=alert]")?.textContent).toContain("Run its cell again");
    dispose();
    expect(el.childElementCount).toBe(0);
  });

  test("the wait for a hub that never loads ends", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const { host } = open();
    const el = document.createElement("div");
    const shown = view.render({
      model: viewModel({ kernel: null, get_model: async () => host.model }),
      el,
    });
    await vi.advanceTimersByTimeAsync(21_000);
    await shown;
    expect(el.querySelector("[role=alert]")).not.toBeNull();
  });
});

test("a runtime whose kernel was restarted continues with the next hub, and ends with that one", async () => {
  const { runtime, host } = open();
  await vi.advanceTimersByTimeAsync(500);
  runtime.viewing(Symbol("a"), ["s1"]);
  await vi.advanceTimersByTimeAsync(500);
  host.statusChanged.emit("restarting");
  expect(runtime.orphaned).toBe(true);

  const kernel: WireKernel = new WireKernel("k2", (wire) =>
    setTimeout(() => next.receive(wire), 5),
  );
  const next = new FakeHost((message) => kernel.receive(message));
  runtime.attach(next.model);
  runtime.release(host.model); // the old hub's widget is gone; that is none of the runtime's business
  await vi.advanceTimersByTimeAsync(1000);
  expect([runtime.orphaned, runtime.store.connection, runtime.store.epoch]).toEqual([
    false,
    "live",
    "k2",
  ]);
  // The new kernel learns what is looked at.
  expect(viewings(kernel.heard)).toEqual([["s1"]]);
  runtime.release(next.model);
  expect(runtime.store.connection).toBe("dead");
  kernel.close();
});
