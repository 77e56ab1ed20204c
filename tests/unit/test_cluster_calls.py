"""Requests of several reads: one that fails is the whole request's trouble, and tried again where that may help."""

from __future__ import annotations

from typing import Any, cast

import pytest
from opensearchpy import OpenSearch

from dar_search.errors import IndexNotFound, StoreError, StoreUnavailable
from dar_search.stores.opensearch.cluster.calls import Cluster


class Scripted:
    """In a client's place: gives these answers, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.transport = self
        self._answers = list(answers)

    def perform_request(self, *_: Any, **__: Any) -> Any:
        return self._answers.pop(0)


def cluster(*answers: Any) -> Cluster:
    return Cluster(cast(OpenSearch, Scripted(*answers)), retry_seconds=5)


def failed(kind: str) -> dict[str, Any]:
    cause = {"type": kind, "reason": "of one part"}
    return {"error": cause | {"root_cause": [cause]}}


GOOD = {"found": True}


@pytest.mark.parametrize(("path", "parts"), [("/_msearch", "responses"), ("/photos/_mget", "docs")])
def test_a_read_of_several_is_tried_again_where_one_lost_its_node(path: str, parts: str) -> None:
    whole = {parts: [GOOD, GOOD]}
    lost = {parts: [GOOD, failed("no_shard_available_action_exception") | {"status": 503}]}
    assert cluster(lost, lost, whole).read("POST", path) == whole
    with pytest.raises(StoreUnavailable, match="of one part"):
        cluster(lost).send("POST", path)


@pytest.mark.parametrize(("path", "parts"), [("/_msearch", "responses"), ("/photos/_mget", "docs")])
def test_a_part_that_fails_for_good_is_not_taken_for_a_picture_that_is_not_there(path: str, parts: str) -> None:
    with pytest.raises(StoreError, match="of one part"):
        cluster({parts: [GOOD, failed("null_pointer_exception")]}).read("POST", path)
    gone = {parts: [failed("index_not_found_exception")]}
    with pytest.raises(IndexNotFound):
        cluster(gone, {}, gone).read("POST", path)
