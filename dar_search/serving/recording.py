"""The outermost layer: a request's id, its log line and its metrics, and an answer where the app raised.

The log line has no path, query or body: an index's name or an id may stand in a path, what people said in the others.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

from dar_search.serving import problems, request_ids, wsgi
from dar_search.serving.metrics import Metrics
from dar_search.serving.wsgi import Headers

_LOG = logging.getLogger("dar_search.requests")
_UNROUTED = "other"  # one label for all paths that are no route: they are whatever callers make up


class Recording:
    """Counts, times and logs each request, until the last byte of its answer; a stream's too."""

    def __init__(self, app: wsgi.Application, metrics: Metrics, *, trusted_proxies: int = 0) -> None:
        self._app, self._metrics, self._trusted = app, metrics, trusted_proxies

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        request_id = request_ids.request_id_from(wsgi.header(environ, request_ids.HEADER))
        environ[wsgi.REQUEST_ID] = request_id
        environ[wsgi.LOGGED] = {}
        return self._answered(environ, start_response, request_id)

    def _answered(self, environ: wsgi.Environ, start_response: wsgi.StartResponse, request_id: str) -> Iterator[bytes]:
        began = time.perf_counter()
        answer = _Answer(start_response, request_id)
        self._metrics.running.inc()
        broken = ""
        try:
            # A context of its own: the id holds in the app, in what it starts and in each part of a stream, and is
            # left behind by none of them.
            context = contextvars.copy_context()
            context.run(request_ids.set_request_id, request_id)
            try:
                parts = context.run(self._app, environ, answer.start)
            except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an answer
                parts = context.run(problems.refuse, environ, answer.start, problems.as_dar_error(error))
            yield from _each_part(parts, context)
        except GeneratorExit:
            broken = "the caller went away"
            raise
        finally:
            self._metrics.running.dec()
            self._record(environ, answer.status, time.perf_counter() - began, request_id, broken)

    def _record(self, environ: wsgi.Environ, status: int, seconds: float, request_id: str, broken: str) -> None:
        route = environ.get(wsgi.ROUTE, _UNROUTED)
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
            method = _UNROUTED
        code = environ.get(wsgi.ERROR_CODE, "")
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if code:
            self._metrics.refused.labels(code).inc()
        fields: dict[str, Any] = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "took_ms": round(seconds * 1000, 2),
            "address": wsgi.client_address(environ, self._trusted),
        }
        if wsgi.KEY_NAME in environ:
            fields["key"] = environ[wsgi.KEY_NAME]
        if code:
            fields["code"] = code
        if broken:
            fields["broken"] = broken
        # 503 is a state of what the service needs, told often while it starts; other 5xx are defects or time-outs.
        level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
        _LOG.log(level, "request", extra={"fields": fields | environ[wsgi.LOGGED]})


class _Answer:
    """Remembers an answer's status, and adds the request's id to its headers, and that nobody keeps it on the way."""

    def __init__(self, start_response: wsgi.StartResponse, request_id: str) -> None:
        self._start_response, self._request_id = start_response, request_id
        self.status = 0

    def start(self, status: str, headers: Headers, *rest: Any) -> Any:
        self.status = int(status.split(" ", 1)[0])
        own = [(request_ids.HEADER, self._request_id), ("X-Content-Type-Options", "nosniff")]
        if not any(name.lower() == "cache-control" for name, _ in headers):
            # A job that is asked for again and again, or whether a service is ready, is as it is now.
            own.append(("Cache-Control", "no-store"))
        return self._start_response(status, [*headers, *own], *rest)


def _each_part(parts: Iterable[bytes], context: contextvars.Context) -> Iterator[bytes]:
    iterator = context.run(iter, parts)
    nothing = object()
    try:
        while (part := context.run(next, iterator, nothing)) is not nothing:
            yield cast(bytes, part)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            context.run(close)
