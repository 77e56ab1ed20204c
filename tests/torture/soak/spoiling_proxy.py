"""A proxy before a real cluster that is slow, silent, or answers what no cluster should, for as long as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import cycle

from tests.forwarding_proxy import ForwardingProxy, answer

SLOW_SECONDS = 1.5
#: JSON, and not of a shape that a cluster's answers have.
SHAPES = (b"[]", b'"text"', b"{}", b'{"hits": 3}', b'{"hits": {"hits": [{"_id": 7}]}}', b"null", b"[[1, 2], {}]", b"<")


class SpoilingProxy(ForwardingProxy):
    """Forwards to `address`; see `spoiling`."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._server.socket.listen(512)
        self._way, self._only = "fine", ""
        self._over = threading.Event()
        self._shapes = cycle(SHAPES)

    @contextmanager
    def spoiling(self, way: str, only: str = "") -> Iterator[None]:
        """While it lasts, each request whose path has `only` in it is treated so:

        "slow": forwarded after some time; "silent": taken and never answered; "shape": answered with other JSON,
        nothing forwarded; "chunks": answered in chunks that break off; "short": answered with less than was announced.
        """
        self._over.clear()
        self._way, self._only = way, only
        try:
            yield
        finally:
            self._way, self._only = "fine", ""
            self._over.set()

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        way = self._way if self._only in request.path else "fine"
        if way == "slow":
            self._over.wait(SLOW_SECONDS)
        elif way == "silent":
            self._over.wait()
            request.close_connection = True
            return
        elif way == "shape":
            answer(request, 200, next(self._shapes))
            return
        elif way in ("chunks", "short"):
            self._break_off(request, way)
            return
        super()._handle(request, body)

    @staticmethod
    def _break_off(request: BaseHTTPRequestHandler, way: str) -> None:
        request.send_response(200)
        request.send_header("content-type", "application/json")
        if way == "chunks":
            request.send_header("transfer-encoding", "chunked")
            request.end_headers()
            request.wfile.write(b'8\r\n{"took":\r\nzz\r\n')
        else:
            request.send_header("content-length", "4096")
            request.end_headers()
            request.wfile.write(b'{"took": 3, ')
        request.close_connection = True
