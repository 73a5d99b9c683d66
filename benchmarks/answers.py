"""Time to the first token of the first and the second answer in a kernel.

Each row is measured in new processes with the modules that a kernel loads, against the embedded server.
Figures are the median time from `send` to the first piece of text.
"""

import json
import subprocess
import sys
from statistics import median

ROUNDS = 5

SCRIPT = """
import json, threading, time
import ipykernel.ipkernel, ipywidgets, nbchat
nbchat.ChatTabs

session = nbchat.session("bench", model="nbchat-echo")
if {warm}:
    for thread in threading.enumerate():
        if thread.name == "nbchat-warm-up":
            thread.join()

def first_token_s():
    start = time.perf_counter()
    run = session.send("Hello")
    next(iter(run))
    seconds = time.perf_counter() - start
    run.wait()
    return seconds

print(json.dumps([first_token_s(), first_token_s()]))
"""


def measure(*, warm: bool) -> list[float]:
    """Return the seconds to the first token of two answers, in a new process."""
    script = SCRIPT.format(warm=warm)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds: list[float] = json.loads(done.stdout)
    return seconds


def main() -> None:
    """Print a row for each case."""
    for name, warm in (("asked at once", False), ("client loaded in the background", True)):
        first, second = map(median, zip(*(measure(warm=warm) for _ in range(ROUNDS)), strict=True))
        print(f"{name:<32} first {first * 1000:7.1f} ms   second {second * 1000:7.1f} ms")


if __name__ == "__main__":
    main()
