"""`Script`: a kernel in a process of its own, which evaluates what a test writes to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping

SCRIPT = """
import nbchat, sys
session = nbchat.session("geo", model="count")
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


class Script:
    """A script that evaluates expressions with a session of the service."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def value(self, expression: str) -> str:
        """Return the printed value of an expression."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the process without a last word."""
        self.process.kill()
        self.process.communicate()
