"""`discover` finds OpenAI-compatible servers that run on this machine.

It sends `GET /v1/models` to a few ports of the loopback interface, and only when called. Any program that
responds with a list of models is regarded as an OpenAI-compatible server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from nbchat.providers.chat_models import chat_models

PORTS: Final[Mapping[int, str]] = {
    11434: "Ollama",
    8000: "vLLM",
    1234: "LM Studio",
    8080: "llama.cpp",
    4000: "LiteLLM",
    1337: "Jan",
    5000: "text-generation-webui",
    30000: "SGLang",
}
"""Default ports of servers, and the server known for each."""

ANSWER_S: Final = 1.0
"""Default time limit; a local server lists its models immediately."""

MAX_BYTES: Final = 1024 * 1024
_OWNERS: Final[Mapping[str, str]] = {
    "library": "Ollama",
    "vllm": "vLLM",
    "llamacpp": "llama.cpp",
    "organization_owner": "LM Studio",
    "sglang": "SGLang",
    "nbchat": "nbchat demo server",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A server that responded."""

    name: str
    """The probable server software."""
    base_url: str
    """Value for `OPENAI_BASE_URL`."""
    models: tuple[str, ...]
    """The listed chat models, in the order of the server."""

    def __str__(self) -> str:
        """Return a one-line description."""
        shown = ", ".join(self.models[:3]) or "no model"
        more = f" and {len(self.models) - 3} more" if self.models[3:] else ""
        return f"{self.name} at {self.base_url}: {shown}{more}"


async def discover(
    ports: Mapping[int, str] | Sequence[int] = PORTS, *, limit_s: float = ANSWER_S
) -> list[LocalServer]:
    """Return the OpenAI-compatible servers on loopback, in the order of `ports`.

    All ports are tried concurrently, for at most `limit_s`. No key is sent, no proxy is used, and no
    redirect is followed.
    """
    labels = ports if isinstance(ports, Mapping) else {port: PORTS.get(port, "") for port in ports}
    found = await asyncio.gather(*(_look(port, label, limit_s) for port, label in labels.items()))
    return [server for server in found if server is not None]


async def _look(port: int, label: str, limit_s: float) -> LocalServer | None:
    try:
        async with asyncio.timeout(limit_s):
            answer = await _get("127.0.0.1", port, "/v1/models")
    except (OSError, TimeoutError, EOFError, ValueError):
        return None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        return None
    models = chat_models(data)
    if data and not models:
        return None
    owners = (item.get("owned_by") for item in data)
    known = next((_OWNERS[o] for o in owners if isinstance(o, str) and o in _OWNERS), None)
    return LocalServer(
        name=known or label or "a server", base_url=f"http://127.0.0.1:{port}/v1", models=models
    )


async def _get(host: str, port: int, path: str) -> object:
    """Return the JSON response to a plain `GET`.

    HTTP/1.0 requires neither chunked encoding nor a client library: the body ends with the connection or
    after its declared length.

    Raises
    ------
    ValueError
        If the status is not 200, or the body is too long or not valid JSON.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=64 * 1024)
    try:
        writer.write(
            f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n".encode("ascii")
        )
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status, _, fields = head.partition(b"\r\n")
        if not status.startswith(b"HTTP/1.") or status.split(b" ")[1:2] != [b"200"]:
            raise ValueError("not a success")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in fields.split(b"\r\n"))
        }
        length = min(int(headers.get(b"content-length", MAX_BYTES)), MAX_BYTES)
        body = bytearray()
        while len(body) < length and (data := await reader.read(length - len(body))):
            body += data
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = _unchunked(bytes(body))
        return msgspec.json.decode(body)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _unchunked(body: bytes) -> bytearray:
    """Return the content of a chunked body, which some servers send although HTTP/1.0 has no chunks."""
    content = bytearray()
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length <= 0:
            return content
        content += body[:length]
        body = body[length + 2 :]
