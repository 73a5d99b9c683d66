"""`CountingServer`: its answers count words, and stop in the middle until the test lets them continue."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

WORDS = 400


def answer_to(prompt: str, words: int = WORDS) -> str:
    """Return the whole answer to a prompt, which is different for each prompt."""
    return "".join(f"{prompt}-{number} " for number in range(words))


class CountingServer:
    """Chat Completions on loopback."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """The last message of each request, in order."""
        self.times: list[float] = []
        """The time of each request."""
        self.free: set[str] = set()
        """Prompts whose answers do not stop."""
        self.authorizations: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[str] = []
        self._changed = threading.Condition()
        self._is_open = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(json.dumps({"data": [{"id": "count"}]}).encode(), "application/json")

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                server.bodies.append(text)
                body = json.loads(text)
                prompt = str(body["messages"][-1]["content"])
                server.times.append(time.monotonic())
                server.asked.append(prompt)
                server.authorizations.append(self.headers.get("Authorization", ""))
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                words = answer_to(prompt).split(" ")[:-1]
                for number, word in enumerate(words):
                    if number == len(words) // 2:
                        with server._changed:
                            server._changed.wait_for(lambda: server._is_open or prompt in server.free)
                    self._event({"choices": [{"index": 0, "delta": {"content": f"{word} "}}]})
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                self._chunk(b"data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")

            def _event(self, event: dict[str, Any]) -> None:
                self._chunk(f"data: {json.dumps(event)}\n\n".encode())

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

            def _send(self, data: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.go()
        self._server.shutdown()
        self._server.server_close()

    def hold(self) -> None:
        """From now on, stop each answer in its middle."""
        self._is_open = False

    def go(self) -> None:
        """Let all answers continue to their end."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def release(self, prompt: str) -> None:
        """Let the answer to one prompt continue to its end."""
        with self._changed:
            self.free.add(prompt)
            self._changed.notify_all()
