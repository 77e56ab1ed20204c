"""A caller's connection: how long it may take, its requests as gunicorn reads them, their bodies as the app does.

All waiting for a caller ends. A request's head is collected by the worker's loop, which no caller can hold. A body and
an answer hold one of its threads: each may stand still for `patience` seconds in all, which 16 KiB that move put off by
one; where others wait for a thread, for a tenth of it.
"""

from __future__ import annotations

import io
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import Unreader

from dar_search.errors import DarError, RequestError, RequestTimeout
from dar_search.serving import problems, request_ids, wsgi

T = TypeVar("T")
#: Of a request's head, all lines together.
MOST_HEAD_BYTES = 64 << 10
_BYTES_A_SECOND = 16 << 10
_PIECE = 64 << 10
_LOOK_SECONDS = 0.5
_END_OF_HEAD = b"\r\n\r\n"
# What a body in chunks may have beside its bytes: more than chunks of a single byte have, and so much at once.
_FRAMING_A_BYTE, _MOST_FRAMING = 8, 64 << 10


class CallerSocket(socket.socket):
    """A socket on which nothing waits for ever. Raises TimeoutError where a caller is late."""

    _patience = 20.0
    _until = 0.0
    _crowded: Callable[[], bool] = staticmethod(lambda: False)

    def begin(self, patience: float, crowded: Callable[[], bool]) -> None:
        """From now on it blocks, and the time for the body runs.

        patience: seconds; a tenth of it while `crowded`: others wait for the thread.
        """
        self._patience, self._crowded = patience, crowded
        self._until = time.monotonic() + patience

    def received(self, size: int) -> bytes:
        """The next bytes of a body."""
        data = self._in_time(lambda: self.recv(size))
        self._moved(len(data))
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        view = memoryview(data)
        self._until = time.monotonic() + self._patience
        while view:
            sent = self._in_time(lambda: self.send(view[:_PIECE], flags))  # noqa: B023  # it is called here
            self._moved(sent)
            view = view[sent:]

    def _moved(self, size: int) -> None:
        """Bytes that moved earn time, but never more than there was at first."""
        self._until = min(self._until + size / _BYTES_A_SECOND, time.monotonic() + self._patience)

    def _in_time(self, step: Callable[[], T]) -> T:
        while True:
            left = self._until - time.monotonic() - (0.9 * self._patience if self._crowded() else 0.0)
            if left <= 0:
                raise TimeoutError
            self.settimeout(min(left, _LOOK_SECONDS))
            with suppress(TimeoutError):
                return step()


class Connection:
    """What the worker knows of a connection.

    Attributes:
        head: what has come of the next request's head, and after it.
        until: when the loop's waiting for it ends, by the monotonic clock.
        closing: everything is said; what still comes is thrown away.
        lane: whose threads answer it.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = CallerSocket(fileno=sock.detach())
        self.sock.setblocking(False)
        self.client, self.server = client, server
        self.head = bytearray()
        self.until = 0.0
        self.closing = False
        self.thrown_away = 0
        self.lane: Any = None
        self.parser = _Parser(cfg, self.sock, client)

    @property
    def idle(self) -> bool:
        """Nothing has come of a next request."""
        return not self.head and not self.closing

    @property
    def complete(self) -> bool:
        """The head of the next request is there."""
        return _END_OF_HEAD in self.head

    def asks_for(self, paths: frozenset[bytes]) -> bool:
        """Whether the request is a GET of one of these paths, whatever else is wrong with it."""
        method, _, rest = bytes(self.head[:256]).partition(b" ")
        return method in (b"GET", b"HEAD") and rest.partition(b" ")[0].partition(b"?")[0] in paths

    def next_request(self, patience: float) -> _Request:
        """In one of the worker's threads. Raises gunicorn's ParseException and OSError."""
        self.sock.begin(patience, lambda: self.lane.crowded)
        self.parser.unreader.unread(bytes(self.head))
        self.head.clear()
        request: _Request = next(self.parser)
        return request

    def goes_on(self) -> None:
        """The request is answered, and another may come; some of it may be here already."""
        self.sock.setblocking(False)
        self.head += self.parser.unreader.take_buffered()

    def say(self, error: DarError) -> None:
        """An answer to what the app never saw; as much of it as goes out at once."""
        try:
            self.sock.send(whole_answer(error))
        except OSError:
            return  # the caller went away, or takes nothing


def whole_answer(error: DarError) -> bytes:
    """A whole HTTP answer, after which the connection is closed."""
    request_id = request_ids.request_id_from("")
    body = wsgi.json_bytes(problems.problem(error, request_id))
    lines = [
        f"HTTP/1.1 {wsgi.status_line(error.status)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        f"{request_ids.HEADER}: {request_id}",
        *(f"{name}: {value}" for name, value in problems.problem_headers(error)),
    ]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


class RequestBody(io.RawIOBase):
    """A request's body, read as the app asks for it. Raises RequestError for one that does not read or is cut off,
    RequestTimeout for one that comes too slowly."""

    def __init__(self, body: Any, sock: CallerSocket, *, invites: bool) -> None:
        """invites: the caller waits to be asked for it (Expect: 100-continue)."""
        self._body, self._sock, self._invites = body, sock, invites
        self._left = None if isinstance(body.reader, ChunkedReader) else body.reader.length
        #: Whether all of it was read: then another request may follow it.
        self.whole = self._left == 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        if self.whole or size == 0:
            return b""
        try:
            if self._invites:
                self._invites = False
                self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            data: bytes = self._body.read(size)
        except TimeoutError:
            raise RequestTimeout(
                f"The request's body comes too slowly, below {_BYTES_A_SECOND >> 10} KiB a second.",
                "Send it over a faster line, or less at once, or raise service.patience_seconds.",
            ) from None
        except (ParseException, OSError):
            raise RequestError("The request's body does not read: it is cut off, or in wrong chunks.") from None
        wanted = size if size is not None and size >= 0 else len(data) + 1
        if self._left is None:
            self.whole = len(data) < wanted
            return data
        if len(data) < min(wanted, self._left):
            raise RequestError("The request's body is cut off.", "Send as much as its Content-Length says.")
        self._left -= len(data)
        self.whole = self._left == 0
        return data


class _Request(Request):  # type: ignore[misc]
    """gunicorn's, with such a body. Where some of it was not read, no other request follows on its connection."""

    body: Any
    _expected_100_continue: bool

    def set_body_reader(self) -> None:
        super().set_body_reader()
        if isinstance(self.body.reader, ChunkedReader):
            self.body.reader = _Chunks(self, self.unreader)
        # gunicorn would invite the body before the app has looked at the head.
        invites, self._expected_100_continue = self._expected_100_continue, False
        self.body = RequestBody(self.body, self.unreader.sock, invites=invites)

    def should_close(self) -> bool:
        return bool(super().should_close()) or not self.body.whole


class _Unreader(Unreader):  # type: ignore[misc]
    """Attributes: most: bytes that may still be received, where there is a limit."""

    most: float = math.inf

    def __init__(self, sock: CallerSocket) -> None:
        super().__init__()
        self.sock = sock

    def chunk(self) -> bytes:
        data = self.sock.received(8192)
        self.most -= len(data)
        if self.most < 0:
            raise ParseException
        return data


class _Chunks(ChunkedReader):  # type: ignore[misc]
    """gunicorn's, which reads extensions of chunks and trailers without an end, all at each step anew. Here the bytes
    that they consist of are limited by those of the body."""

    def __init__(self, request: Request, unreader: _Unreader) -> None:
        super().__init__(request, unreader)
        self._unreader = unreader
        unreader.most = _MOST_FRAMING

    def read(self, size: int) -> bytes:
        data: bytes = super().read(size)
        earned = self._unreader.most + (1 + _FRAMING_A_BYTE) * len(data)
        self._unreader.most = min(earned, _MOST_FRAMING) if self.parser else math.inf
        return data


class _Parser(RequestParser):  # type: ignore[misc]
    mesg_class = _Request

    def __init__(self, cfg: Any, sock: CallerSocket, client: Any) -> None:
        super().__init__(cfg, sock, client)
        self.unreader = _Unreader(sock)
