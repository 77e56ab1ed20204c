"""The query service's routes, through all its layers: what they answer, what they refuse, whose rights hold."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
from dar_query_rewriter.admission import Gate
from dar_query_rewriter.answering import Problem, QuestionOut, ReadyOut, RewriteOut, SearchOut
from dar_query_rewriter.indices import check_served
from prometheus_client import generate_latest
from werkzeug.test import Client

from dar_search.data import Dialogue, Imagination, Reformulation
from dar_search.errors import ModelFailed, Overloaded, SettingsError, StoreUnavailable
from dar_search.models.imagination_cache import CachedImaginer, MemoryImaginationCache
from dar_search.service_settings import QuerySettings
from dar_search.settings import Settings
from dar_search.stores.opensearch import OpenSearchStore
from tests.fakes import FakeEncoder, FakeReformulator
from tests.query_service import SAID, SEARCH, KeyedFakeImaginer, Service, photos, query_settings

V1 = "/_dar/v1"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.service.close()


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.app)


def asked(client: Client, route: str = "search", status: int = 200, **body: Any) -> Any:
    response = client.post(f"{V1}/{route}", json=SEARCH | body)
    assert response.status_code == status, response.text
    models = {"search": SearchOut, "rewrite": RewriteOut, "question": QuestionOut}
    (models[route] if status == 200 else Problem).model_validate(response.get_json())
    return response.get_json()


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream: (name, value)."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


class TestSearch:
    def test_a_dialogue_finds_what_it_describes_and_every_leg_is_told(self, client: Client) -> None:
        answer = asked(client)
        assert answer["hits"][0]["id"] == "p0"
        assert answer["round"] == 1
        assert {name: leg["status"] for name, leg in answer["legs"].items()} == dict.fromkeys(
            ("reformulation", "imagination", "knn", "keyword"), "ok"
        )
        assert len(answer["imaginations"]) == 2
        assert (answer["imagined"], answer["final"]) == (True, True)

    def test_the_dialogue_may_be_a_list_as_in_chatir(self, client: Client) -> None:
        listed = asked(client, dialogue=["a red house", "where is it? near a lake"])
        assert [hit["id"] for hit in listed["hits"]] == [hit["id"] for hit in asked(client)["hits"]]

    def test_pages_filters_and_fields(self, client: Client) -> None:
        every = [hit["id"] for hit in asked(client, size=6)["hits"]]
        paged = [hit["id"] for offset in (0, 2, 4) for hit in asked(client, size=2, offset=offset)["hits"]]
        assert paged == every
        winter = asked(client, filter={"season": "winter"}, fields=["metadata", "thumbnail"])["hits"]
        assert {hit["metadata"]["season"] for hit in winter} == {"winter"}
        assert "caption" not in winter[0]
        assert "source" not in winter[0]
        assert asked(client, fields=[])["hits"][0].keys() == {"id", "rank", "score", "legs"}

    def test_a_thumbnail_is_base64_where_it_is_asked_for(self, client: Client, service: Service) -> None:
        from dataclasses import replace

        from dar_query_rewriter.answering import hit_out

        from dar_search.data import Hit

        hit = Hit("a", 1, 0.5, thumbnail=b"\x00\xff")
        assert base64.b64decode(hit_out(hit, ["thumbnail"])["thumbnail"]) == b"\x00\xff"
        assert "thumbnail" not in hit_out(hit, ["caption"])
        assert "thumbnail" not in hit_out(replace(hit, thumbnail=None), ["thumbnail"])

    def test_an_explanation_adds_up_to_the_score(self, client: Client) -> None:
        for hit in asked(client, explain=True)["hits"]:
            parts = hit["explanation"]
            total = parts["text"] + sum(parts["images"].values()) + parts["offset"] + parts["keyword"]
            assert total == pytest.approx(hit["score"], abs=1e-5)

    def test_weights_schedule_fusion_and_count_are_the_requests(self, client: Client) -> None:
        assert asked(client, weights={"text": 0.25, "image": 0.75})["weights"] == {"text": 0.25, "image": 0.75}
        assert asked(client, schedule="text-only")["legs"]["imagination"]["status"] == "off"
        assert asked(client, imagine={"count": 0})["imaginations"] == []
        seeds = [one["seed"] for one in asked(client, imagine={"count": 3, "seed": 7})["imaginations"]]
        assert seeds == [7, 8, 9]
        assert asked(client, keyword=False)["legs"]["keyword"]["status"] == "off"
        fused = asked(client, fusion={"method": "rrf", "knn": 0.5})["hits"][0]
        assert fused["score"] < 0.1  # a sum of 1 / (60 + rank)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"dialogue": {"caption": "  "}}, "bad_dialogue"),
            ({"dialogue": {"caption": "a\u0000b"}}, "bad_dialogue"),
            ({"dialogue": {"caption": "a", "turns": [{}]}}, "bad_dialogue"),
            ({"dialogue": {"caption": "a" * 4001}}, "bad_request"),
            ({"dialogue": ["a"] * 102}, "bad_request"),
            ({"dialogue": []}, "bad_request"),
            ({"filter": {"season": {}}}, "bad_filter"),
            ({"filter": {"a b": 1}}, "bad_filter"),
            ({"size": 101}, "bad_request"),
            ({"size": 0}, "bad_request"),
            ({"size": "5"}, "bad_request"),
            ({"offset": 200, "depth": 200}, "bad_request"),
            ({"schedule": "sometimes"}, "bad_request"),
            ({"schedule": "released", "weights": {"text": 1, "image": 1}}, "bad_request"),
            ({"weights": {"text": 0, "image": 0}}, "bad_request"),
            ({"imagine": {"count": 17}}, "bad_request"),
            ({"deadline_ms": 60_000}, "bad_request"),
            ({"edits": {"strike": [""]}}, "bad_request"),
            ({"edits": {"strike": ["a"], "negative": ["a"]}}, "bad_request"),
            ({"query": {"match_all": {}}}, "bad_request"),
        ],
    )
    def test_what_cannot_be_used_is_refused_with_a_reason(
        self, client: Client, body: dict[str, Any], code: str
    ) -> None:
        assert asked(client, status=400, **body)["code"] == code

    def test_a_refusal_does_not_repeat_what_was_said(self, client: Client) -> None:
        problem = asked(client, status=400, dialogue={"caption": ["in confidence"]})
        assert "confidence" not in json.dumps(problem)

    def test_one_megabyte_is_refused_and_two_depths_of_json_too(self, client: Client) -> None:
        response = client.post(f"{V1}/search", json=SEARCH | {"dialogue": {"caption": "x" * 1_100_000}})
        assert response.status_code == 413
        deep = b'{"filter":' + b'{"a":' * 70 + b"1" + b"}" * 71
        response = client.post(f"{V1}/search", data=deep, content_type="application/json")
        assert (response.status_code, response.get_json()["code"]) == (400, "bad_request")

    @pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"NaN"])
    def test_a_body_that_is_no_object_is_refused(self, client: Client, data: bytes) -> None:
        response = client.post(f"{V1}/search", data=data, content_type="application/json")
        assert (response.status_code, response.get_json()["code"]) == (400, "bad_request")

    def test_another_media_type_is_refused(self, client: Client) -> None:
        response = client.post(f"{V1}/search", data=b"a=b", content_type="application/x-www-form-urlencoded")
        assert response.status_code == 415


class TestEdits:
    def test_nothing_is_imagined_again_and_the_ranking_moves(self, client: Client, service: Service) -> None:
        before = asked(client)
        calls = len(service.imaginer.calls)
        first, second = (one["id"] for one in before["imaginations"])
        edits = {"strike": [first], "negative": [second], "more_like": ["p4"], "not_this": ["p0"]}
        after = asked(client, edits=edits)
        assert len(service.imaginer.calls) == calls
        assert after["imaginations"] == []
        assert {(one["kind"], one["id"]) for one in after["edits"]} == {
            ("negative", second),
            ("more_like", "p4"),
            ("not_this", "p0"),
        }
        assert after["legs"]["edits"]["status"] == "ok"
        places = [[hit["id"] for hit in one["hits"]].index("p4") for one in (before, after)]
        assert places[1] < places[0]

    def test_what_is_not_there_any_more_is_told_and_the_rest_answers(self, client: Client) -> None:
        after = asked(client, edits={"more_like": ["gone", "p4"]})
        assert after["legs"]["edits"]["status"] == "failed"
        assert "gone" in after["legs"]["edits"]["reason"]
        assert after["hits"]


class TestRewrite:
    def test_it_tells_what_the_dialogue_becomes_and_what_would_be_sent(self, client: Client) -> None:
        answer = asked(client, "rewrite", filter={"season": "winter"})
        assert answer["reformulation"]["text"] == "a red house where is it? near a lake"
        assert answer["request"]["text"] == answer["reformulation"]["text"]
        assert len(answer["request"]["vector"]) == answer["vector"]["dimension"] == 16
        assert answer["request"]["filter"] == [{"field": "season", "operator": "any_of", "values": ["winter"]}]

    def test_it_searches_nothing(self, client: Client, service: Service) -> None:
        index = service.store.open("photos")
        before = len(index.requests)
        asked(client, "rewrite")
        assert len(index.requests) == before


class TestQuestion:
    def test_it_asks_about_what_splits_the_candidates(self, client: Client) -> None:
        answer = asked_question(client)
        assert answer["source"] in ("metadata", "caption")
        assert answer["question"].endswith("?")
        assert answer["candidates"] == 6

    def test_only_fields_that_may_be_asked_about(self, client: Client) -> None:
        answer = asked_question(client, fields=["season"])
        assert answer["why"] is None or answer["why"]["field"] in ("season", "caption", "")

    def test_a_writer_that_hangs_is_late_and_the_stored_question_stands(self) -> None:
        released = threading.Event()

        class Hanging:
            name = "hanging"

            def write(self, dialogue: Dialogue, groups: Any, suggestion: str) -> str:
                released.wait(60)
                raise ModelFailed("never")

        made = Service(writer=Hanging())
        answer = asked_question(Client(made.app), deadline_ms=800)
        assert answer["legs"]["question"]["status"] == "late"
        assert answer["source"] != "language_model"
        released.set()
        made.service.close()


def asked_question(client: Client, **body: Any) -> Any:
    response = client.post(f"{V1}/question", json=SEARCH | body)
    assert response.status_code == 200, response.text
    QuestionOut.model_validate(response.get_json())
    return response.get_json()


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
        monkeypatch.setattr("dar_search.anytime.search", None)  # a defect, from here on
        go.set()
        ((name, value),) = events(b"".join(parts).decode())
        assert name == "error"
        assert value["code"] == "internal_error"
        made.service.close()


class TestLimits:
    def test_over_the_queue_a_search_is_refused_with_the_time_to_wait(self) -> None:
        with busy_service("refuse") as client:
            response = client.post(f"{V1}/search", json=SEARCH)
            assert (response.status_code, response.get_json()["code"]) == (429, "overloaded")
            assert response.headers["Retry-After"] == "1"

    def test_or_answered_by_text_as_the_settings_say(self) -> None:
        with busy_service("text_only") as client:
            answer = asked(client)
            assert answer["legs"]["imagination"]["status"] == "failed"
            assert "under way" in answer["legs"]["imagination"]["reason"]
            assert answer["hits"]

    def test_a_gate_lets_in_who_waited_when_one_goes(self) -> None:
        gate = Gate("searches", running=1, waiting=1)
        order: list[str] = []

        def second() -> None:
            with gate.entered(60):
                order.append("second")

        waiting = threading.Thread(target=second)
        with gate.entered():
            waiting.start()
            while gate.at_the_door == 0:
                time.sleep(0.001)
            with pytest.raises(Overloaded), gate.entered(60):
                pass  # the one place at the door is taken
            order.append("first")
        waiting.join()
        assert order == ["first", "second"]

    def test_a_gate_refuses_who_waited_too_long(self) -> None:
        gate = Gate("searches", running=1, waiting=5)
        with gate.entered(), pytest.raises(Overloaded), gate.entered(0.01):
            pass
        with gate.entered():
            assert (gate.inside, gate.at_the_door) == (1, 0)


class busy_service:
    """A service whose only place is taken, with nobody allowed to wait."""

    def __init__(self, over_limit: str) -> None:
        self._go, self._inside = threading.Event(), threading.Event()

        class Held(FakeReformulator):
            def reformulate(held, dialogue: Dialogue) -> Reformulation:
                if "hold" in dialogue.caption:
                    self._inside.set()
                    self._go.wait(60)
                return super().reformulate(dialogue)

        settings = query_settings(searches=1, waiting=0, over_limit=over_limit)
        self._service = Service(settings, reformulator=Held())

    def __enter__(self) -> Client:
        client = Client(self._service.app)
        body = SEARCH | {"dialogue": {"caption": "hold"}}
        self._holder = threading.Thread(target=lambda: Client(self._service.app).post(f"{V1}/search", json=body))
        self._holder.start()
        assert self._inside.wait(60)
        return client

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._holder.join()
        self._service.service.close()


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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", headers
    server.shutdown()
    server.server_close()
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

        from dar_search.answers import Models

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
