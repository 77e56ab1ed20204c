"""Every route of both services, as a page of another site would have a browser ask for it."""

from __future__ import annotations

from typing import Any

import pytest
from dar_ingest.app import create_app as ingest_app
from dar_query_rewriter.app import create_app as query_app
from werkzeug.routing import Rule
from werkzeug.test import Client

from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.settings.service import ServiceSettings
from tests.guarded_app import problem

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain")
PAGES = (
    {"Origin": "https://other.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)
NO_SERVICE: Any = None  # nothing may get as far as to ask it


def routes() -> list[Any]:
    found = []
    for make in (query_app, ingest_app):
        app = make(NO_SERVICE)
        for rule in app.url_map.iter_rules():
            for method in sorted({"POST", "PUT", "PATCH", "DELETE"} & (rule.methods or set())):
                name = f"{app.name} {method} {rule.rule}"
                found.append(pytest.param(app, rule, method, id=name))
    return found


@pytest.mark.parametrize(("app", "rule", "method"), routes())
def test_a_route_that_changes_something_takes_nothing_from_a_page_of_another_site(
    app: Any, rule: Rule, method: str
) -> None:
    client = Client(guarded(app.wsgi_app, ServiceSettings(), Metrics(), host="127.0.0.1", max_bytes=1_000))
    address = rule.rule.replace("<path:id>", "a").replace("<job>", "b")
    assert "<" not in address
    headers = {"Host": "127.0.0.1:8950"}
    for page in PAGES:
        for kind in (*FORMS, "application/json", None):
            answer = client.open(address, method=method, data="x=y", content_type=kind, headers=headers | page)
            problem(answer, 403, "cross_site")
    for kind in FORMS:  # from a browser that names no site
        problem(
            client.open(address, method=method, data="x=y", content_type=kind, headers=headers), 415,
            "unsupported_media_type",
        )  # fmt: skip
    rebound = client.open(address, method=method, headers={"Host": "rebound.example"})
    problem(rebound, 421, "host_refused")


def test_all_routes_are_there() -> None:
    assert {parameter.id.split()[0] for parameter in routes()} == {"dar_query_rewriter", "dar_ingest"}
    assert len(routes()) >= 12
