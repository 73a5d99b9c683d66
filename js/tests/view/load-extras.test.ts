/** Loading the extras of an idle page. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Runtime } from "../../src/types";
import { preloadExtras } from "../../src/view/load-extras";

const model = {};
const replaceRawOutputs = vi.fn();
const load = vi.fn();
let warned: ReturnType<typeof vi.spyOn>;

function idlePage(): Runtime {
  return {
    store: { connection: "live", subscribe: () => () => {} },
    host: { context: { model } },
    load,
  } as unknown as Runtime;
}

beforeEach(() => {
  vi.useFakeTimers();
  load.mockReset().mockResolvedValue({ extras: { replaceRawOutputs } });
  replaceRawOutputs.mockReset();
  warned = vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => {
  warned.mockRestore();
  vi.useRealTimers();
});

test("an idle page replaces the raw outputs of its notebook, once", async () => {
  const runtime = idlePage();
  preloadExtras(runtime);
  preloadExtras(runtime);
  await vi.runAllTimersAsync();
  expect(replaceRawOutputs.mock.calls).toEqual([[model]]);
  expect(warned).not.toHaveBeenCalled();
});

test("an output that cannot be replaced is reported in the console", async () => {
  const error = new Error("a cell that cannot be written");
  replaceRawOutputs.mockImplementation(() => {
    throw error;
  });
  preloadExtras(idlePage());
  await vi.runAllTimersAsync();
  expect(warned).toHaveBeenCalledWith(expect.stringContaining("could not be replaced"), error);
});

test("extras that cannot be loaded in advance are left to the first click", async () => {
  load.mockRejectedValue(new Error("the kernel does not answer"));
  preloadExtras(idlePage());
  await vi.runAllTimersAsync();
  expect(load).toHaveBeenCalledWith("extras");
  expect(warned).not.toHaveBeenCalled();
});
