"""Cost of tool calls in a real kernel with its journal, with the limits that the results have to keep.

The overhead of a call is the time from the finish reason of one round to the request of the next one. The
calls of `python` are made while the kernel is idle, as after a question in the page.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.manager import run_kernel

SESSIONS = 20
SECONDS = 5

SETUP = """
import asyncio, json, threading, time
import nbchat
from nbchat.providers.base import Finish, TextDelta, ToolCallDelta

kernel = get_ipython().kernel
count = {"messages": 0}
send_raw = kernel.session.send
def send(stream, kind, *args, **kwargs):
    name = kind if isinstance(kind, str) else kind["header"]["msg_type"]
    count["messages"] += name in ("comm_msg", "comm_open")
    return send_raw(stream, kind, *args, **kwargs)
kernel.session.send = send

class Calling:
    name, can_prefill, can_resume = "calling", True, False
    def __init__(self, tool, arguments="{}", rounds=1, pace_s=0.0):
        self.tool, self.arguments, self.rounds, self.pace_s = tool, arguments, rounds, pace_s
        self.took = []
    async def stream(self, request):
        results = sum(part.type == "tool_result" for part in request.messages[-1].parts)
        if results:
            self.took.append(time.perf_counter() - self.finished)
        if results >= self.rounds:
            yield Finish("stop")
            return
        for word in ("Let ", "me ", "see. "):
            await asyncio.sleep(self.pace_s)
            yield TextDelta(word)
        yield ToolCallDelta(0, f"c{results}", self.tool, self.arguments)
        self.finished = time.perf_counter()
        yield Finish("tool_calls")
    async def models(self):
        return ["calling"]
    async def aclose(self):
        pass

started, released = threading.Event(), threading.Event()

@nbchat.tool(ask=False)
def plain() -> str:
    "Return at once."
    return "done"

@nbchat.tool(ask=False)
def blocks() -> None:
    "Block."
    started.set()
    released.wait(60)

tools = [plain, blocks, nbchat.tools.python]
chat = nbchat.ChatTabs(tools=tools)

def calls(times, *what):
    provider = Calling(*what)
    session = nbchat.session(new_name(), provider=provider, tools=tools)
    session.approve = lambda call: True
    for _ in range(times):
        session.send("?").wait(60)
    return provider.took

def stops(times, *what):
    session = nbchat.session(new_name(), provider=Calling(*what), tools=tools)
    session.approve = lambda call: True
    took = []
    for _ in range(times):
        started.clear()
        run = session.send("?")
        started.wait(60)
        before = time.perf_counter()
        run.stop()
        run.wait(60)
        took.append(time.perf_counter() - before)
        released.set()
        released.clear()
    return took

names = iter(range(1000))
def new_name():
    return f"bench {next(names)}"

def in_idle_kernel(path):
    endless = json.dumps({"code": "started.set()\\nwhile True: time.sleep(0.01)"})
    code = json.dumps({"code": "1 + 1"})
    calls(3, "plain"), calls(3, "python", code)
    out = {"plain": calls(100, "plain"), "python": calls(50, "python", code),
           "stop": stops(20, "blocks"), "stop python": stops(20, "python", endless)}
    providers = [Calling("plain", "{}", 10_000, 0.01) for _ in range(SESSIONS)]
    sessions = [nbchat.session(new_name(), provider=one, tools=tools) for one in providers]
    nbchat.registry.limits.tool_rounds = 10_000
    nbchat.registry.limits.live_runs = SESSIONS
    runs = [session.send("?") for session in sessions]
    time.sleep(1)
    before, rounds, start = count["messages"], sum(len(one.took) for one in providers), time.monotonic()
    time.sleep(SECONDS)
    took = time.monotonic() - start
    out["rate"] = (count["messages"] - before) / took
    out["rounds"] = (sum(len(one.took) for one in providers) - rounds) / took
    out["live"] = sum(not run.is_over for run in runs)
    nbchat.stop_all()
    with open(path + ".part", "w") as file:
        json.dump(out, file)
    import os
    os.replace(path + ".part", path)

threading.Thread(target=in_idle_kernel, args=(PATH,), daemon=True).start()
"""


def percentiles(took: list[float]) -> str:
    """Return the median and the 95th percentile, in milliseconds."""
    ordered = sorted(took)
    p50, p95 = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
    return f"p50 {p50 * 1000:6.1f} ms   p95 {p95 * 1000:6.1f} ms"


def main() -> None:
    """Print all results, with the limits that they have to keep."""
    with run_kernel() as client, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        code = SETUP.replace("SESSIONS", str(SESSIONS)).replace("SECONDS", str(SECONDS))

        def hear(message: dict[str, dict[str, list[str]]]) -> None:
            if message["header"]["msg_type"] == "error":  # type: ignore[comparison-overlap]
                sys.exit("\n".join(message["content"]["traceback"]))

        client.execute_interactive(code.replace("PATH", repr(str(path))), output_hook=hear, timeout=120)
        until = time.monotonic() + 120
        while not path.exists():  # a cell that waits would make the kernel busy
            if time.monotonic() > until:
                sys.exit("the kernel gave no figures within 120 s")
            time.sleep(0.1)
        figures = json.loads(path.read_text())
    print(f"overhead of a plain tool's call   {percentiles(figures['plain'])}   (p50 at most 5 ms)")
    print(f"`python` in an idle kernel        {percentiles(figures['python'])}   (p50 at most 50 ms)")
    print(f"Stop while a function runs        {percentiles(figures['stop'])}   (at most 500 ms)")
    print(f"Stop while `python` runs          {percentiles(figures['stop python'])}   (at most 500 ms)")
    print(
        f"{figures['live']} of {SESSIONS} sessions in a tool loop: {figures['rounds']:.0f} rounds a second, "
        f"{figures['rate']:.1f} messages a second (at most 30)"
    )


if __name__ == "__main__":
    main()
