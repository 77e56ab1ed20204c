"""opensearch-py's connection with limits that hold: of time for a whole request, and of bytes for its answer.

A time-out of a socket holds for one read: a server that sends a byte now and then is read for ever. Here each read asks
what is left of the request's own time, and of the time in which its answer is of use (`answering.time_limits`).
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

import urllib3
from opensearchpy import SerializationError, Urllib3HttpConnection
from opensearchpy.exceptions import HTTP_EXCEPTIONS, ConnectionError, ConnectionTimeout, TransportError

from dar_search.answering.time_limits import limited
from dar_search.ingestion.fetching.watched_sockets import Budget, watched
from dar_search.settings.proxies import pool_for, proxy_for

LARGEST_ANSWER = 256 << 20  # bytes: a thousand pictures of the most dimensions that an index can have, and more
_PART = 1 << 20
_budget: ContextVar[Budget | None] = ContextVar("dar_cluster_budget", default=None)  # of the request under way


class AnswerTooLarge(SerializationError):  # type: ignore[misc]
    """Of more bytes than LARGEST_ANSWER."""


class BoundedConnection(Urllib3HttpConnection):  # type: ignore[misc]  # opensearch-py is not typed for mypy here
    """Through a proxy where the host has one, and with a limit of its own for connecting: a host that is gone is known
    at once, and a slow answer is still waited for."""

    pool: Any

    def __init__(self, *args: Any, connect_timeout: float = 5, proxy: str | None = None, **kwargs: Any) -> None:
        # The last line makes the pool.
        self._connect_timeout, self._proxy = connect_timeout, proxy
        self._tls: ssl.SSLContext | None = kwargs.get("ssl_context") if kwargs.get("use_ssl") else None
        self._connections: int = kwargs.get("pool_maxsize", 16)
        super().__init__(*args, **kwargs)

    def _create_urllib3_pool(self) -> None:
        unverified = self._tls is not None and self._tls.verify_mode == ssl.CERT_NONE
        pool: Any
        if proxy_for(self.host, self._proxy) is None:
            pool = self._urllib3_pool_factory()
            pool.ConnectionCls = _Plain if self._tls is None else _Unverified if unverified else _Tls
            self.pool = _BoundedPool(pool)
        else:
            pool = pool_for(self.host, self._proxy, maxsize=self._connections, ssl_context=self._tls)
            pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _UnverifiedPool if unverified else _TlsPool}
            self.pool = _BoundedPool(pool, self.host)

    def _raise_error(self, status_code: int, raw_data: str, content_type: str | None = None) -> NoReturn:
        """As opensearch-py does, of JSON of any shape; what is no object with an error is said as it came."""
        try:
            info = json.loads(raw_data) if (content_type or "").startswith("application/json") else None
        except (ValueError, RecursionError):
            info = None
        said = info.get("error") if isinstance(info, dict) else None
        kind = said.get("type") if isinstance(said, dict) else said
        message = kind if isinstance(kind, str) else raw_data
        raise HTTP_EXCEPTIONS.get(status_code, TransportError)(status_code, message, info)

    def perform_request(self, *args: Any, timeout: Any = None, **kwargs: Any) -> Any:
        seconds = limited(timeout or self.timeout)
        if not seconds:
            raise ConnectionTimeout("TIMEOUT", "there is no time left to ask", None)
        budget = Budget(time.monotonic() + seconds, LARGEST_ANSWER, threading.Event())
        limits = urllib3.Timeout(connect=min(self._connect_timeout, seconds), read=seconds)
        token = _budget.set(budget)
        try:
            return super().perform_request(*args, timeout=limits, **kwargs)
        except ConnectionError as error:
            if budget.exceeded == "bytes":
                raise AnswerTooLarge(f"more than {LARGEST_ANSWER >> 20} MiB") from error
            if budget.exceeded != "time" and not isinstance(error, ConnectionTimeout):
                raise
            if seconds == (timeout or self.timeout):
                # Whatever made this one hang, other connections that are as old may hang too. One that had less time,
                # as its caller's ran out, says nothing of the others: it is closed itself.
                old = self.pool
                self._create_urllib3_pool()
                old.close()
            raise ConnectionTimeout("TIMEOUT", str(error.error), error) from error
        finally:
            _budget.reset(token)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What opensearch-py asks of a response."""

    status: int
    headers: Any
    data: bytes


class _BoundedPool:
    """What opensearch-py asks of a pool: an answer, read whole within the budget.

    origin: where the pool is a proxy's, which has to be told the host.
    """

    def __init__(self, pool: Any, origin: str = "") -> None:
        self._pool, self._origin = pool, origin

    def urlopen(self, method: str, url: str, body: bytes | None = None, **options: Any) -> _Answer:
        if self._origin:
            options["redirect"] = False
        response = self._pool.urlopen(method, f"{self._origin}{url}", body=body, preload_content=False, **options)
        try:
            data = bytearray()
            while part := response.read(_PART):
                data += part
                if len(data) > LARGEST_ANSWER and (budget := _budget.get()):  # unpacked, it may be more than came
                    budget.exceeded = "bytes"
                    raise urllib3.exceptions.HTTPError("the answer is too large")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return _Answer(response.status, response.headers, bytes(data))

    def close(self) -> None:
        if self._origin:
            self._pool.clear()
        else:
            self._pool.close()


class _Plain(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> Any:
        return watched(super()._new_conn(), _budget.get())

    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class _Tls(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> Any:
        return watched(super()._new_conn(), _budget.get())

    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class _Unverified(_Tls):
    """Said once, where the client is made: with each request urllib3 would warn the whole process, and to forbid it
    would be the host application's."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Tls


class _UnverifiedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Unverified


def _watch(sock: Any) -> None:
    if sock is not None:
        sock.budget = _budget.get()
