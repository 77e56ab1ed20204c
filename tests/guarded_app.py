"""A small app behind the layers of a service, for tests of the layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from werkzeug.test import Client

from dar_search.serving import wsgi
from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.serving.request_ids import current_request_id
from dar_search.settings.service import ServiceSettings

KEY = "0123456789abcdef0123"


def echo(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    """Answers with what reached it."""
    environ[wsgi.ROUTE] = "/_dar/v1/echo"
    body = environ["wsgi.input"].read()
    headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    value = {"body": body.decode("utf-8", "replace"), "headers": headers, "request_id": current_request_id()}
    return wsgi.answer_json(start_response, 200, value)


def client(
    service: ServiceSettings | None = None,
    app: wsgi.Application = echo,
    metrics: Metrics | None = None,
    **options: Any,
) -> Client:
    options = {"host": "127.0.0.1", "max_bytes": 2_000} | options
    return Client(guarded(app, service or ServiceSettings(), metrics or Metrics(), **options))


def problem(response: Any, status: int, code: str) -> dict[str, str]:
    """The answer's problem, which must have this status and code."""
    assert response.status_code == status, response.text
    value = response.get_json()
    assert set(value) == {"code", "message", "hint", "request_id"}
    assert value["code"] == code
    assert value["request_id"] == response.headers["X-Request-Id"] != ""
    return value
