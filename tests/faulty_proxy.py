"""A proxy before a real cluster that goes wrong on demand, in the ways that networks and busy servers do."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

BUSY = (429, {"error": {"type": "rejected_execution_exception", "reason": "queue is full"}, "status": 429})
AWAY = (503, {"error": {"type": "no_shard_available", "reason": "the primary is away"}, "status": 503})


class FaultyProxy:
    """Forwards to `address`. Each bulk request takes one of `faults`, in order, until there is none left:

    "busy": 429, nothing forwarded; "away": 503, nothing forwarded; "half": every other item is forwarded and the rest
    rejected with 429; "third": three of ten are; "lost": forwarded, and the connection is closed without an answer;
    "fine": forwarded.

    Attributes:
        bulks: the ids of each bulk request, in order of arrival; sizes: their bytes.
        most_at_once: bulk requests under way at the same time, at most.
    """

    def __init__(self, address: str, faults: Sequence[str] = (), *, always: str = "fine") -> None:
        parts = urlsplit(address)
        self._upstream = (str(parts.hostname), int(parts.port or 80))
        self._faults = deque(faults)
        self._always = always
        self._lock = threading.Lock()
        self._under_way = 0
        self.bulks: list[list[str]] = []
        self.sizes: list[int] = []
        self.most_at_once = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                proxy._handle(self, body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        if "/_bulk" not in request.path:
            _answer(request, *self._forwarded(request, body))
            return
        with self._lock:
            fault = self._faults.popleft() if self._faults else self._always
            self.bulks.append([action["_id"] for action, _ in _items(body)])
            self.sizes.append(len(body))
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            self._handle_bulk(request, body, fault)
        finally:
            with self._lock:
                self._under_way -= 1

    def _handle_bulk(self, request: BaseHTTPRequestHandler, body: bytes, fault: str) -> None:
        if fault in ("busy", "away"):
            status, answer = BUSY if fault == "busy" else AWAY
            _answer(request, status, json.dumps(answer).encode())
        elif fault == "lost":
            self._forwarded(request, body)
            request.close_connection = True
        elif fault in ("half", "third"):
            items = _items(body)
            passes = [
                number % 2 == 0 if fault == "half" else number % 10 not in (2, 5, 8) for number in range(len(items))
            ]
            taken = b"".join(lines for passed, (_, lines) in zip(passes, items, strict=True) if passed)
            status, raw = self._forwarded(request, taken)
            done = iter(json.loads(raw)["items"])
            rejected = {"index": {"status": 429, "error": BUSY[1]["error"]}}
            mixed = [next(done) if passed else rejected for passed in passes]
            _answer(request, status, json.dumps({"items": mixed}).encode())
        else:
            _answer(request, *self._forwarded(request, body))

    def _forwarded(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._upstream, timeout=60)
        try:
            connection.request(request.command, request.path, body or None, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _items(body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The items of a bulk body: what each does, and its lines."""
    items = []
    lines = iter(body.splitlines(keepends=True))
    for line in lines:
        ((kind, action),) = json.loads(line).items()
        items.append((action, line + (b"" if kind == "delete" else next(lines))))
    return items


def _answer(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
