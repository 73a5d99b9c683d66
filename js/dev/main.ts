/** The development page: the view over a fake kernel. `?scene=` picks what there is to see. */

import { mountView } from "../src/view/index";
import { cause, FakeKernel } from "../testing/kernel";
import { FakeModel } from "../testing/model";
import { FakePage } from "../testing/page";

const ANSWER = `The **Seine** and, in the north, the canals:

1. the *Seine*, from east to west
2. the Bièvre, underground since 1912

| river | length |
|---|---|
| Seine | 777 km |
| Bièvre | 35 km |

\`\`\`python
def rivers(city: str) -> list[str]:
    """Return the rivers that cross a city."""
    return {"Paris": ["Seine", "Bièvre"]}.get(city, [])
\`\`\`

The mean discharge is $Q \\approx 560\\,\\mathrm{m^3/s}$. See [the article](https://example.org/seine).
`;

const CODE = `import pandas as pd

df = pd.read_csv("rivers.csv")  # ${"\u202e"} harmless
for name, group in df.groupby("country"):
    print(name, group["length"].mean())
`;

const query = new URLSearchParams(location.search);
document.documentElement.setAttribute("data-theme", query.get("theme") ?? "light");
const kernel = new FakeKernel();
kernel.answer = (prompt) =>
  `You asked: ${prompt}\n\n${ANSWER}`.repeat(prompt.includes("long") ? 30 : 1);

const geo = kernel.create("Rivers of Paris");
const code = kernel.create("A parser in Python");
const chem = kernel.create("Chemistry");
const long = kernel.create(
  "A very long title that somebody gave to a conversation about everything",
);
kernel.create("");

const run = kernel.ask(geo, "Which rivers cross Paris?");
kernel.text(geo, run, "The user asks about rivers.\nI list them.", "reasoning");
kernel.text(geo, run, ANSWER);
kernel.complete(geo, run);
kernel.ask(geo, "And how long is each of them?\nPlease give a source.");

const scene = query.get("scene") ?? "stream";
const second = kernel.state(geo).runs.at(-1)?.id ?? "";
if (scene === "stream" || scene === "queue") {
  void kernel.stream(geo, second, ANSWER.repeat(40), scene === "queue" ? 200 : 20);
}
if (scene === "queue") {
  kernel.ask(geo, "Then tell me about the Rhône, from its source to the sea.");
  kernel.ask(geo, "And about the Loire.");
}
const at = Date.now() / 1000;
if (scene === "interrupted") {
  kernel.text(geo, second, "The Seine is 777 km long, and the Biè");
  kernel.interrupt(
    geo,
    second,
    cause("The connection to the server broke after 37 characters.", {
      hint: "What has arrived is kept. Continue or regenerate.",
    }),
  );
}
if (scene === "failed") {
  kernel.fail(
    geo,
    second,
    cause("The server refused the key (401).", {
      hint: "Check OPENAI_API_KEY for this server; it is read again at every run.",
      http_status: 401,
    }),
  );
}
if (scene === "retrying") {
  kernel.append(geo, {
    type: "run_retrying",
    run_id: second,
    attempt: 1,
    of: 2,
    retry_at: at + 9,
    error: cause("The server asks to wait (429)."),
  });
}
if (scene === "paused") {
  kernel.text(geo, second, "The Seine is ");
  kernel.append(geo, { type: "run_paused", run_id: second, at });
}

if (scene === "tools") {
  kernel.text(geo, second, "I look at the data first.");
  const call = (call_id: string, name: string, text: string): void =>
    kernel.call(geo, second, call_id, name, text);
  const picture = document.createElement("canvas");
  picture.width = picture.height = 60;
  picture.getContext("2d")?.fillRect(10, 10, 40, 40);
  call("c1", "rate", '{"currency":"USD"}');
  call("c2", "python", JSON.stringify({ code: CODE }));
  call("c3", "delete_files", '{"folder":"/tmp/\u202egnp.exe","recursive":true}');
  kernel.append(geo, { type: "run_acting", run_id: second, at, call_ids: ["c1"], by: "author" });
  kernel.result(geo, second, "c1", "1.08", [picture.toDataURL("image/png")]);
  kernel.append(geo, {
    type: "run_awaiting_approval",
    run_id: second,
    at,
    call_ids: ["c2", "c3"],
  });
}

const other = kernel.ask(code, "Write a parser.");
kernel.text(code, other, "Here is");
const failed = kernel.ask(chem, "What is pH?");
kernel.fail(chem, failed, cause("No connection."));
kernel.tweak(long, { unread: true, pinned: true });
for (let i = 0; i < 400; i += 1) {
  kernel.message(long, "user", `Question ${i}`);
  kernel.message(long, "assistant", `Answer **${i}**. ${"Words and words. ".repeat(40)}`);
}

const model = new FakeModel({
  active: query.get("active") === "long" ? long : geo,
  locale: query.get("locale") ?? "en",
  height: query.get("height") ?? "",
});
const host = document.querySelector<HTMLElement>("#host");
if (host)
  Object.assign(window, {
    kernel,
    model,
    geo,
    long,
    dispose: mountView(new FakePage(kernel).runtime, "tabs", model, host),
  });
