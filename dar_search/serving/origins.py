"""Which pages and under which names a browser may ask: CORS, guards against other sites' forms and DNS rebinding."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from dar_search.errors import CrossSiteRefused, HostRefused, MediaTypeUnsupported
from dar_search.serving import keys, problems, request_ids, wsgi
from dar_search.serving.wsgi import Headers

_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_EXPOSED = f"{request_ids.HEADER}, Retry-After"
_PREFLIGHT_SECONDS = "600"
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
# What a browser sends for a page without asking the service first.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
#: A header that no form can set: whoever sends it is a program, or a page that the service allowed.
FORM_HEADER = "X-Requested-With"
_ALLOWED_HEADERS = f"Content-Type, Accept, Authorization, {FORM_HEADER}, {keys.HEADER}, {request_ids.HEADER}"

_FORM_REFUSED = MediaTypeUnsupported(
    "Forms, which pages of other sites can send too, are taken only with a header that they cannot set.",
    f"Send JSON, or {FORM_HEADER} with your program's name.",
)


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


class CrossSiteCheck:
    """Refuses what a page of another site makes its reader's browser send: a browser on the service's machine, or
    behind its firewall, reaches it where the page's owner does not.

    Browsers name the page's site with each request that changes something (Origin, Sec-Fetch-Site); and a form's body
    is taken only with a key or the header X-Requested-With, which a form cannot set.
    """

    def __init__(self, app: wsgi.Application, origins: Container[str]) -> None:
        self._app, self._origins = app, origins

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in _CHANGING:
            if self._of_another_site(environ):
                error = CrossSiteRefused("A page of another site sent this.", "Add its origin to service.cors_origins.")
                return problems.refuse(environ, start_response, error)
            kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
            if kind in _FORMS and wsgi.KEY_NAME not in environ and not wsgi.header(environ, FORM_HEADER):
                return problems.refuse(environ, start_response, _FORM_REFUSED)
        return self._app(environ, start_response)

    def _of_another_site(self, environ: wsgi.Environ) -> bool:
        origin = wsgi.header(environ, "Origin")
        if origin in self._origins or "*" in self._origins:
            return False
        own = origin.partition("://")[2].lower() == wsgi.header(environ, "Host").lower()
        return bool(origin and not own) or wsgi.header(environ, "Sec-Fetch-Site") in ("cross-site", "same-site")


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
