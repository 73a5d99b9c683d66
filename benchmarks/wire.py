"""Cost of an answer on the wire and in the kernel, for each thousand tokens of four characters.

Measured in sequence in one real kernel: nbchat; a widget whose trait holds the whole text; a widget that
sends one message for each token. Tokens arrive at 200 a second. Bytes are those of the messages sent by the
kernel, including envelopes. The processor time is that of the kernel process.

Then twenty answers stream at once, at 50 tokens a second each. Measured are the rate and size of messages,
and the latency of the kernel's event loop, where cells run.
"""

import json
import sys

from jupyter_client.manager import run_kernel

TOKENS = 1000

SETUP = """
import asyncio, json, time
import anywidget, traitlets
import nbchat
from nbchat.providers.base import Finish, TextDelta

kernel = get_ipython().kernel
count = {"bytes": 0, "messages": 0}
serialize = kernel.session.serialize
def counted(message, ident=None):
    parts = serialize(message, ident)
    if message["header"]["msg_type"] in ("comm_msg", "comm_open"):
        count["messages"] += 1
        count["bytes"] += sum(map(len, parts)) + sum(len(b) for b in message.get("buffers", ()) or ())
    return parts
kernel.session.serialize = counted
send_raw = kernel.session.send
def send(stream, message, *args, **kwargs):
    buffers = kwargs.get("buffers") or ()
    count["bytes"] += sum(len(b) for b in buffers)
    return send_raw(stream, message, *args, **kwargs)
kernel.session.send = send

class Paced:
    name, can_prefill, can_resume = "paced", True, False
    async def stream(self, request):
        for _ in range(TOKENS):
            await asyncio.sleep(0.005)
            yield TextDelta("word")
        yield Finish("stop")
    async def models(self):
        return ["paced"]
    async def aclose(self):
        pass

class Whole(anywidget.AnyWidget):
    _esm = "export default {}"
    text = traitlets.Unicode("").tag(sync=True)

def measured(work):
    count.update(bytes=0, messages=0)
    start = time.process_time()
    work()
    time.sleep(0.3)
    return {**count, "cpu": time.process_time() - start}

def ours():
    nbchat.session("bench", provider=Paced()).send("?").wait()

def each():
    for _ in range(TOKENS):
        time.sleep(0.005)
        widget.send({"text": "word"})

def whole():
    for _ in range(TOKENS):
        time.sleep(0.005)
        widget.text += "word"

chat = nbchat.ChatTabs()
widget = Whole()
ours()
print(json.dumps({"nbchat": measured(ours), "a message for each token": measured(each),
                  "the whole text in a trait": measured(whole)}))
"""


MANY = """
class Slow(Paced):
    async def stream(self, request):
        for _ in range(250):
            await asyncio.sleep(0.02)
            yield TextDelta("word")
        yield Finish("stop")

count.update(bytes=0, messages=0)
start = time.monotonic()
runs = [nbchat.session(f"many {i}", provider=Slow()).send("?") for i in range(20)]
late = []
while any(not run.is_over for run in runs):
    before = time.perf_counter()
    await asyncio.sleep(0.01)
    late.append(time.perf_counter() - before - 0.01)
late.sort()
print(json.dumps({"rate": count["messages"] / (time.monotonic() - start),
                  "size": count["bytes"] / max(count["messages"], 1),
                  "p50": late[len(late) // 2], "p95": late[int(len(late) * 0.95)], "max": late[-1],
                  "exact": all(run.text == "word" * 250 for run in runs)}))
"""


def main() -> None:
    """Print a table with the ratios to nbchat, and a line for twenty sessions."""
    with run_kernel() as client:
        printed: list[str] = []

        def hear(message: dict[str, dict[str, str]]) -> None:
            if message["header"]["msg_type"] == "stream":
                printed.append(message["content"]["text"])
            elif message["header"]["msg_type"] == "error":
                sys.exit("\n".join(message["content"]["traceback"]))

        code = SETUP.replace("TOKENS", str(TOKENS))
        client.execute_interactive(code, output_hook=hear, timeout=120)
        figures = json.loads("".join(printed))
        printed.clear()
        client.execute_interactive(MANY, output_hook=hear, timeout=120)
        many = json.loads("".join(printed))
    base = figures["nbchat"]
    text = TOKENS * 4
    print(f"{'':<28}{'messages':>9}{'bytes':>12}{'x the text':>12}{'CPU ms':>9}{'ratio':>8}")
    for name, row in figures.items():
        print(
            f"{name:<28}{row['messages']:>9}{row['bytes']:>12,}{row['bytes'] / text:>12.1f}"
            f"{row['cpu'] * 1000:>9.0f}{row['cpu'] / base['cpu']:>8.1f}"
        )
    print(
        f"\n20 answers at once, 50 tokens a second each: {many['rate']:.1f} messages a second of "
        f"{many['size']:,.0f} bytes; the main loop is late by {many['p50'] * 1000:.1f} ms (median), "
        f"{many['p95'] * 1000:.1f} ms (95 %), {many['max'] * 1000:.1f} ms (longest)"
        f"{'' if many['exact'] else '; TEXT WAS LOST'}"
    )


if __name__ == "__main__":
    main()
