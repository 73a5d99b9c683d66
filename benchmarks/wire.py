"""What an answer costs on the wire and in the kernel, for each thousand tokens of four characters.

In one real kernel, one after the other: nbchat; a widget whose trait holds the whole text; a widget
that sends one message for each token. Tokens come at 200 a second. Bytes are those of the messages that
leave the kernel, envelopes included; the processor time is the kernel process's own.
"""

import json
import sys

from jupyter_client.manager import KernelManager

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


def main() -> None:
    """Print a table with the ratios to nbchat."""
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        printed: list[str] = []

        def hear(message: dict[str, dict[str, str]]) -> None:
            if message["header"]["msg_type"] == "stream":
                printed.append(message["content"]["text"])
            elif message["header"]["msg_type"] == "error":
                sys.exit("\n".join(message["content"]["traceback"]))

        code = SETUP.replace("TOKENS", str(TOKENS))
        client.execute_interactive(code, output_hook=hear, timeout=120)
        figures = json.loads("".join(printed))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    base = figures["nbchat"]
    text = TOKENS * 4
    print(f"{'':<28}{'messages':>9}{'bytes':>12}{'x the text':>12}{'CPU ms':>9}{'ratio':>8}")
    for name, row in figures.items():
        print(
            f"{name:<28}{row['messages']:>9}{row['bytes']:>12,}{row['bytes'] / text:>12.1f}"
            f"{row['cpu'] * 1000:>9.0f}{row['cpu'] / base['cpu']:>8.1f}"
        )


if __name__ == "__main__":
    main()
