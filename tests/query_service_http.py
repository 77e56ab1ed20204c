"""The query service's real app behind a real HTTP server of this process, for tests of its clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.http_serving import serving
from tests.query_service import Service


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing: the tests ask for what they want to know."""


@contextmanager
def served(service: Service) -> Iterator[str]:
    """The address. Ends the service too."""
    server = make_server("127.0.0.1", 0, service.app, threaded=True, request_handler=_Quiet)
    try:
        with serving(server):
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        service.service.close()
