"""gunicorn's thread worker, in which no caller can hold what another needs.

Its loop collects the heads of requests, and its threads get only whole ones: of hundreds of connections that say
nothing, or a byte now and then, none costs a thread. Health and metrics have threads of their own. Where more
connections are open than may be, the one that has been waited for longest is let go.
"""

from __future__ import annotations

import logging
import resource
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException, UnsupportedTransferCoding
from gunicorn.workers.gthread import ThreadWorker

from dar_search.errors import DarError, HeadTooLarge, OutOfResources, Overloaded, RequestError, RequestTimeout
from dar_search.serving.problems import as_dar_error
from dar_search.serving.process.connections import MOST_HEAD_BYTES, Connection
from dar_search.serving.process.spare import SpareDescriptor

_LOG = logging.getLogger(__name__)
_MOST_CONNECTIONS = 1000
_SWEEP_SECONDS = 0.5
_CLOSING_SECONDS = 2.0
_CLOSING_BYTES = 1 << 20
_SIDE_THREADS, _SIDE_MOST = 2, 32
_BUSY = Overloaded("The service has more to answer than it can.", "Wait as long as Retry-After says, then ask again.")
_NO_HEAD = RequestTimeout("The request's head comes too slowly.", "Send it at once, or raise service.patience_seconds.")
_NO_HTTP = RequestError(
    "The request is no HTTP that the service reads.", "Send HTTP/1.1: one Host, one length or chunks."
)
_LONG_HEAD = HeadTooLarge("The request's head is too large.", "Send fewer or shorter headers.")


@dataclass
class Lane:
    """Threads, and how many requests may be with them or wait for them."""

    name: str
    threads: int
    most: int
    under_way: int = 0

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.threads, f"dar-{self.name}")
        together = threading.Barrier(self.threads)
        try:
            for _ in range(self.threads):  # at once: one that could not be started later would cost its callers
                self.pool.submit(together.wait)
        except RuntimeError:  # no thread: those that wait for it would hold the process, and its port, for ever
            together.abort()
            self.pool.shutdown(wait=False)
            raise

    @property
    def crowded(self) -> bool:
        """Requests wait for a thread."""
        return self.under_way > self.threads


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. Its `app` has `patience` (seconds), `health` (paths), `admin` (an address or None), `ending`.

    On SIGTERM it calls `app.ending` and lets go of connections that are open but idle: gunicorn would wait for them as
    long as for running requests.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.worker_connections = most_connections()
        self._waiting: dict[Connection, None] = {}  # for by the loop, the longest first
        self._spare = SpareDescriptor()
        self._swept = 0.0

    def get_thread_pool(self) -> ThreadPoolExecutor:
        self._main = Lane("requests", self.cfg.threads, self.worker_connections // 2)
        self._health, self._admin = (Lane(name, _SIDE_THREADS, _SIDE_MOST) for name in ("health", "admin"))
        return self._main.pool

    # The loop

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if (short := OutOfResources.of(error)) is None:
                return  # its caller has gone already
            if self._waiting:  # what they hold may do for the caller who waits to be accepted
                self._make_room()
            else:
                self._spare.turn_away(listener, short)
            return
        self._spare.keep()
        self.nr_conns += 1
        conn = Connection(self.cfg, sock, client, listener.getsockname())
        self._wait(conn, self.app.patience)
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._readable(conn, conn.sock)  # as a rule the head is there

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(min(timeout, _SWEEP_SECONDS))

    def murder_keepalived(self) -> None:
        """Ends what was waited for long enough."""
        now = time.monotonic()
        if now < self._swept + _SWEEP_SECONDS:
            return
        self._swept = now
        for conn in [conn for conn in self._waiting if conn.until <= now]:
            self._stop_waiting(conn)
            if conn.head:
                self._refuse(conn, _NO_HEAD)
            else:
                self._end(conn)

    def finish_request(self, conn: Connection, future: Future[bool]) -> None:
        conn.lane.under_way -= 1
        if future.cancelled() or future.exception() is not None or not (future.result() and self.alive):
            self._close(conn)
            return
        conn.goes_on()
        self._wait(conn, self.cfg.keepalive)
        if conn.head:
            self._look(conn)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self.method_queue.defer(self.app.ending)
        self.method_queue.defer(self._let_idle_go)

    def _wait(self, conn: Connection, seconds: float) -> None:
        conn.until = time.monotonic() + seconds
        self._waiting[conn] = None
        self.poller.register(conn.sock, EVENT_READ, partial(self._readable, conn))

    def _stop_waiting(self, conn: Connection) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _readable(self, conn: Connection, sock: socket.socket) -> None:
        if conn not in self._waiting:
            return  # it was let go in this turn of the loop
        try:
            data = sock.recv(MOST_HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if conn.closing:
            conn.thrown_away += len(data)
        if not data or conn.thrown_away > _CLOSING_BYTES:
            self._stop_waiting(conn)
            self._end(conn)
        elif not conn.closing:
            if conn.idle:
                conn.until = time.monotonic() + self.app.patience
            conn.head += data
            self._look(conn)

    def _look(self, conn: Connection) -> None:
        """A request whose head is whole goes to the threads of its lane."""
        if not conn.complete and len(conn.head) <= MOST_HEAD_BYTES:
            return
        self._stop_waiting(conn)
        conn.lane = self._lane(conn)
        if not conn.complete:
            self._refuse(conn, _LONG_HEAD)
        elif conn.lane.under_way >= conn.lane.most:
            self._refuse(conn, _BUSY)
        else:
            conn.lane.under_way += 1
            future = conn.lane.pool.submit(self.handle, conn)
            future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _lane(self, conn: Connection) -> Lane:
        if conn.server[:2] == self.app.admin:
            return self._admin
        return self._health if conn.asks_for(self.app.health) else self._main

    def _refuse(self, conn: Connection, error: DarError) -> None:
        _LOG.info("A request was not read.", extra={"fields": {"code": error.code, "address": conn.client[0]}})
        conn.say(error)
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        """In order: what is still on its way to the caller is not lost with what came from it unread (RFC 9112, 9.6).
        gunicorn waits for that in its loop, where nobody else is answered meanwhile."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
        except OSError:
            self._end(conn)
            return
        conn.closing = True
        conn.head.clear()
        self._wait(conn, _CLOSING_SECONDS)

    def _end(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.sock.close()

    def _make_room(self) -> None:
        conn = next(iter(self._waiting))
        self._stop_waiting(conn)
        self._end(conn)

    def _let_idle_go(self) -> None:
        """Those too of whose next request a part has come: nobody works on it, and it may never be whole."""
        for conn in [conn for conn in self._waiting if not conn.closing]:
            self._stop_waiting(conn)
            self._end(conn)

    # The threads

    def handle(self, conn: Connection) -> bool:
        """Answers one request -> whether another may follow on its connection."""
        try:
            request = conn.next_request(self.app.patience)
            if conn.lane is self._health:
                request.force_close()
            return bool(self.handle_request(request, conn)) and not request.should_close()
        except StopIteration:
            return False  # an answer broke off, which is in the log
        except ParseException as error:
            self._refuse_in_thread(conn, error)
        except OSError as error:
            _LOG.debug("A connection broke off (%s).", type(error).__name__)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an answer
            conn.say(as_dar_error(error))
        return False

    def _refuse_in_thread(self, conn: Connection, error: ParseException) -> None:
        """What does not read is neither quoted to the caller nor in the log: there may be a key in it."""
        problem: DarError
        if isinstance(error, LimitRequestLine | LimitRequestHeaders):
            problem = _LONG_HEAD
        elif isinstance(error, UnsupportedTransferCoding):
            problem = RequestError("The request's Transfer-Encoding is not one that the service reads.", "Use chunked.")
        else:
            problem = _NO_HTTP
        fields = {"why": type(error).__name__, "address": conn.client[0]}
        _LOG.info("A request does not read.", extra={"fields": fields})
        conn.say(problem)


def most_connections() -> int:
    """Half of the files that the process may open: the rest is for stores, models and decoders."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(16, min(_MOST_CONNECTIONS, soft // 2))
