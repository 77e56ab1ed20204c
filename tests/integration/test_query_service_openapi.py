"""The OpenAPI document is true: whatever schemathesis makes of it, no 5xx comes, and no answer that is not documented.

25 requests an operation in `make test`, 300 with DAR_TORTURE=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS
from werkzeug.test import Client

from dar_search.errors import DarError
from tests.query_service import Service, query_settings

EXAMPLES = 300 if os.environ.get("DAR_TORTURE") == "1" else 25
_service = Service(query_settings(served_indices=("photos",)))
schema = schemathesis.openapi.from_wsgi("/_dar/openapi/openapi.json", _service.app)
WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    _service.service.close()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_a_defect_or_undocumented(case: schemathesis.Case) -> None:
    response = case.call()
    case.validate_response(response, checks=CHECKS.get_by_names(list(WANTED)))


@pytest.fixture(scope="module")
def document() -> Any:
    return Client(_service.app).get("/_dar/openapi/openapi.json").get_json()


def test_every_route_is_documented_with_its_example_and_its_refusals(document: Any) -> None:
    assert set(document["paths"]) == {
        "/_dar/v1/search",
        "/_dar/v1/rewrite",
        "/_dar/v1/question",
        "/_dar/v1/choice",
        "/_dar/health",
        "/_dar/ready",
    }
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            if path.startswith("/_dar/v1/"):
                assert {"200", "400", "401", "404", "413", "415", "429", "503"} <= set(operation["responses"])
    schemas = document["components"]["schemas"]
    for name in ("SearchIn", "QuestionIn", "SearchOut", "RewriteOut", "QuestionOut", "Problem"):
        assert "example" in schemas[name], name
    assert "text/event-stream" in document["paths"]["/_dar/v1/search"]["post"]["responses"]["200"]["content"]


def test_the_examples_are_answered(document: Any) -> None:
    client = Client(_service.app)
    for route, name in (("search", "SearchIn"), ("rewrite", "SearchIn"), ("question", "QuestionIn")):
        response = client.post(f"/_dar/v1/{route}", json=document["components"]["schemas"][name]["example"])
        assert response.status_code == 200, response.text


def test_every_field_of_a_request_has_a_limit(document: Any) -> None:
    """Nothing that a caller sends is without a bound: strings, lists and numbers."""
    unlimited = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        if name.endswith("In") or name == "DialogueAsked"
        for field, about in schema.get("properties", {}).items()
        for part in about.get("anyOf", [about])
        if (part.get("type") == "string" and not {"maxLength", "enum"} & set(part))
        or (part.get("type") == "array" and "maxItems" not in part)
        or (part.get("type") in ("integer", "number") and not {"maximum", "exclusiveMaximum"} & set(part))
    ]
    assert unlimited == []


def test_every_status_of_an_error_that_a_search_may_raise_is_documented(document: Any) -> None:
    def kinds(kind: type[DarError]) -> Iterator[type[DarError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from kinds(child)

    documented = set(document["paths"]["/_dar/v1/search"]["post"]["responses"])
    raised = {str(kind.status) for kind in kinds(DarError) if kind.__module__ == "dar_search.errors"}
    assert raised <= documented
