"""A server for tests of batches: it limits rates, fails now and then, and records requests."""

import asyncio
import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self


def most_within(times: list[float], seconds: float) -> int:
    """Return the largest number of times in any window of this length."""
    return max(sum(start <= at < start + seconds for at in times) for start in times)


class LimitedServer:
    """A Chat Completions server that answers with the prompt in capitals.

    Parameters
    ----------
    per_s
        Requests accepted within any one second; more get 429. `None`: no limit.
    fail
        Every `fail`-th request fails: alternately with 503, and in the middle of the answer.
    takes_s
        Seconds between the first text of an answer and the rest.
    """

    def __init__(
        self,
        per_s: int | None = None,
        fail: int | None = None,
        status: int | None = None,
        takes_s: float = 0.005,
    ) -> None:
        self._per_s, self._fail, self._status, self._takes_s = per_s, fail, status, takes_s
        self.times: list[float] = []
        """Times of all requests that were accepted."""
        self.asked: Counter[str] = Counter()
        """Accepted prompts, including those that failed."""
        self.answered: Counter[str] = Counter()
        self.refused = 0
        """Requests above the limit."""
        self.most_at_once = 0
        self._now = self._held = 0
        self._requests = 0
        self._times: list[float] = []
        self._changed = threading.Condition()
        self._hold_after: int | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.base_url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        async def end() -> None:
            self._server.close()
            here = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not here]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def hold_after(self, prompts: int | None) -> None:
        """Complete that many answers, and hold later ones after their first text. `None`: no limit."""
        self._hold_after = prompts

    def wait_held(self, requests: int, timeout_s: float = 60.0) -> None:
        """Wait until that many answers are held."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held >= requests, timeout_s)

    def wait_idle(self, timeout_s: float = 60.0) -> None:
        """Wait until no request is being answered, as after the client was killed."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._now == 0, timeout_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET"):
                    _whole(writer, 200, {"object": "list", "data": [{"id": "limited", "object": "model"}]})
                    continue
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                body = json.loads(await reader.readexactly(length))
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                try:
                    await self._answer(body["messages"][-1]["content"], reader, writer)
                finally:
                    with self._changed:
                        self._now -= 1
                        self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _hold(self, reader: asyncio.StreamReader) -> None:
        """Wait until the client has disconnected."""
        with self._changed:
            self._held += 1
            self._changed.notify_all()
        await reader.read()
        with self._changed:
            self._held -= 1
        raise ConnectionError

    async def _answer(self, prompt: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        self._times = [at for at in self._times if at > now - 1.0]
        if self._per_s is not None and len(self._times) >= self._per_s:
            self.refused += 1
            return _whole(writer, 429, {"error": {"message": "slow down"}}, "retry-after: 1\r\n")
        self._times.append(now)
        self.times.append(now)
        self._requests += 1
        self.asked[prompt] += 1
        if self._status is not None:
            return _whole(writer, self._status, {"error": {"message": "no"}})
        failure = self._requests // self._fail if self._fail and self._requests % self._fail == 0 else 0
        if failure % 2 == 1:
            return _whole(writer, 503, {"error": {"message": "overloaded"}})
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        text = prompt.upper()
        _chunk(writer, {"choices": [{"index": 0, "delta": {"content": text[:4]}}]})
        await writer.drain()
        await asyncio.sleep(self._takes_s)
        if self._hold_after is not None and sum(self.answered.values()) >= self._hold_after:
            await self._hold(reader)
        if failure:
            raise ConnectionError  # the connection breaks in the middle of the answer
        _chunk(
            writer,
            {"choices": [{"index": 0, "delta": {"content": text[4:]}, "finish_reason": "stop"}]},
        )
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        _chunk(writer, {"choices": [], "usage": usage})
        _piece(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        with self._changed:
            self.answered[prompt] += 1
            self._changed.notify_all()
        return None


def _whole(writer: asyncio.StreamWriter, status: int, body: Any, more: str = "") -> None:
    data = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)


def _chunk(writer: asyncio.StreamWriter, event: Any) -> None:
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "limited"}
    _piece(writer, f"data: {json.dumps(common | event)}\n\n".encode())


def _piece(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
