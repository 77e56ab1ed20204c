"""The query service's streams: the text's event, then the imagined one, and what goes wrong between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from dar_query_rewriter.answering import SearchOut
from werkzeug.test import Client

from dar_search.data import Imagination
from tests.fakes import FakeEncoder
from tests.query_service import SEARCH, V1, KeyedFakeImaginer, Service, events, query_settings


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Service()
    yield Client(made.app)
    made.service.close()


class TestStream:
    def test_the_text_comes_first_then_the_imagined_answer_with_what_moved(self, client: Client) -> None:
        response = client.post(f"{V1}/search", json=SEARCH, headers={"Accept": "text/event-stream"})
        assert response.mimetype == "text/event-stream"
        (first, text), (second, imagined) = events(response.text)
        assert (first, second) == ("text", "imagined")
        assert (text["final"], imagined["final"]) == (False, True)
        assert (text["imagined"], imagined["imagined"]) == (False, True)
        for answer in (text, imagined):
            SearchOut.model_validate(answer)
        before = {hit["id"]: hit["rank"] for hit in text["hits"]}
        after = {hit["id"]: hit["rank"] for hit in imagined["hits"]}
        changed = {id for id in before | after if before.get(id) != after.get(id)}
        assert {move["id"] for move in imagined["moved"]} == changed

    def test_json_is_what_a_client_gets_that_takes_anything(self, client: Client) -> None:
        response = client.post(f"{V1}/search", json=SEARCH, headers={"Accept": "*/*"})
        assert response.mimetype == "application/json"

    def test_what_is_wrong_is_a_plain_problem(self, client: Client) -> None:
        response = client.post(
            f"{V1}/search", json=SEARCH | {"index": "nowhere"}, headers={"Accept": "text/event-stream"}
        )
        assert (response.status_code, response.get_json()["code"]) == (404, "index_not_found")

    def test_streams_beyond_their_number_are_refused_until_one_ends(self) -> None:
        go = threading.Event()

        class Slow(KeyedFakeImaginer):
            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                if "picture" not in prompt:
                    go.wait(60)
                return super().imagine(prompt, **options)

        made = Service(query_settings(streams=1), imaginer=Slow(FakeEncoder()))
        client = Client(made.app)
        headers = {"Accept": "text/event-stream"}
        first = client.post(f"{V1}/search", json=SEARCH, headers=headers)
        parts = first.iter_encoded()
        assert next(parts).startswith(b"event: text")
        refused = client.post(f"{V1}/search", json=SEARCH, headers=headers)
        assert (refused.status_code, refused.get_json()["code"]) == (429, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert client.get("/_dar/health").status_code == 200
        go.set()
        assert next(parts).startswith(b"event: imagined")
        first.close()
        assert client.post(f"{V1}/search", json=SEARCH, headers=headers).status_code == 200
        made.service.close()

    def test_what_fails_after_the_first_event_is_an_event(self, monkeypatch: pytest.MonkeyPatch) -> None:
        go = threading.Event()

        class Slow(KeyedFakeImaginer):
            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                if "picture" not in prompt:
                    go.wait(60)
                return super().imagine(prompt, **options)

        made = Service(imaginer=Slow(FakeEncoder()))
        response = Client(made.app).post(f"{V1}/search", json=SEARCH, headers={"Accept": "text/event-stream"})
        parts = response.iter_encoded()
        next(parts)
        monkeypatch.setattr("dar_search.answering.anytime.search", None)  # a defect, from here on
        go.set()
        ((name, value),) = events(b"".join(parts).decode())
        assert name == "error"
        assert value["code"] == "internal_error"
        made.service.close()
