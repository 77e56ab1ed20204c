"""Watching the query service: health, metrics, its log, the search log, its end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dar_query_rewriter.answering import ReadyOut
from prometheus_client import generate_latest
from werkzeug.test import Client

from dar_search.errors import ModelFailed, StoreUnavailable
from tests.fakes import FakeEncoder, FakeReformulator
from tests.query_service import SAID, SEARCH, V1, Service, asked, events, photos, query_settings


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.service.close()


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.app)


class TestOperations:
    def test_health_needs_nothing_and_ready_says_what_is_missing(self, service: Service, client: Client) -> None:
        assert client.get("/_dar/health").get_json()["alive"] is True
        ready = client.get("/_dar/ready")
        assert (ready.status_code, ready.get_json()) == (200, {"ready": True, "parts": {"models": "ok", "store": "ok"}})

    def test_while_the_models_load_a_search_is_503_and_the_service_tries_again(self) -> None:
        go = threading.Event()

        class Loading(FakeEncoder):
            def encode_texts(self, texts: Any) -> Any:
                if not go.is_set():
                    raise ModelFailed("The weights are not there yet.")
                return super().encode_texts(texts)

        from dar_query_rewriter.app import create_app
        from dar_query_rewriter.service import QueryService

        from dar_search.answering.answers import Models

        encoder = Loading()
        store = photos(FakeEncoder())
        models = Models(encoder, FakeReformulator(), FakeReformulator())
        service = QueryService(query_settings(), models, store)
        client = create_app(service).test_client()
        warming = service.warm_up()
        refused = client.post(f"{V1}/search", json=SEARCH)
        assert (refused.status_code, refused.get_json()["code"]) == (503, "model_failed")
        ready = client.get("/_dar/ready")
        assert ready.status_code == 503
        ReadyOut.model_validate(ready.get_json())
        go.set()
        warming.join()
        assert client.post(f"{V1}/search", json=SEARCH).status_code == 200
        service.close()

    def test_a_store_that_cannot_be_reached_is_not_ready(self, service: Service, monkeypatch: Any) -> None:
        def gone() -> list[str]:
            raise StoreUnavailable("The cluster is gone.")

        monkeypatch.setattr(service.store, "names", gone)
        parts = Client(service.app).get("/_dar/ready").get_json()["parts"]
        assert parts == {"models": "ok", "store": "The cluster is gone."}

    def test_metrics_tell_of_requests_legs_and_degradations(self, service: Service, client: Client) -> None:
        asked(client)
        asked(client, dialogue={"caption": "never seen", "turns": []}, imagine={"count": 0})
        text = generate_latest(service.metrics.registry).decode()
        assert 'dar_requests_total{method="POST",route="/_dar/v1/search",status="200"}' in text
        assert 'dar_leg_seconds_count{leg="knn",status="ok"}' in text
        assert "dar_searches_waiting 0.0" in text

    def test_dialogues_are_logged_only_where_the_settings_say_so(self, caplog: pytest.LogCaptureFixture) -> None:
        for wanted in (False, True):
            made = Service(query_settings(service={"log_dialogues": wanted}))
            caplog.clear()
            with caplog.at_level("DEBUG"):
                asked(Client(made.app), dialogue={"caption": "said in confidence"})
            logged = "".join(str(vars(record)) for record in caplog.records)
            assert ("in confidence" in logged) is wanted
            made.service.close()

    @pytest.mark.parametrize(
        ("route", "accept"),
        [
            ("search", "application/json"),
            ("search", "text/event-stream"),
            ("rewrite", "application/json"),
            ("question", "application/json"),
        ],
    )
    def test_a_requests_log_line_has_each_legs_status(
        self, client: Client, caplog: pytest.LogCaptureFixture, route: str, accept: str
    ) -> None:
        with caplog.at_level("INFO", "dar_search.requests"):
            answered = client.post(f"{V1}/{route}", json=SEARCH, headers={"Accept": accept}).text
        (record,) = [one for one in caplog.records if one.name == "dar_search.requests"]
        answer = json.loads(answered) if accept == "application/json" else events(answered)[-1][1]
        logged = vars(record)["fields"]["legs"]
        assert logged == {name: leg["status"] for name, leg in answer["legs"].items()}

    def test_the_search_log_has_what_was_asked_answered_and_chosen(self, tmp_path: Path) -> None:
        path = tmp_path / "searches.jsonl"
        made = Service(query_settings(search_log=path))
        client = Client(made.app)
        answer = asked(client, conversation="c1", size=3, offset=1)
        streamed = client.post(f"{V1}/search", json=SEARCH, headers={"Accept": "text/event-stream"}).text
        choice = client.post(f"{V1}/choice", json={"search": answer["request_id"], "hit": answer["hits"][0]["id"]})
        assert choice.get_json()["logged"] is True
        first, second, third = [json.loads(line) for line in path.read_text().splitlines()]
        assert (first["id"], first["conversation"], first["first"]) == (answer["request_id"], "c1", 2)
        assert first["hits"] == [hit["id"] for hit in answer["hits"]]
        assert first["dialogue"] == SAID
        assert second["imagined"] is True  # of a stream the last answer
        assert second["hits"] == [hit["id"] for hit in events(streamed)[-1][1]["hits"]]
        assert (third["kind"], third["search"]) == ("choice", answer["request_id"])
        made.service.close()

    def test_without_a_search_log_nothing_is_kept_and_a_choice_says_so(self, client: Client) -> None:
        response = client.post(f"{V1}/choice", json={"search": "a", "hit": "b"})
        assert (response.status_code, response.get_json()["logged"]) == (200, False)

    def test_closing_ends_its_threads_and_closes_what_it_was_given(self) -> None:
        made = Service()
        closed: list[bool] = []
        made.service.at_end(lambda: closed.append(True))
        made.service.close()
        assert closed == [True]
