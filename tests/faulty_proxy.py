"""A proxy before a real cluster that goes wrong on demand, in the ways that networks and busy servers do."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler

from tests.forwarding_proxy import ForwardingProxy, answer

BUSY = (429, {"error": {"type": "rejected_execution_exception", "reason": "queue is full"}, "status": 429})
AWAY = (503, {"error": {"type": "no_shard_available", "reason": "the primary is away"}, "status": 503})


class FaultyProxy(ForwardingProxy):
    """Forwards to `address`. Each bulk request takes one of `faults`, in order, until there is none left:

    "busy": 429, nothing forwarded; "away": 503, nothing forwarded; "half": every other item is forwarded and the rest
    rejected with 429; "third": three of ten are; "lost": forwarded, and the connection is closed without an answer;
    "fine": forwarded.

    Attributes:
        bulks: the ids of each bulk request, in order of arrival; sizes: their bytes.
        most_at_once: bulk requests under way at the same time, at most.
    """

    def __init__(self, address: str, faults: Sequence[str] = (), *, always: str = "fine") -> None:
        super().__init__(address)
        self._faults = deque(faults)
        self._always = always
        self._under_way = 0
        self.bulks: list[list[str]] = []
        self.sizes: list[int] = []
        self.most_at_once = 0

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        if "/_bulk" not in request.path:
            super()._handle(request, body)
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
            status, refusal = BUSY if fault == "busy" else AWAY
            answer(request, status, json.dumps(refusal).encode())
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
            answer(request, status, json.dumps({"items": mixed}).encode())
        else:
            answer(request, *self._forwarded(request, body))


def _items(body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The items of a bulk body: what each does, and its lines."""
    items = []
    lines = iter(body.splitlines(keepends=True))
    for line in lines:
        ((kind, action),) = json.loads(line).items()
        items.append((action, line + (b"" if kind == "delete" else next(lines))))
    return items
