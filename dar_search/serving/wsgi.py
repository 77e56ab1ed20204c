"""WSGI in a few words: its types, a JSON answer, who is asking."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[str, str]]

# What layers and apps tell each other, in a request's environ.
REQUEST_ID = "dar.request_id"
ROUTE = "dar.route"  # the route's template, such as /_dar/v1/jobs/<id>: set by the app
KEY_NAME = "dar.key_name"  # whose key it is
LOGGED = "dar.logged"  # a dict: more fields for the request's log line
ERROR_CODE = "dar.error_code"


def status_line(status: int) -> str:
    """404 -> "404 Not Found"."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} -"


def answer_json(
    start_response: StartResponse, status: int, value: Mapping[str, Any], headers: Sequence[tuple[str, str]] = ()
) -> list[bytes]:
    """A whole JSON answer."""
    body = json_bytes(value)
    fixed = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status_line(status), [*fixed, *headers])
    return [body]


def json_bytes(value: Any) -> bytes:
    """A value as JSON; NumPy arrays too. Half a surrogate pair, which no JSON can carry, becomes "?"."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, option=options)
    except TypeError:
        return orjson.dumps(_without_surrogates(value), option=options)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_without_surrogates(name): _without_surrogates(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(inner) for inner in value]
    return value


def header(environ: Environ, name: str) -> str:
    """A request's header, "" where it has none."""
    value: str = environ.get("HTTP_" + name.upper().replace("-", "_"), "")
    return value


def client_address(environ: Environ, trusted_proxies: int) -> str:
    """The caller's address. With n trusted proxies, the n-th from the right of X-Forwarded-For: what stands further
    left is what the caller says about itself."""
    direct: str = environ.get("REMOTE_ADDR", "")
    if not trusted_proxies:
        return direct
    named = [part.strip() for part in header(environ, "X-Forwarded-For").split(",") if part.strip()]
    if len(named) < trusted_proxies:
        return direct
    try:
        return str(ipaddress.ip_address(named[-trusted_proxies]))
    except ValueError:
        return direct
