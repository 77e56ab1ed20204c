"""Callers with their own credentials: what one opened tells another nothing, and nothing of the service goes along.

Before a real node stands a gate of users and roles, in the place of the security plugin.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from dar_query_rewriter import indices
from dar_query_rewriter.indices import ServedIndices, check_served
from werkzeug.test import Client

from dar_search.errors import SettingsError
from dar_search.settings import Settings
from dar_search.settings.cluster_access import ClusterAccess
from dar_search.settings.service import QuerySettings
from dar_search.stores.callers import acting_for
from dar_search.stores.opensearch.cluster.permissions import role
from dar_search.stores.opensearch.state import Cached
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.fakes import FakeEncoder, FakeStore
from tests.query_service import SEARCH, V1, Service, photos
from tests.security_gate import SecurityGate

NAME = "query-callers"
ROUTES = ("search", "rewrite", "question")
OWN = {"username": "service", "password": "its own"}


class Gate(SecurityGate):
    """Writes down each request's headers, and sets a cookie, as some proxies do.

    Attributes:
        headers: of each request.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address, "administrator")
        self.headers: list[dict[str, str]] = []
        for user, patterns in (("ann", NAME), ("ben", "other")):
            rights: dict[str, Any] = json.loads(json.dumps(role(patterns, writing=False)))
            if user == "ben":  # who may not ask of the nodes either
                rights["cluster_permissions"].remove("cluster:monitor/nodes/info")
            self.tables["roles"][user] = rights
            self.tables["rolesmapping"][user] = {"users": [user]}
            self.tables["internalusers"][user] = {"password": user}

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
        send = request.send_response

        def with_cookie(*status: Any) -> None:
            send(*status)
            request.send_header("Set-Cookie", "session=of-one-caller; Path=/")

        request.send_response = with_cookie  # type: ignore[method-assign]
        super()._handle(request, body)


@pytest.fixture(scope="module")
def gate(opensearch_url: str) -> Iterator[Gate]:
    encoder = FakeEncoder()
    direct = OpenSearchStore(opensearch_url, Settings(store=opensearch_url))
    if NAME in direct.names():
        direct.drop(NAME)
    index = direct.create(NAME, encoder.provenance)
    index.write(list(photos(encoder).open("photos").get([f"p{n}" for n in range(6)]).values()))
    index.refresh()
    try:
        with Gate(opensearch_url) as made:
            yield made
    finally:
        direct.drop(NAME)
        direct.close()


@pytest.fixture
def service(gate: Gate) -> Iterator[Service]:
    settings = Settings(store=gate.url, opensearch=OWN, query={"credentials": "caller", "deadline_ms": 30_000})  # type: ignore[arg-type]
    made = Service(settings, OpenSearchStore(gate.url, settings))
    gate.headers.clear()
    yield made
    made.service.close()


def said(service: Service, route: str, name: str, password: str, **more: Any) -> tuple[int, Any]:
    headers = {"Authorization": basic(name, password)}
    response = Client(service.app).post(f"{V1}/{route}", json=SEARCH | {"index": NAME} | more, headers=headers)
    return response.status_code, response.get_json()


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_what_one_caller_opened_is_closed_to_others(service: Service) -> None:
    for route in ROUTES:
        assert said(service, route, "ann", "ann")[0] == 200
    for name, password in (("ann", "wrong"), ("nobody", "x"), ("ben", "ben")):
        for route in ROUTES:
            status, body = said(service, route, name, password)
            assert (status, body["code"]) == (403, "store_forbidden"), (name, route)
            assert "house" not in json.dumps(body), "a word of what is stored"
            assert "OPENSEARCH_" not in body["hint"], "a caller has nothing to do with the service's settings"


def test_an_index_that_is_there_looks_like_one_that_is_not_to_who_may_see_neither(service: Service) -> None:
    said(service, "search", "ann", "ann")
    there = said(service, "search", "ben", "ben")
    nowhere = said(service, "search", "ben", "ben", index="nowhere-at-all")
    assert there[0] == nowhere[0]
    assert {**there[1], "request_id": ""} == {**nowhere[1], "request_id": ""}


def test_what_the_cluster_hides_from_one_caller_is_not_hidden_from_the_next(service: Service) -> None:
    store: OpenSearchStore = service.store
    with acting_for(basic("ben", "ben")):
        assert store.features.plugins is None
    with acting_for(basic("ann", "ann")):
        assert store.features.plugins
        assert store.features.hybrid
    with acting_for(basic("ben", "ben")):
        assert store.features.plugins is None


def test_a_request_carries_its_callers_credentials_and_nothing_that_was_another_callers(
    service: Service, gate: Gate
) -> None:
    gate.headers.clear()
    for route in ROUTES:
        said(service, route, "ann", "ann")
    assert gate.headers
    allowed = {"host", "accept-encoding", "connection", "content-type", "content-length", "user-agent", "authorization"}
    for headers in gate.headers:
        assert headers["authorization"] == basic("ann", "ann")
        assert headers.keys() <= allowed, "a cookie, say"


@pytest.mark.parametrize(
    "credentials", ["NTLM TlRMTVNTUAAB", "Negotiate YIIB", "negotiate x", "Basic \xfcx", "Basic abc\tdef"]
)
def test_credentials_that_are_not_of_one_request_are_refused(service: Service, gate: Gate, credentials: str) -> None:
    response = Client(service.app).post(
        f"{V1}/search", json=SEARCH | {"index": NAME}, headers={"Authorization": credentials}
    )
    assert (response.status_code, response.get_json()["code"]) == (401, "unauthenticated")
    assert credentials.split()[-1] not in response.text
    assert gate.headers == []


@pytest.mark.parametrize(
    ("own", "named"),
    [({"client_certificate": Path("service.pem")}, "client_certificate"), ({"aws_region": "eu-west-1"}, "aws_region")],
)
def test_what_would_speak_for_the_service_beside_its_caller_is_refused_at_the_start(
    own: dict[str, Any], named: str, tmp_path: Path
) -> None:
    query = QuerySettings(credentials="caller")
    with pytest.raises(SettingsError, match=named):
        check_served(query, "https://127.0.0.1:9200", ClusterAccess(**own))
    check_served(QuerySettings(served_indices=("photos",)), "https://127.0.0.1:9200", ClusterAccess(**own))
    profiles = tmp_path / "profiles.toml"
    lines = "\n".join(f'{name} = "{value}"' for name, value in own.items())
    profiles.write_text(f'[profiles.prod]\nhosts = ["https://127.0.0.1:9200"]\n{lines}\n')
    settings = Settings(store="profile:prod", profiles_file=profiles, query={"credentials": "caller"})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=named):
        Service(settings, FakeStore())


def test_what_is_kept_for_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indices, "_MOST_KEPT", 3)
    encoder = FakeEncoder()
    served = ServedIndices(photos(encoder), encoder.provenance, QuerySettings(credentials="caller"))
    cached = Cached(lambda: 1)
    monkeypatch.setattr("dar_search.stores.opensearch.state._MOST_CALLERS", 3)
    for number in range(10):
        with acting_for(f"Basic {number}"):
            served.open("photos")
            assert cached.get() == 1
    assert len(served._kept) == len(cached._kept) == 3
    assert b"Basic" not in b"".join(key or b"" for key, _ in served._kept)


def test_the_services_own_searches_go_on_sharing(opensearch_url: str) -> None:
    settings = Settings(store=opensearch_url, query={"served_indices": ["*"], "deadline_ms": 30_000})  # type: ignore[arg-type]
    store = OpenSearchStore(opensearch_url, settings)
    encoder = FakeEncoder()
    served = ServedIndices(photos(encoder), encoder.provenance, settings.query)
    assert served.open("photos") is served.open("photos")
    store.close()
