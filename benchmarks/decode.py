"""Processor time of a streamed answer, compared for nbchat, the openai client and raw HTTP.

    python -m benchmarks.decode [--streams 100] [--chunks 10000] [--rounds 5]

A server in another process sends the same answer to all clients, one event per HTTP chunk as servers do.
The measure is the processor time (user and system) of the client process, which excludes the server and
other programs. The clients take turns within each round, and the median of the rounds is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import httpx2
import msgspec
import openai

from nbchat.core.messages import Message, TextPart
from nbchat.providers.base import Request, TextDelta
from nbchat.providers.openai import OpenAIProvider

Client = Callable[[str], Awaitable[int]]
"""Reads one answer from the server at a URL and returns the number of its characters."""

BURST = 50
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WORDS = ("The", " river", " Seine", " crosses", " Paris", ".", " It", " is", " 777", " km", " long", ".\n")


async def ours(provider: OpenAIProvider, _url: str) -> int:
    """Read with nbchat's provider."""
    message = Message(id="m", role="user", parts=(TextPart(text="rivers?"),))
    size = 0
    async for delta in provider.stream(Request(messages=(message,), model="bench")):
        if isinstance(delta, TextDelta):
            size += len(delta.text)
    return size


async def typed(client: openai.AsyncOpenAI, _url: str) -> int:
    """Read with the typed stream of the openai client."""
    size = 0
    async with await client.chat.completions.create(
        model="bench", messages=[{"role": "user", "content": "rivers?"}], stream=True
    ) as stream:
        async for chunk in stream:
            if chunk.choices:
                size += len(chunk.choices[0].delta.content or "")
    return size


async def raw(client: httpx2.AsyncClient, url: str) -> int:
    """Read with a split, JSON and two look-ups, without any checks: the lower bound."""
    size, rest = 0, b""
    body = {"model": "bench", "messages": [{"role": "user", "content": "rivers?"}], "stream": True}
    async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        async for data in response.aiter_raw():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                payload = event[6:]
                if payload == b"[DONE]":
                    break
                choices = msgspec.json.decode(payload)["choices"]
                if choices:
                    size += len(choices[0]["delta"].get("content") or "")
    return size


def processor_s() -> float:
    """Return the processor time of this process in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(url: str, streams: int, chunks: int, rounds: int) -> Mapping[str, float]:
    """Return thousands of chunks per second of processor time, by client."""
    provider = OpenAIProvider(url, "none")
    async with (
        openai.AsyncOpenAI(base_url=url, api_key="none") as sdk,
        httpx2.AsyncClient(timeout=None) as plain,
    ):
        clients: dict[str, Client] = {
            "nbchat": lambda u: ours(provider, u),
            "openai, typed stream": lambda u: typed(sdk, u),
            "httpx2 + msgspec": lambda u: raw(plain, u),
        }
        rates: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(rounds + 1):
            sizes = set()
            for name, client in clients.items():
                before = processor_s()
                sizes |= set(await asyncio.gather(*(client(url) for _ in range(streams))))
                used = processor_s() - before
                if number:  # the first round warms up
                    rates[name].append(chunks * streams / used / 1000)
            if len(sizes) != 1:
                raise SystemExit(f"the clients disagree about the answer: {sizes}")
        await provider.aclose()
    return {name: statistics.median(values) for name, values in rates.items()}


async def serve(chunks: int) -> None:
    """Print the port, then serve answers of `chunks` chunks until standard input ends."""
    first = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench"}

    def event(delta: Mapping[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return b"data: " + msgspec.json.encode({**first, "choices": [choice]}) + b"\n\n"

    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": WORDS[number % len(WORDS)]}) for number in range(chunks - 2)]
    events += [event({}, "stop"), b"data: [DONE]\n\n"]
    framed = [b"%x\r\n%s\r\n" % (len(data), data) for data in events]
    bursts = [b"".join(framed[start : start + BURST]) for start in range(0, len(framed), BURST)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                lengths = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0]))
                writer.write(HEAD)
                for burst in bursts:
                    writer.write(burst)
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def server_process(chunks: int) -> AsyncIterator[str]:
    """Run the server in a separate process and yield its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.decode", "--serve", "--chunks", str(chunks)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process with pipes has pipes")
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1"
    finally:
        process.stdin.close()
        await process.wait()


async def compare(streams: int, chunks: int, rounds: int) -> Mapping[str, float]:
    """Start the server, measure, stop it."""
    async with server_process(chunks) as url:
        return await measure(url, streams, chunks, rounds)


def table(rates: Mapping[str, float], streams: int) -> str:
    """Return the figures as a table of text."""
    base = rates["httpx2 + msgspec"]
    what = "1 stream" if streams == 1 else f"{streams} streams at once"
    lines = [f"{f'decoding, {what}':<28}{'k chunks per CPU s':>20}{'of raw':>9}"]
    lines += [f"{name:<28}{rate:>20.1f}{rate / base:>9.2f}" for name, rate in rates.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decode", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--streams", type=int, default=1, help="answers read at the same time")
    parser.add_argument("--chunks", type=int, default=10_000, help="of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(serve(options.chunks))
    else:
        rates = asyncio.run(compare(options.streams, options.chunks, options.rounds))
        print(table(rates, options.streams))


if __name__ == "__main__":
    main()
