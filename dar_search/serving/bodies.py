"""Limits on what a request carries: how many bytes, how deep its JSON nests, how many values it has.

A body is read when the app asks for it, and not before: a route that takes none, or refuses, costs no memory.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

from dar_search.errors import BodyTooLarge, DarError, RequestError
from dar_search.serving import problems, wsgi

# A string, or what JSON's structure consists of. A string that does not end goes on to the body's end. The quantifiers
# are possessive: others keep a way back for every character, a hundred times the body's memory.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|[\[\]{},]', re.DOTALL)
_QUOTE = b'"'[0]
# As wide as the web framework's own reading of it.
_JSON = re.compile(r"\s*application/(?:[^;]*\+)?(?:x-nd)?json\s*(?:;|$)", re.IGNORECASE)


class BodyLimit:
    """Refuses a body that is too large, before it is read where its length is known, and JSON that nests too deeply or
    has too many values.

    JSON is read as a whole, when the app reads of it first; other bodies reach the app as a stream that ends with
    BodyTooLarge.
    """

    def __init__(
        self, app: wsgi.Application, *, max_bytes: int, json_bytes: int, json_depth: int, json_values: int
    ) -> None:
        self._app, self._max_bytes, self._json_bytes = app, max_bytes, json_bytes
        self._json_depth, self._json_values = json_depth, json_values

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        try:
            self._limit(environ)
            return self._app(environ, start_response)
        except DarError as error:
            return problems.refuse(environ, start_response, error)

    def _limit(self, environ: wsgi.Environ) -> None:
        length = environ.get("CONTENT_LENGTH") or ""
        chunked = bool(environ.get("wsgi.input_terminated")) and not length
        if length and not length.isascii():
            raise RequestError("The request's Content-Length is no number.")
        is_json = _JSON.match(environ.get("CONTENT_TYPE", "")) is not None
        most = self._json_bytes if is_json else self._max_bytes
        if length.isdigit() and int(length[:20]) > most:
            raise self.too_large(most)
        if not length and not chunked:
            return
        if is_json:
            announced = int(length[:20]) if length.isdigit() else most + 1
            environ["wsgi.input"] = JsonBody(environ["wsgi.input"], announced, self)
        else:
            environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], most)

    def too_large(self, most: int) -> BodyTooLarge:
        """Where JSON has a limit of its own, which no setting raises, its hint is another."""
        return (
            too_large(most)
            if most == self._max_bytes
            else too_large(most, "Send less at once; of many pictures, make a job.")
        )

    def checked(self, body: bytes) -> bytes:
        """A JSON body that is within the limits. Raises BodyTooLarge, RequestError."""
        if len(body) > self._json_bytes:
            raise self.too_large(self._json_bytes)
        check_json(body, depth=self._json_depth, values=self._json_values)
        return body


class JsonBody(io.RawIOBase):
    """A JSON body, read and checked as a whole when it is asked for first.

    announced: how many bytes are read at the most.
    """

    def __init__(self, stream: Any, announced: int, limit: BodyLimit) -> None:
        self._stream, self._announced, self._limit = stream, announced, limit
        self._body: io.BytesIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._body is None:
            self._body = io.BytesIO(self._limit.checked(self._stream.read(self._announced)))
        return self._body.readinto(buffer)


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


def check_json(body: bytes, *, depth: int, values: int) -> int:
    """How many values a body has, about. It need not be valid JSON.

    Raises RequestError where arrays and objects nest deeper than `depth`: a parser that recurses would fail on it, or
    run out of stack. And where there are more than `values` values, of which each takes a parser some hundred bytes; an
    empty array or object counts twice.
    """
    level = items = strings = 0
    for token in _TOKEN.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            level += 1
            if level > depth:
                raise RequestError(f"The JSON nests deeper than {depth} levels.", "Send flatter JSON.")
        elif first in b"]}":
            level -= 1
        # A bracket and the commas behind it are as many as what is in it; of an item at most two parts are strings.
        items += first in b"[{,"
        strings += first == _QUOTE
        if items > values or strings > 2 * values:
            raise too_many(values)
    return items


def too_many(values: int) -> RequestError:
    """The error that names the limit."""
    return RequestError(f"The JSON has more than {values:,} values.", "Send less at once.")


def too_large(
    max_bytes: int, hint: str = "Send less at once, or raise the service's query.body_bytes (ingest.body_megabytes)."
) -> BodyTooLarge:
    """The error that names the limit."""
    return BodyTooLarge(f"The request's body is larger than {max_bytes:,} bytes.", hint)
