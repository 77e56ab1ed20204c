"""The Python client against the real app over HTTP."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dar_search.client import DarClient
from dar_search.data import Dialogue, Turn
from dar_search.errors import (
    DarError,
    DialogueError,
    FilterError,
    IndexNotFound,
    RequestError,
    RouteNotFound,
    Unauthenticated,
)
from tests.query_service import CAPTIONS, Service, query_settings
from tests.query_service_http import served

DIALOGUE = Dialogue("a red house", (Turn("where is it?", "near a lake"),))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = query_settings({"keys": {"tests": "a-key-of-the-tests-0123456789"}}, served_indices=("photos",))
    with served(Service(settings)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[DarClient]:
    with DarClient(url, key="a-key-of-the-tests-0123456789", index="photos", timeout=60) as client:
        yield client


def test_a_search_brings_hits_legs_and_what_edits_name(client: DarClient) -> None:
    answer = client.search(DIALOGUE, size=3, explain=True, fields=["caption", "metadata"])
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    best = answer.hits[0]
    assert best.caption == CAPTIONS[0]
    assert best.metadata == {"season": "summer", "year": 2000.0}
    assert best.source == ""
    assert best.legs["knn"].rank == 1
    parts = best.explanation
    assert parts is not None
    assert parts.text is not None
    assert parts.images is not None
    assert parts.offset is not None
    total = parts.text + sum(parts.images.values()) + parts.keyword + parts.offset
    assert total == pytest.approx(best.score, abs=1e-5)
    assert answer.legs["knn"].status == answer.legs["imagination"].status == "ok"
    assert answer.imagined
    assert answer.final
    assert answer.request_id == answer.raw["request_id"] != ""
    struck = client.search(DIALOGUE, edits={"strike": [one["id"] for one in answer.raw["imaginations"]]})
    assert not struck.imagined
    assert struck.legs["imagination"].status == "off"


@pytest.mark.parametrize(
    "dialogue",
    [
        ["a red house", "where is it? near a lake"],
        {"caption": "a red house", "turns": [{"question": "where is it?", "answer": "near a lake"}]},
        "a red house\nwhere is it? near a lake",
    ],
)
def test_every_form_of_a_dialogue_is_the_same(client: DarClient, dialogue: Any) -> None:
    ours, other = client.search(DIALOGUE), client.search(dialogue)
    assert other.text == ours.text
    assert [hit.id for hit in other.hits] == [hit.id for hit in ours.hits]


def test_options_may_be_numbers_of_numpy(client: DarClient) -> None:
    plain = client.search(DIALOGUE, size=2, weights={"text": 0.5, "image": 1}, fusion={"knn": 1})
    weights = {"text": np.float32(0.5), "image": np.int64(1)}
    same = client.search(DIALOGUE, size=np.int64(2), weights=weights, fusion={"knn": np.float64(1)})
    assert same.hits == plain.hits


def test_a_stream_brings_the_texts_answer_first_and_the_imagined_one_last(client: DarClient) -> None:
    answers = list(client.stream(DIALOGUE, size=3))
    assert [(one.imagined, one.final) for one in answers] == [(False, False), (True, True)]
    assert answers[0].request_id == answers[1].request_id
    assert "moved" in answers[1].raw


def test_a_stream_that_is_left_early_leaves_the_client_usable(client: DarClient) -> None:
    stream = client.stream(DIALOGUE)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert client.search(DIALOGUE).hits


def test_rewrite_says_what_would_be_sent_and_question_what_to_ask(client: DarClient) -> None:
    rewriting = client.rewrite(DIALOGUE)
    assert rewriting["reformulation"]["text"]
    question = client.question(["a house"], candidates=6)
    assert question.text.endswith("?")
    assert question.source == "metadata"
    assert question.why is not None
    assert question.candidates == 6


def test_many_threads_share_a_client(client: DarClient) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(client.search(DIALOGUE).hits[0].id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["p0"] * 8


def test_the_services_errors_come_back_as_they_are_with_the_request_id(client: DarClient, url: str) -> None:
    with pytest.raises(IndexNotFound) as caught:
        client.search(DIALOGUE, index="elsewhere")
    assert caught.value.hint
    assert caught.value.request_id  # type: ignore[attr-defined]
    with pytest.raises(FilterError):
        client.search(DIALOGUE, filter={"a": {"nothing": 1}})
    with pytest.raises(RequestError, match="size"):
        client.search(DIALOGUE, size=0)
    with DarClient(url) as stranger, pytest.raises(Unauthenticated):
        stranger.search(DIALOGUE)
    with DarClient(f"{url}/deeper", key="a-key-of-the-tests-0123456789") as lost, pytest.raises(RouteNotFound):
        lost.search(DIALOGUE)


def test_what_does_not_read_is_refused_before_it_is_sent() -> None:
    with DarClient("http://127.0.0.1:9") as nowhere:
        with pytest.raises(DialogueError):
            nowhere.search([])
        with pytest.raises(RequestError, match="JSON"):
            nowhere.search(DIALOGUE, filter={"a": object()})


def test_readiness(client: DarClient) -> None:
    assert client.ready()
    with DarClient("http://127.0.0.1:9") as nowhere:
        assert not nowhere.ready()


@pytest.mark.parametrize("url", ["ftp://a", "127.0.0.1:8950", "http://", "http://user:word@a", "http://a?b=c"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="address"):
        DarClient(url)


def test_every_error_of_the_tree_has_a_code_of_its_own() -> None:
    """Otherwise a problem's code could come back as another error."""
    from dar_search.client.answers import _BY_CODE, _subclasses

    assert len(_BY_CODE) == len(list(_subclasses(DarError)))


def test_the_client_loads_no_model_library() -> None:
    code = "import sys, dar_search.client; print([m for m in ('torch', 'flask', 'transformers') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert shown.stdout.strip() == "[]"
