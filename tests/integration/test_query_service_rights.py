"""Whose rights hold in the query service: the served indices, or the caller's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3
from dar_query_rewriter.indices import check_served
from werkzeug.test import Client

from dar_search.data import Imagination
from dar_search.errors import SettingsError
from dar_search.models.imaginers.imagination_cache import CachedImaginer, MemoryImaginationCache
from dar_search.settings import Settings
from dar_search.settings.service import QuerySettings
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.fakes import FakeEncoder
from tests.http_serving import serving
from tests.query_service import SAID, SEARCH, V1, KeyedFakeImaginer, Service, asked, events, photos, query_settings


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Service()
    yield Client(made.app)
    made.service.close()


class TestWhoseRights:
    def test_only_the_served_indices_can_be_asked_and_nobody_learns_of_others(self) -> None:
        made = Service(query_settings(served_indices=("photos", "public-*")))
        client = Client(made.app)
        asked(client)
        hidden = asked(client, index="private", status=404)
        nowhere = asked(client, index="nowhere", status=404)
        assert hidden["code"] == nowhere["code"] == "index_not_found"
        assert hidden["message"].replace("private", "") == nowhere["message"].replace("nowhere", "")
        unmade = asked(client, index="public-2", status=404)
        assert "private" not in json.dumps(unmade)
        made.service.close()

    def test_where_one_is_served_it_need_not_be_named(self) -> None:
        made = Service(query_settings(served_indices=("photos",)))
        response = Client(made.app).post(f"{V1}/search", json={"dialogue": SAID})
        assert response.get_json()["index"] == "photos"
        made.service.close()

    def test_else_it_must_be(self, client: Client) -> None:
        response = client.post(f"{V1}/search", json={"dialogue": SAID})
        assert (response.status_code, response.get_json()["code"]) == (400, "bad_request")

    def test_a_cluster_is_served_only_where_somebody_said_whose_rights_hold(self) -> None:
        with pytest.raises(SettingsError, match="which indices"):
            check_served(QuerySettings(), "http://127.0.0.1:9200")
        check_served(QuerySettings(served_indices=("photos",)), "http://127.0.0.1:9200")
        check_served(QuerySettings(credentials="caller"), "http://127.0.0.1:9200")
        with pytest.raises(SettingsError, match="no credentials"):
            check_served(QuerySettings(credentials="caller"), "sqlite:a.sqlite")

    def test_an_endpoint_is_refused_where_no_outside_model_may_be_asked(self) -> None:
        settings = query_settings(outside_models=False).model_copy(update={"reformulator": "endpoint:gpt"})
        with pytest.raises(SettingsError, match="outside_models"):
            Service(settings)

    def test_a_request_may_keep_its_words_from_the_model(self, client: Client) -> None:
        assert asked(client, outside_models=False)["reformulation"]["text"] == "the rules wrote it"


@pytest.fixture(scope="module")
def seen(opensearch_url: str) -> Iterator[tuple[str, list[str | None]]]:
    """The proxy's address, and the Authorization header of each request."""
    headers: list[str | None] = []
    upstream = urllib3.PoolManager()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            headers.append(self.headers.get("Authorization"))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = upstream.request(
                self.command, opensearch_url + self.path, body=body, headers={"Content-Type": "application/json"}
            )
            self.send_response(answer.status)
            for name in ("Content-Type",):
                self.send_header(name, answer.headers.get(name, "application/json"))
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.data)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", headers
    upstream.clear()


class TestCallersCredentials:
    """Against a real cluster behind a proxy that writes down what comes."""

    def test_every_request_of_a_search_carries_them_and_no_other(
        self, seen: tuple[str, list[str | None]], opensearch_url: str
    ) -> None:
        address, headers = seen
        encoder = FakeEncoder()
        name = "query-service-callers"
        direct = OpenSearchStore(opensearch_url, Settings(store=opensearch_url))
        if name in direct.names():
            direct.drop(name)
        index = direct.create(name, encoder.provenance)
        index.write(photos(encoder).open("photos").get([f"p{n}" for n in range(6)]).values())  # type: ignore[arg-type]
        index.refresh()
        go = threading.Event()

        class Slow(KeyedFakeImaginer):
            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                go.wait(0 if "picture" in prompt else 0.2)
                return super().imagine(prompt, **options)

        own = {"username": "service", "password": "its own"}
        settings = Settings(
            store=address,
            opensearch=own,  # type: ignore[arg-type]
            query={"credentials": "caller", "deadline_ms": 30_000},  # type: ignore[arg-type]
        )
        cache = MemoryImaginationCache()
        made = Service(
            settings, OpenSearchStore(address, settings), imaginer=CachedImaginer(Slow(encoder), cache), cache=cache
        )
        client = Client(made.app)
        try:
            assert asked(client, index=name, status=401)["code"] == "unauthenticated"
            headers.clear()
            caller = {"Authorization": "Basic Y2FsbGVyOng=", "Accept": "text/event-stream"}
            body = SEARCH | {"index": name, "edits": {"more_like": ["p4"]}}
            response = client.post(f"{V1}/search", json=body, headers=caller)
            assert [event for event, _ in events(response.text)] == ["text", "imagined"]
            assert len(headers) >= 4
            assert set(headers) == {caller["Authorization"]}
        finally:
            made.service.close()
            direct.drop(name)
            direct.close()
