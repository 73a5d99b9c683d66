"""`serve` runs the demo server in a terminal, for `nbchat serve`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Collection

from nbchat.server import guard
from nbchat.server.demo import LOOPBACK, DemoServer
from nbchat.server.models import MODELS

DEFAULT_PORT = 8765


def serve(
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
    *,
    pace: float | None = None,
    allowed_hosts: Collection[str] = (),
) -> None:
    """Serve until Ctrl-C or a termination signal; prints the URL and usage.

    Parameters
    ----------
    host, port, pace, allowed_hosts
        As for `DemoServer`.

    Raises
    ------
    OSError
        If the port is in use, or the address does not belong to this machine.
    ValueError
        If the pace is not a number from 0 to 1000.
    """
    try:
        asyncio.run(_serve(DemoServer(pace=pace, allowed_hosts=allowed_hosts), host, port))
    except KeyboardInterrupt:  # if the loop does not support signal handlers
        _say("")


async def _serve(server: DemoServer, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except (NotImplementedError, RuntimeError):  # Windows; not on the main thread
            break
    base_url = await server.start(host, port)
    try:
        _say(_usage(base_url))
        if not guard.is_loopback(host):
            _say("Other machines can reach this server: anyone with access to the port can use it.\n")
        await stop.wait()
    finally:
        await server.close()
    _say("\nStopped.")


def _usage(base_url: str) -> str:
    width = max(map(len, MODELS))
    models = "\n".join([f"  {model.id:<{width}}  {model.description}" for model in MODELS.values()])
    return f"""\
nbchat demo server at {base_url}

Models (the first is used where none is named):
{models}

In a terminal or a notebook's environment (any key will do):
  export OPENAI_BASE_URL={base_url} OPENAI_API_KEY=demo

And, so that an answer whose kernel was killed can be resumed:
  export NBCHAT_API=responses

Try it:
  curl -N {base_url}/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{next(iter(MODELS))}", "stream": true,
         "messages": [{{"role": "user", "content": "What is nbchat?"}}]}}'

Ctrl-C stops it.
"""


def _say(text: str) -> None:
    # Flushed, since another process may read the address from a pipe.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
