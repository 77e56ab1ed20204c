"""Serving the demo's page on this machine, until interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dar_search.demo.picture_files import PICTURES
from dar_search.demo.report import PAGE
from dar_search.errors import RequestError

HOST = "127.0.0.1"
# The page and the pictures; the index and whatever else is in the folder stay private.
_SERVED = re.compile(rf"/|/{re.escape(PAGE)}|/{PICTURES}/\d+\.jpg")


class _Handler(SimpleHTTPRequestHandler):
    def send_head(self) -> Any:
        # A page of another site could make a browser ask here under a name of its own (DNS rebinding).
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        if not _SERVED.fullmatch(self.path.partition("?")[0]):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the person."""


def serve_folder(folder: Path, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the report in `folder` on loopback until KeyboardInterrupt. Raises RequestError for a port that is taken.

    port: 0 for any free one. on_ready: called with the page's address.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise RequestError(
            f"The page cannot be served on port {port}: {error.strerror}.", "Choose another: --port 0"
        ) from error
    with server:
        on_ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()
