"""A cluster that stops to answer: each search is refused by its deadline and the overtime, and nothing of it sticks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import Client

from dar_search.answering import probing
from dar_search.settings import Settings
from dar_search.stores.opensearch.cluster import bounded_connections
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.fakes import FakeEncoder
from tests.query_service import SEARCH, V1, Service, asked, photos
from tests.stalling_proxy import WAYS, StallingProxy

NAME = "query-service-stalled"
AT_ONCE = 2  # as many as are let in
#: The cluster's own time-out is an hour, so that only a search's own limit ends what hangs.
LIMITS: dict[str, Any] = {
    "opensearch": {"timeout": 3600.0, "connect_timeout": 600.0},
    "query": {"deadline_ms": 300, "overtime_ms": 500, "served_indices": ("*",), "searches": AT_ONCE, "streams": 1},
}
#: Of what must succeed, however busy this machine is.
LONG = {"deadline_ms": 30_000}
# A busy machine's encoder may be late too.
CODES = ("store_unavailable", "store_error", "model_failed")
# More than the crew has threads, and places in its queue.
MANY = ("search", "search", "search", "question", "rewrite")


@pytest.fixture(scope="module")
def proxy(opensearch_url: str) -> Iterator[StallingProxy]:
    encoder = FakeEncoder()
    direct = OpenSearchStore(opensearch_url, Settings(store=opensearch_url))
    if NAME in direct.names():
        direct.drop(NAME)
    index = direct.create(NAME, encoder.provenance)
    index.write(list(photos(encoder).open("photos").get([f"p{n}" for n in range(6)]).values()))
    index.refresh()
    try:
        with StallingProxy(opensearch_url) as made:
            yield made
            made.close()
    finally:
        direct.drop(NAME)
        direct.close()


@pytest.fixture
def service(proxy: StallingProxy) -> Iterator[Service]:
    proxy.go("fine")
    made = Service(Settings(store=proxy.url, **LIMITS), OpenSearchStore(proxy.url, Settings(store=proxy.url, **LIMITS)))
    yield made
    proxy.go("fine")
    made.service.close()


@pytest.mark.parametrize(
    ("way", "routes"), [(way, MANY if way in ("silent", "drips") else ("search",)) for way in WAYS], ids=WAYS
)
def test_many_searches_are_refused_in_time_and_the_next_one_is_as_before(
    service: Service, proxy: StallingProxy, way: str, routes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "LARGEST_ANSWER", 1 << 20)
    before = asked(Client(service.app), index=NAME, **LONG)
    proxy.go(way)
    stalled = proxy.stalled
    with ThreadPoolExecutor(AT_ONCE) as callers:
        for route in routes:
            refused = [callers.submit(ask, service, route) for _ in range(AT_ONCE)]
            for one in refused:
                status, body = one.result(60)
                if route == "rewrite" and status == 200:  # what is known of the index was enough
                    continue
                assert (status, body["code"] in CODES) == (503, True), body
    assert proxy.stalled > stalled
    proxy.go("fine")
    after = asked(Client(service.app), index=NAME, **LONG)
    assert [hit["id"] for hit in after["hits"]] == [hit["id"] for hit in before["hits"]]
    assert {leg["status"] for leg in after["legs"].values()} == {"ok"}


def test_an_index_that_has_to_be_opened_first_is_not_waited_for_longer(service: Service, proxy: StallingProxy) -> None:
    proxy.go("silent")
    for route in ("search", "rewrite", "question"):
        assert ask(service, route)[0] == 503
    assert ask(service, "search", {"Accept": "text/event-stream"})[0] == 503
    proxy.go("fine")
    assert ask(service, "search", **LONG)[0] == 200


def test_edits_of_hits_end_in_time_too(service: Service, proxy: StallingProxy) -> None:
    assert ask(service, "rewrite", **LONG)[0] == 200
    proxy.go("silent")
    status, body = ask(service, "rewrite", edits={"more_like": ["p1"]})
    assert status == 503 or body["legs"]["edits"]["status"] == "failed"


def test_connections_that_were_left_hanging_cost_one_answer(service: Service, proxy: StallingProxy) -> None:
    with ThreadPoolExecutor(AT_ONCE) as callers:
        assert {status for status, _ in callers.map(lambda _: ask(service, "search", **LONG), range(12))} == {200}
    proxy.go("old are silent")
    assert ask(service, "search")[0] == 503
    assert ask(service, "search", **LONG)[0] == 200


def test_readiness_says_so_and_is_as_before_afterwards(
    service: Service, proxy: StallingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.2)
    client = Client(service.app)
    proxy.go("drips")
    for _ in range(5):  # more than there are threads to probe with
        assert client.get("/_dar/ready").status_code == 503
    proxy.go("fine")
    monkeypatch.setattr(probing, "PROBE_SECONDS", 30.0)
    statuses = (client.get("/_dar/ready").status_code for _ in range(1_000))  # the last probe may be ending just now
    assert 200 in statuses


def test_a_host_that_takes_no_connection_is_given_up_in_time() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):  # what follows gets no answer to its first packet
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"http://127.0.0.1:{full.getsockname()[1]}"
        settings = Settings(store=address, **LIMITS)
        made = Service(settings, OpenSearchStore(address, settings))
        assert ask(made, "search")[1]["code"] in CODES
        made.service.close()


def test_a_slow_name_server_is_not_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    look_up = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        released.wait(60)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert ask(service, "search")[1]["code"] in CODES
    released.set()
    assert ask(service, "search", **LONG)[0] == 200


def ask(service: Service, route: str, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, Any]:
    response = Client(service.app).post(f"{V1}/{route}", json=SEARCH | {"index": NAME} | more, headers=headers)
    return response.status_code, response.get_json(silent=True)
