"""The query service's routes, through all its layers: what they answer, and what they refuse."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client

from dar_search.client import DarClient
from dar_search.data import Dialogue, ImageRecord
from dar_search.errors import ModelFailed, RequestError
from dar_search.stores.sqlite.store import SQLiteStore
from tests.fakes import unit
from tests.query_service import SEARCH, V1, Service, asked, query_settings
from tests.query_service_http import served


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.service.close()


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.app)


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

    def test_pages_without_a_depth_are_parts_of_one_order_that_goes_on_beyond_the_services_own(
        self, tmp_path: Path
    ) -> None:
        words = ("kite", "dog", "house", "sea", "star")
        vectors = np.random.default_rng(1).standard_normal((60, 16)).astype(np.float32)
        vectors[::5] = vectors[0]
        store, settings = SQLiteStore(tmp_path / "store.sqlite"), query_settings()
        made = Service(settings.model_copy(update={"depth": 8}), store)
        index = store.create("photos", made.encoder.provenance)
        captions = [" and ".join(words[: n % 6]) for n in range(60)]
        pictures = [ImageRecord(f"p{n * 7 % 60:02d}", unit(v), "file:///x", caption=c) for n, (v, c) in
                    enumerate(zip(vectors, captions, strict=True))]  # fmt: skip
        assert index.write(pictures) == []
        ways: list[dict[str, Any]] = [{}, {"fusion": {"method": "rrf"}}, {"fusion": {"knn": 0}}, {"fusion": {"knn": 1}}]
        ways += [{"keyword": False}, {"exact": True}, {"imagine": {"count": 0}}, {"depth": 60}]
        with served(made) as address, DarClient(address, index="photos") as asking:
            for way in ways:
                pages = [asking.search(["a dog and a kite"], size=7, offset=offset, explain=offset % 2 == 1, **way).hits
                         for offset in range(0, 60 if "depth" not in way else 53, 7)]  # fmt: skip
                hits = [hit for page in pages for hit in page]
                assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
                assert len({hit.id for hit in hits}) == len(hits) == (60 if "depth" not in way else 56)
                assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
                for hit in hits:
                    if (why := hit.explanation) is not None and why.text is not None:
                        parts = why.text + sum(why.images.values()) + why.keyword + why.offset  # type: ignore[union-attr,operator]
                        assert parts == pytest.approx(hit.score, abs=1e-5)
                whole = asking.search(["a dog and a kite"], size=len(hits), **way).hits
                assert [hit.id for hit in whole] == [hit.id for hit in hits]
            with pytest.raises(RequestError, match="pages end at 10,000"):
                asking.search(["a dog"], size=1, offset=10_000)
        store.close()

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

    def test_17_megabytes_are_refused_and_two_depths_of_json_too(self, client: Client) -> None:
        response = client.post(f"{V1}/search", json=SEARCH | {"dialogue": {"caption": "x" * 17_000_000}})
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
        answer = asked(client, "question")
        assert answer["source"] in ("metadata", "caption")
        assert answer["question"].endswith("?")
        assert answer["candidates"] == 6

    def test_only_fields_that_may_be_asked_about(self, client: Client) -> None:
        answer = asked(client, "question", fields=["season"])
        assert answer["why"] is None or answer["why"]["field"] in ("season", "caption", "")

    def test_a_writer_that_hangs_is_late_and_the_stored_question_stands(self) -> None:
        released = threading.Event()

        class Hanging:
            name = "hanging"

            def write(self, dialogue: Dialogue, groups: Any, suggestion: str) -> str:
                released.wait(60)
                raise ModelFailed("never")

        made = Service(writer=Hanging())
        answer = asked(Client(made.app), "question", deadline_ms=800)
        assert answer["legs"]["question"]["status"] == "late"
        assert answer["source"] != "language_model"
        released.set()
        made.service.close()


@pytest.fixture(scope="module")
def grey() -> Iterator[Service]:
    """With pictures of three greys beside the captions."""
    made = Service()
    index = made.store.open("photos")
    for level in (40, 120, 200):
        embedding = made.encoder.encode_prepared(np.full((1, 8, 8, 3), level, np.uint8))[0]
        index.write([ImageRecord(f"grey{level}", embedding, f"file:///{level}.png", caption="a wall")])
    yield made
    made.service.close()


class TestPictures:
    """A picture that the caller brings, decoded and encoded as ingestion does it."""

    @pytest.mark.parametrize(
        ("image", "code"),
        [
            ("§", "bad_request"),
            ("AAAA=A", "bad_request"),
            (base64.b64encode(b"no picture").decode(), "not_a_picture"),
            (base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(), None),
        ],
    )
    def test_what_is_no_picture_is_the_callers_error(self, grey: Service, image: str, code: str | None) -> None:
        answer = Client(grey.app).post(f"{V1}/search", json={"index": "photos", "image": image})
        assert answer.status_code == 400
        assert answer.json is not None
        assert answer.json["code"] == code or code is None
        assert answer.json["message"]

    def test_it_finds_itself_alone_and_beside_words_on_both_routes_and_by_the_client(self, grey: Service) -> None:
        client, image = Client(grey.app), base64.b64encode(_png(120)).decode()
        alone = client.post(f"{V1}/search", json={"index": "photos", "image": image}).json
        assert alone is not None
        assert alone["hits"][0]["id"] == "grey120"
        assert alone["hits"][0]["score"] == pytest.approx(1, abs=1e-5)
        assert {name: leg["status"] for name, leg in alone["legs"].items()} == {
            "reformulation": "off", "imagination": "off", "knn": "ok", "keyword": "off",
        }  # fmt: skip
        (edit,) = alone["edits"]
        assert (edit["kind"], edit["weight"]) == ("picture", 1.0)
        both = asked(client, image=image, explain=True, size=10)
        hit = next(hit for hit in both["hits"] if hit["id"] == "grey120")
        assert hit["explanation"]["edits"][f"picture:{edit['id']}"] > 0
        assert "p0" in [hit["id"] for hit in both["hits"]]
        assert asked(client, "rewrite", image=image)["edits"] == [edit]
        with served(grey) as url, DarClient(url, index="photos") as asking:
            assert asking.search(image=_png(200)).hits[0].id == "grey200"
            assert next(iter(asking.stream(image=_png(40)))).hits[0].id == "grey40"
            with pytest.raises(RequestError, match="cannot be read"):
                asking.search(image="no such file")

    def test_with_neither_words_nor_picture_there_is_nothing_to_search_for(self, client: Client) -> None:
        answer = client.post(f"{V1}/search", json={"index": "photos"})
        assert answer.status_code == 400
        assert "neither a dialogue nor an image" in answer.text


def _png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), (level,) * 3).save(file, "PNG")
    return file.getvalue()
