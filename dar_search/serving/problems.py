"""Errors as answers: `{"code", "message", "hint", "request_id"}` with the error's status, and never a stack trace."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from dar_search.errors import (
    BodyTooLarge,
    DarError,
    InternalError,
    MediaTypeUnsupported,
    MethodNotAllowed,
    OutOfResources,
    RequestError,
    RouteNotFound,
    ServiceError,
    StoreError,
)
from dar_search.serving import wsgi
from dar_search.serving.request_ids import current_request_id
from dar_search.serving.wsgi import Headers

_LOG = logging.getLogger(__name__)
_DEFECT = InternalError(
    "The service failed to answer: a defect, which its log explains.", "Report it with the request_id."
)


def problem(error: DarError, request_id: str = "") -> dict[str, str]:
    """An error as the JSON value of an answer."""
    return error.as_dict() | {"request_id": request_id or current_request_id()}


def problem_headers(error: DarError) -> Headers:
    """Retry-After in whole seconds for what is worth another try, and how to authenticate for 401."""
    if error.status in (429, 503):
        seconds = error.retry_after if isinstance(error, ServiceError) else 1.0
        return [("Retry-After", str(max(1, math.ceil(seconds))))]
    if error.status == 401:
        return [("WWW-Authenticate", "X-DAR-Key")]
    return []


def refuse(environ: wsgi.Environ, start_response: wsgi.StartResponse, error: DarError) -> list[bytes]:
    """A WSGI answer that says what is wrong."""
    environ[wsgi.ERROR_CODE] = error.code
    return wsgi.answer_json(start_response, error.status, problem(error), problem_headers(error))


def as_dar_error(error: Exception) -> DarError:
    """Any exception as one of ours. What is neither ours, nor the machine's, nor an HTTP error of the web framework is
    a defect: it is logged with its trace, and its answer tells nothing about it."""
    if isinstance(error, DarError) and not isinstance(error, StoreError):
        return error
    if (short := OutOfResources.of(error)) is not None:
        _LOG.warning("%s", short)
        return short
    if isinstance(error, DarError):
        return error
    status = getattr(error, "code", None)  # of werkzeug's HTTPException
    if not isinstance(status, int) or not hasattr(error, "get_response"):
        return _defect(error)
    if status == 404:
        return RouteNotFound("There is no such route.", "The routes are in /_dar/openapi/openapi.json.")
    if status == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return MethodNotAllowed("The route does not take this method.", f"It takes {allowed}." if allowed else "")
    if status == 413:
        return BodyTooLarge("The request's body is too large.", "Send less at once.")
    if status == 415:
        return MediaTypeUnsupported("The body's media type is not one the route takes.", "Send application/json.")
    if 400 <= status < 500:
        return RequestError(str(getattr(error, "description", "") or "The request does not read."))
    return _defect(error)


def _defect(error: Exception) -> DarError:
    _LOG.error("A defect: %s.", type(error).__name__, exc_info=error)
    return _DEFECT


def register_problems(app: Any, on_error: Callable[[DarError], None] | None = None) -> None:
    """Make a Flask app answer every exception as a problem.

    on_error: told of each error that becomes an answer.
    """

    def answer(error: Exception) -> Any:
        status = getattr(error, "code", None)
        if isinstance(status, int) and 300 <= status < 400:
            return error  # a redirect to the route's proper spelling
        found = as_dar_error(error)
        if on_error is not None:
            on_error(found)
        headers = dict(problem_headers(found))
        if isinstance(found, MethodNotAllowed) and getattr(error, "valid_methods", None):
            headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
        return problem(found), found.status, headers

    app.register_error_handler(Exception, answer)
