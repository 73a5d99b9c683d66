"""A server over stdio without the library: `python raw.py LOG MODE`. It writes each message it gets to LOG.

Modes: `asks` (asks the client for things that are not offered), `silent` (never answers), `long` (sends a
line without end), `endless` (a list of tools without end), `many` (too many tools), `broken` (ends at once),
`stuck` (answers nothing from the first call on), `deaf` (answers nothing from the second list on, if
it is the first process with this LOG).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

LOG, MODE = Path(sys.argv[1]), sys.argv[2]
TOOL = {"name": "look", "description": "Look.", "inputSchema": {"type": "object"}}


def send(message: Any) -> None:
    """Send a message."""
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)  # noqa: T201 - the transport


def read() -> Any:
    """Return the next message, after it was logged."""
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    with LOG.open("a", encoding="utf-8") as file:
        file.write(line)
    return json.loads(line)


def result_of(message: Any) -> Any:
    """Return the answer to a request."""
    if message["method"] == "initialize":
        return {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "raw", "version": "1"},
        }
    if message["method"] == "tools/list":
        if MODE == "many":
            return {"tools": [{**TOOL, "name": f"look{number}"} for number in range(300)]}
        return {"tools": [TOOL], **({"nextCursor": "more"} if MODE == "endless" else {})}
    asked = ("sampling/createMessage", "elicitation/create", "roots/list") if MODE == "asks" else ()
    for method in asked:
        send({"id": method, "method": method, "params": {"messages": [], "maxTokens": 1, "message": "key?"}})
        read()
    return {"content": [{"type": "text", "text": "looked"}]}


if MODE == "broken":
    print("Traceback (most recent call last):", file=sys.stderr)  # noqa: T201
    print("ImportError: no module 'left-pad'; api_key=hunter2hunter2", file=sys.stderr)  # noqa: T201
    sys.exit(1)
if MODE == "silent":
    while True:
        time.sleep(1000)
if MODE == "long":
    while True:
        sys.stdout.write("x" * 1_000_000)
lists = 0
is_first = not LOG.exists()
while True:
    got = read()
    lists += got.get("method") == "tools/list"
    if (MODE == "stuck" and got.get("method") == "tools/call") or (MODE == "deaf" and is_first and lists > 1):
        while True:
            time.sleep(1000)
    if "id" not in got or "method" not in got:
        continue
    if got["method"] in ("initialize", "tools/list", "tools/call"):
        send({"id": got["id"], "result": result_of(got)})
    else:
        send({"id": got["id"], "error": {"code": -32601, "message": "no such method"}})
