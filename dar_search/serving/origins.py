"""Which pages and under which names a browser may ask: CORS, and a guard against DNS rebinding."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from dar_search.errors import HostRefused
from dar_search.serving import keys, problems, request_ids, wsgi
from dar_search.serving.wsgi import Headers

_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_ALLOWED_HEADERS = f"Content-Type, Accept, Authorization, {keys.HEADER}, {request_ids.HEADER}"
_EXPOSED = f"{request_ids.HEADER}, Retry-After"
_PREFLIGHT_SECONDS = "600"


class CrossOrigin:
    """Lets pages of the listed origins ask; "*" is every page. A preflight is answered here, before any key."""

    def __init__(self, app: wsgi.Application, origins: Container[str]) -> None:
        self._app, self._origins = app, origins

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        origin = wsgi.header(environ, "Origin")
        allowed = bool(origin) and ("*" in self._origins or origin in self._origins)
        given: Headers = [("Vary", "Origin")]
        if allowed:
            given += [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _EXPOSED)]
        asks_first = environ["REQUEST_METHOD"] == "OPTIONS" and wsgi.header(environ, "Access-Control-Request-Method")
        if allowed and asks_first:
            given += [
                ("Access-Control-Allow-Methods", _METHODS),
                ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
                ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
            ]
            start_response("204 No Content", given)
            return []

        def start(status: str, headers: Headers, *rest: Any) -> Any:
            return start_response(status, [*headers, *given], *rest)

        return self._app(environ, start)


class HostCheck:
    """Answers only under the service's own names. A page of another site can make a browser send requests to this
    machine under a name of that site's (DNS rebinding); for a service on loopback that is the way in."""

    def __init__(self, app: wsgi.Application, names: Container[str]) -> None:
        self._app, self._names = app, names

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        host = host_name(wsgi.header(environ, "Host"))
        if host and host not in self._names:
            error = HostRefused(
                f'The service does not answer to the name "{host[:80]}".', "Add it to service.allowed_hosts."
            )
            return problems.refuse(environ, start_response, error)
        return self._app(environ, start_response)


def host_name(host: str) -> str:
    """A Host header without its port, in lower case: "[::1]:80" -> "::1"."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
