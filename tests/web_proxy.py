"""A forwarding HTTP proxy on loopback, as a company has one: whole addresses and CONNECT, with a login if asked for."""

from __future__ import annotations

import base64
import http.client
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.http_serving import serving


class WebProxy(ThreadingHTTPServer):
    """names: what only the proxy can resolve, "host:port" -> (host, port). asked: "host:port" of each request."""

    daemon_threads = True

    def __init__(self, names: Mapping[str, tuple[str, int]], login: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.names, self.asked, self.refused = names, list[str](), 0
        self.expected = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def web_proxy(names: Mapping[str, tuple[str, int]], login: str = "") -> Iterator[WebProxy]:
    server = WebProxy(names, login)
    with serving(server):
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: WebProxy
    protocol_version = "HTTP/1.1"

    def _upstream(self, name: str) -> tuple[str, int] | None:
        if self.server.expected not in (None, self.headers.get("Proxy-Authorization")):
            self.server.refused += 1
            self.send_response(407)
            self.send_header("Proxy-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.server.asked.append(name)
        return self.server.names[name]

    def do_CONNECT(self) -> None:
        address = self._upstream(self.path)
        if address is None:
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with socket.create_connection(address, 60) as upstream:
            ends = {self.connection: upstream, upstream: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        assert parts.hostname, "a proxy is told the whole address"
        address = self._upstream(parts.netloc)
        if address is None:
            return
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            connection.connect()
        except OSError:
            self.send_error(502)
            return
        own = ("proxy-authorization", "proxy-connection", "connection")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
        connection.request(self.command, parts._replace(scheme="", netloc="").geturl(), body or None, headers)
        response = connection.getresponse()
        content = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _forward

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests ask for what they want to know."""


def unused() -> tuple[str, int]:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[:2]
