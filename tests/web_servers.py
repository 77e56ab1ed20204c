"""Web servers on loopback that answer with whatever bytes a test wants, also such as no web server would send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Answer = bytes | Callable[[socket.socket], None]


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; `Retry_After="1"` is the header Retry-After. Its Content-Length is right unless given."""
    fields = {"Content_Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Site:
    """A running server.

    Attributes:
        answers: path -> its answers, the last one again and again: bytes, or what is done with the connection.
        requests: (path, headers by lower-case name) of each request.
        connections: how many were made.
        left: set when a client has gone in the middle of an answer.
    """

    host: str
    port: int
    tls: bool = False
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: int = 0
    left: threading.Event = field(default_factory=threading.Event)
    inside: int = 0
    most_inside: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def next_answer(self, path: str) -> Answer:
        with self.lock:
            listed = self.answers.get(path) or [answer(b"", "404 Not Found")]
            return listed.pop(0) if len(listed) > 1 else listed[0]


@contextlib.contextmanager
def site(host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server on an address of this machine, until the end of the block."""
    with socket.create_server((host, port), backlog=64) as listening:
        running = Site(host, listening.getsockname()[1], tls is not None)
        open_sockets: set[socket.socket] = set()
        threads = [threading.Thread(target=_accept, args=(listening, running, tls, open_sockets), daemon=True)]
        threads[0].start()
        try:
            yield running
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            threads[0].join()
            with running.lock:
                for connection in open_sockets:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


def _accept(
    listening: socket.socket, running: Site, tls: ssl.SSLContext | None, open_sockets: set[socket.socket]
) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            running.connections += 1
            threading.Thread(target=_serve, args=(connection, running, tls, open_sockets), daemon=True).start()


def _serve(connection: socket.socket, running: Site, tls: ssl.SSLContext | None, known: set[socket.socket]) -> None:
    try:
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
        with running.lock:
            known.add(connection)
        with connection, connection.makefile("rb") as lines:
            while (request := lines.readline()) and (path := request.decode("latin-1").split(" ")[1]):
                headers = {}
                while (line := lines.readline().decode("latin-1").strip()) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                with running.lock:
                    running.requests.append((path, headers))
                    running.inside += 1
                    running.most_inside = max(running.most_inside, running.inside)
                given = running.next_answer(path)
                try:
                    connection.sendall(given) if isinstance(given, bytes) else given(connection)
                finally:
                    with running.lock:
                        running.inside -= 1
                if not isinstance(given, bytes) or b"Connection: close" in given:
                    return
    except OSError:
        running.left.set()
    finally:
        with running.lock:
            known.discard(connection)
