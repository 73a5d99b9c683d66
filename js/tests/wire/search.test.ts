/** A page's searches: asked again until they are answered, and only the last one counts. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { SearchResults } from "../../src/protocol";
import { Requests } from "../../src/wire/requests";
import { Searches } from "../../src/wire/search";

const asked: [string, string][] = [];
let requests: Requests;
let searches: Searches;

function found(id: string): SearchResults {
  return { type: "search_results", to: "p", id, hits: [], more: false };
}

beforeEach(() => {
  vi.useFakeTimers();
  asked.length = 0;
  requests = new Requests();
  searches = new Searches(requests, (id, query) => asked.push([id, query]) > 0);
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test("a lost search is sent again under the same id", async () => {
  const answer = searches.find("seine");
  vi.advanceTimersByTime(5000);
  expect(asked.map(([, query]) => query)).toEqual(["seine", "seine", "seine"]);
  expect(new Set(asked.map(([id]) => id)).size).toBe(1);
  requests.take(found(asked[0]?.[0] ?? ""));
  expect(await answer).toMatchObject({ hits: [] });
});

test("a later search replaces an earlier one, whose answer is dropped", async () => {
  const first = searches.find("se");
  const second = searches.find("seine");
  expect(await first).toBeNull();
  requests.take(found(asked[0]?.[0] ?? ""));
  requests.take(found(asked[1]?.[0] ?? ""));
  expect((await second)?.id).toBe(asked[1]?.[0]);
});

test("a search that is not answered continues with the next kernel", async () => {
  const answer = searches.find("seine");
  requests.abandon();
  vi.advanceTimersByTime(2000);
  expect(asked).toHaveLength(2);
  requests.take(found(asked[0]?.[0] ?? ""));
  expect(await answer).toMatchObject({ hits: [] });
});

test("an empty query is not sent", async () => {
  const first = searches.find("se");
  expect(await searches.find("")).toBeNull();
  expect(await first).toBeNull();
  expect(asked).toHaveLength(1);
});
