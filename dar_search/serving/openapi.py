"""What the OpenAPI documents of both services have in common, and what a request that does not fit one is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from dar_search.errors import RequestError
from dar_search.serving.keys import HEADER

API = "/_dar/v1"
_FOLDER, _FILE = "/_dar/openapi", "/openapi.json"
DOCUMENT = _FOLDER + _FILE
#: A route that takes the service's key.
KEY: list[dict[str, list[str]]] = [{"key": []}]
_REFUSALS = (400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 429, 431, 500, 501, 503, 504)


def app_options(problem: type[BaseModel], on_invalid: Callable[[ValidationError], Any]) -> dict[str, Any]:
    """For flask_openapi3's OpenAPI: where its document is, the services' key, what becomes of an invalid request."""
    return {
        "security_schemes": {"key": {"type": "apiKey", "in": "header", "name": HEADER}},
        "doc_prefix": _FOLDER,
        "doc_url": _FILE,
        "validation_error_status": "400",
        "validation_error_model": problem,
        "validation_error_callback": on_invalid,
        "static_folder": None,
    }


def refusals(problem: type[BaseModel]) -> dict[str | int, Any]:
    """The statuses of a route that answers a problem."""
    return dict.fromkeys(_REFUSALS, problem)


def request_error(error: ValidationError) -> RequestError:
    """The first thing wrong with a request, without what it holds."""
    # `errors()` makes a dict of each, which for 80,000 unknown fields takes fifty times the request's body.
    text = error.json(include_url=False, include_input=False, include_context=False)
    wrong, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    where = ".".join(str(part)[:40] for part in wrong["loc"]) or "the body"
    return RequestError(f"{where}: {wrong['msg']}.", f"See the route in {DOCUMENT}.")
