"""Answers as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dar_search.serving.wsgi import json_bytes

MEDIA_TYPE = "text/event-stream"
#: Of a stream: nothing between keeps it, or holds it back until it ends or there is enough of it to compress: nginx
#: goes by the second, what is made with Express, Caddy and others by "no-transform" (RFC 9111, 5.2.2.6).
HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}


def event(name: str, value: Mapping[str, Any]) -> bytes:
    """One event. JSON has no raw line break, so its data is one line."""
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"
