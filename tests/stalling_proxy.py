"""A proxy before a real cluster that stops to answer on demand, in the ways that hold up whoever waits for it."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler

from tests.forwarding_proxy import ForwardingProxy, answer

WAYS = ("silent", "drips", "drips its head", "endless", "unpacks to much")
_PAUSE = 0.02


class StallingProxy(ForwardingProxy):
    """Forwards to `address` while `way` is "fine".

    Ways: "silent": no answer comes; "drips": the head of an answer, then a byte now and then; "drips its head";
    "endless": an answer without an end; "unpacks to much": a small one that is none when it is unpacked. "old are
    silent": connections that were there when that was set give no answer, new ones are served.

    Attributes:
        stalled: how many requests were held up.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._way = "fine"
        self._released = threading.Event()
        self._old: set[int] = set()
        self._seen: set[int] = set()
        self.stalled = 0

    def go(self, way: str) -> None:
        """From now on."""
        with self._lock:
            self._way, self._old = way, set(self._seen)

    def close(self) -> None:
        """Lets all go that is held up."""
        self._released.set()

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            port = request.client_address[1]
            self._seen.add(port)
            way = self._way
            if way == "old are silent":
                way = "silent" if port in self._old else "fine"
            self.stalled += way != "fine"
        if way == "fine":
            answer(request, *self._forwarded(request, body))
            return
        request.close_connection = True
        try:
            self._stall(request, way)
        except ConnectionError:
            return  # the other side has given up

    def _stall(self, request: BaseHTTPRequestHandler, way: str) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        out = request.wfile
        if way == "silent":
            self._released.wait(120)
        elif way == "drips its head":
            out.write(head)
            while not self._released.wait(_PAUSE):
                out.write(b"x-more: x\r\n")
        elif way == "drips":
            out.write(head + b"content-length: 1000000\r\n\r\n")
            while not self._released.wait(_PAUSE):
                out.write(b" ")
        elif way == "endless":
            out.write(head + b"connection: close\r\n\r\n")
            while not self._released.is_set():
                out.write(b" " * 65_536)
        else:
            packed = gzip.compress(b" " * (8 << 20))
            out.write(head + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed)
