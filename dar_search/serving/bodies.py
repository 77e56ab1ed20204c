"""Limits on what a request carries: how many bytes, and how deep its JSON nests."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

from dar_search.errors import BodyTooLarge, DarError, RequestError
from dar_search.serving import problems, wsgi

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)  # one that does not end goes on to the body's end
_BRACKET = re.compile(rb"[\[\]{}]")
_JSON = re.compile(r"application/(?:[\w.-]+\+)?(?:x-nd)?json\b", re.IGNORECASE)


class BodyLimit:
    """Refuses a body that is too large, before it is read where its length is known, and JSON that nests too deeply.

    JSON is read here as a whole; other bodies reach the app as a stream that ends with BodyTooLarge.
    """

    def __init__(self, app: wsgi.Application, *, max_bytes: int, json_depth: int) -> None:
        self._app, self._max_bytes, self._json_depth = app, max_bytes, json_depth

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        try:
            self._limit(environ)
        except DarError as error:
            return problems.refuse(environ, start_response, error)
        return self._app(environ, start_response)

    def _limit(self, environ: wsgi.Environ) -> None:
        length = environ.get("CONTENT_LENGTH") or ""
        chunked = bool(environ.get("wsgi.input_terminated")) and not length
        if length and not length.isascii():
            raise RequestError("The request's Content-Length is no number.")
        if length.isdigit() and int(length[:20]) > self._max_bytes:
            raise too_large(self._max_bytes)
        if not length and not chunked:
            return
        if _JSON.match(environ.get("CONTENT_TYPE", "")):
            body = environ["wsgi.input"].read(int(length[:20]) if length.isdigit() else self._max_bytes + 1)
            if len(body) > self._max_bytes:
                raise too_large(self._max_bytes)
            check_depth(body, self._json_depth)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        else:
            environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], self._max_bytes)


class LimitedStream(io.RawIOBase):
    """A request's body that raises BodyTooLarge once more was read than is allowed."""

    def __init__(self, stream: Any, max_bytes: int) -> None:
        self._stream, self._left, self._max_bytes = stream, max_bytes, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self._max_bytes)
        buffer[: len(data)] = data
        return len(data)


def check_depth(body: bytes, most: int) -> None:
    """Raises RequestError where arrays and objects nest deeper than `most`: a parser that recurses would fail on it,
    or run out of stack. The body need not be valid JSON."""
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        if bracket[0] in b"[{":
            depth += 1
            if depth > most:
                raise RequestError(f"The JSON nests deeper than {most} levels.", "Send flatter JSON.")
        else:
            depth -= 1


def too_large(max_bytes: int) -> BodyTooLarge:
    """The error that names the limit."""
    hint = "Send less at once, or raise the service's query.body_bytes (ingest.body_megabytes)."
    return BodyTooLarge(f"The request's body is larger than {max_bytes:,} bytes.", hint)
