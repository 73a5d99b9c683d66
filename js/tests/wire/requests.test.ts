/** Requests are repeated until they are answered, and rejected when the kernel is gone. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Connected } from "../../src/protocol";
import { NoChannel, Requests } from "../../src/wire/requests";

let sent: string[];
let requests: Requests;

function ask(most = Number.POSITIVE_INFINITY) {
  return requests.ask<Connected>(
    (id) => {
      sent.push(id);
      return true;
    },
    { most },
  );
}

function answer(id = ""): Connected {
  return { type: "connected", to: "p", id, models: [], text: "", error: null };
}

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  requests = new Requests();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test("a lost request is sent again under the same id until its answer arrives", async () => {
  const asked = ask();
  vi.advanceTimersByTime(5000);
  expect(sent).toHaveLength(3);
  expect(new Set(sent).size).toBe(1);
  requests.take(answer("another"));
  requests.take(answer(sent[0]));
  expect((await asked).id).toBe(sent[0]);
});

test("requests at the same time get their own answers", async () => {
  const [first, second] = [ask(), ask()];
  requests.take(answer(sent[1]));
  requests.take(answer(sent[0]));
  expect([(await first).id, (await second).id]).toEqual(sent);
});

test("a request is rejected when the kernel is gone", async () => {
  const asked = ask();
  requests.abandon();
  await expect(asked).rejects.toMatchObject({ code: "kernel_gone" });
});

test("a request that cannot be sent is rejected at once with its own error", async () => {
  const unsent = new NoChannel();
  await expect(requests.ask(() => false, { unsent })).rejects.toBe(unsent);
  await expect(requests.ask(() => false)).rejects.toMatchObject({ code: "kernel_gone" });
});

test("a request that the next kernel may answer also waits while it cannot be sent", async () => {
  let isOpen = false;
  const asked = requests.ask<Connected>(() => isOpen, { id: "extras", keep: true });
  requests.abandon();
  isOpen = true;
  vi.advanceTimersByTime(2000);
  requests.take(answer("extras"));
  expect((await asked).id).toBe("extras");
});

test("a request with a limit is rejected by a kernel that does not answer", async () => {
  const asked = ask(8);
  const rejected = expect(asked).rejects.toMatchObject({ code: "kernel_gone" });
  await vi.advanceTimersByTimeAsync(60_000);
  await rejected;
  expect(sent).toHaveLength(8);
  requests.take(answer(sent[0]));
});
