"""Connections that cost a service something and want nothing of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_BUFFER = 4096


@contextmanager
def connected(port: int, number: int, *, small: bool = False) -> Iterator[list[socket.socket]]:
    """So many connections to a port of this machine; those that cannot be made are not there.

    small: little is kept of what comes and is not read.
    """
    with ExitStack() as stack:
        made = []
        for _ in range(number):
            one = stack.enter_context(socket.socket())
            if small:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            one.settimeout(5)
            with contextlib.suppress(OSError):
                one.connect(("127.0.0.1", port))
                made.append(one)
        yield made


def send(connections: list[socket.socket], data: bytes) -> None:
    """To all of them; those that were closed meanwhile are left out."""
    for one in list(connections):
        try:
            one.sendall(data)
        except OSError:
            connections.remove(one)


def request(path: str, *, accept: str = "*/*") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
