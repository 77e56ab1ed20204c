"""A chat completions server on loopback that answers as it is told to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.http_serving import serving

Answering = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as its server is told to; keeps what it was asked."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
        with suppress(OSError):  # The client has stopped waiting, which some of these tests are about.
            self.server.answering(self)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def complete(self, content: Any) -> None:
        self.answer(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests ask for what they want to know."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answering: Answering) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answering = answering
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def chat_server(answering: Answering) -> Iterator[Server]:
    server = Server(answering)
    with serving(server):
        try:
            yield server
        finally:
            server.ending.set()
