"""gunicorn's thread worker, with two manners more: it ends without waiting for idle callers, and it lives through a
moment in which the machine gives it nothing.

Where no file descriptor is left, gunicorn's own ends with the first caller that comes, and hangs up on others without a
word. This one keeps a descriptor, and tells who comes to come again.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

from dar_search.errors import OutOfResources

_LOG = logging.getLogger(__name__)
_NOBODY = (errno.EAGAIN, errno.ECONNABORTED)
_PARTING_SECONDS = 0.2
_NO_SPARE_SECONDS = 0.05


class GracefulWorker(ThreadWorker):  # type: ignore[misc]
    """See the module's docstring."""

    def init_process(self) -> None:
        self._spare: int | None = None
        self._short = False
        self._keep_spare()
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """With all its threads at once: one that could not be started later would end this process."""
        pool: ThreadPoolExecutor = super().get_thread_pool()
        together = threading.Barrier(self.cfg.threads)
        for _ in range(self.cfg.threads):
            pool.submit(together.wait)
        return pool

    def accept(self, listener: socket.socket) -> None:
        try:
            caller, address = listener.accept()
        except OSError as error:
            if (short := OutOfResources.of(error)) is not None:
                self._turn_away(listener, short)
            elif error.errno not in _NOBODY:
                raise
            return
        self._short = False
        self._keep_spare()
        self.nr_conns += 1
        caller.setblocking(True)
        self.enqueue_req(_Connection(self.cfg, caller, address, listener.getsockname()))

    def _turn_away(self, listener: socket.socket, short: OutOfResources) -> None:
        """A caller is told to come again, with the descriptor that is kept for it."""
        if not self._short:
            _LOG.warning("Callers are turned away: %s", short)
        self._short = True
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        try:
            caller, _ = listener.accept()
            with caller:
                caller.settimeout(_PARTING_SECONDS)
                caller.sendall(_turned_away(short))
                util.close_graceful(caller, _PARTING_SECONDS)
        except OSError as error:
            _LOG.debug("A caller could not even be turned away: %s", error)
            time.sleep(_NO_SPARE_SECONDS)  # another thread was faster: the caller still waits
        self._keep_spare()

    def _keep_spare(self) -> None:
        if self._spare is None:
            try:
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                _LOG.debug("No descriptor can be kept: %s", error)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """On SIGTERM it lets go of connections that are open but idle: gunicorn would wait for them as long as for
        running requests."""
        super().handle_exit(sig, frame)
        self.method_queue.defer(self._let_idle_go)

    def _let_idle_go(self) -> None:
        for waiting in (self.keepalived_conns, self.pending_conns):
            while waiting:
                connection = waiting.popleft()
                try:
                    self.poller.unregister(connection.sock)
                except (OSError, KeyError, ValueError):
                    _LOG.debug("A connection was closed by its caller just now.")
                self.nr_conns -= 1
                connection.close()


class _Connection(TConn):  # type: ignore[misc]
    data_ready: bool

    def wait_for_data(self, timeout: float) -> bool:
        """By poll, which takes no descriptor: gunicorn's way takes one, and without it closes the connection."""
        if not self.data_ready:
            waiting = select.poll()
            waiting.register(self.sock, select.POLLIN)
            self.data_ready = bool(waiting.poll(1000 * timeout))
        return self.data_ready


def _turned_away(short: OutOfResources) -> bytes:
    body = orjson.dumps(short.as_dict() | {"request_id": ""})
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
