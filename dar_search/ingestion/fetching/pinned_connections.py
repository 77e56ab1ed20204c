"""HTTP connections to an address that was checked, with a budget for every single read (see `watched_sockets`)."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from dar_search.ingestion.fetching.watched_sockets import Budget, WatchedTlsSocket, watched
from dar_search.ingestion.fetching.web_addresses import WebAddress

_IDLE_CONNECTIONS = 64
_IDLE_SECONDS = 30.0


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return watched(super()._new_conn())


class _Tls(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return watched(super()._new_conn())


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Verifies names and certificates: the system's authorities, and those in a PEM file. Raises OSError, SSLError."""
    if ca_file is None:
        return _system_context()
    context = _new_context()
    context.load_verify_locations(ca_file)
    return context


@functools.cache
def _system_context() -> ssl.SSLContext:
    return _new_context()


def _new_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = WatchedTlsSocket
    return context


Connection = HTTPConnection | HTTPSConnection


@dataclass(slots=True)
class _Idle:
    connection: Connection
    since: float = field(default_factory=time.monotonic)


class Connections:
    """Makes connections and keeps those that can be used again. Safe to use from several threads.

    One that is used again leads to the same host, port and network address, so that no host answers for another.
    """

    def __init__(self, context: ssl.SSLContext, connect_seconds: float) -> None:
        self._context = context
        self._connect_seconds = connect_seconds
        self._idle: OrderedDict[tuple[str, str], list[_Idle]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def take(self, address: WebAddress, network_address: str, budget: Budget) -> tuple[Connection, bool]:
        """A connection, and whether it was used before: then the server may have closed it.

        Raises:
            OSError, HTTPError of urllib3: it cannot be connected; OverBudget.
        """
        while (idle := self._pop((address.origin, network_address))) is not None:
            if idle.connection.is_connected and time.monotonic() - idle.since < _IDLE_SECONDS:
                self._watch(idle.connection, budget)
                return idle.connection, True
            idle.connection.close()
        return self.new(address, network_address, budget), False

    def new(self, address: WebAddress, network_address: str, budget: Budget) -> Connection:
        """A new connection, connected. Raises as `take`."""
        seconds = min(self._connect_seconds, budget.seconds_left())
        connection: Connection
        if address.scheme == "https":
            connection = _Tls(
                network_address,
                address.port,
                timeout=seconds,
                ssl_context=self._context,
                server_hostname=address.host,
            )
        else:
            connection = _Plain(network_address, address.port, timeout=seconds)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        self._watch(connection, budget)
        return connection

    def give_back(self, address: WebAddress, network_address: str, connection: Connection) -> None:
        """A connection whose answer was read to its end."""
        if not connection.is_connected:
            return connection.close()
        dropped = None
        with self._lock:
            self._idle.setdefault((address.origin, network_address), []).append(_Idle(connection))
            self._count += 1
            if self._count > _IDLE_CONNECTIONS:
                oldest = next(iter(self._idle))
                dropped = self._idle[oldest].pop(0)
                self._forget_if_empty(oldest)
        if dropped is not None:
            dropped.connection.close()
        return None

    def close(self) -> None:
        with self._lock:
            idle = [one for group in self._idle.values() for one in group]
            self._idle.clear()
            self._count = 0
        for one in idle:
            one.connection.close()

    def _pop(self, key: tuple[str, str]) -> _Idle | None:
        with self._lock:
            group = self._idle.get(key)
            if not group:
                return None
            found = group.pop()
            self._forget_if_empty(key)
            return found

    def _forget_if_empty(self, key: tuple[str, str]) -> None:
        self._count -= 1
        if not self._idle[key]:
            del self._idle[key]

    def _watch(self, connection: Connection, budget: Budget) -> None:
        sock: Any = connection.sock
        sock.budget = budget
