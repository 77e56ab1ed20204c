"""What a client's user chooses, through the real app into its search log, and the measures from it."""

from __future__ import annotations

from pathlib import Path

from dar_search.client import DarClient
from dar_search.data import Dialogue, Turn
from dar_search.evaluation.online import evaluate_log
from tests.query_service import Service, query_settings
from tests.query_service_http import served

DIALOGUE = Dialogue("a red house", (Turn("where is it?", "near a lake"),))


def test_choices_reach_the_search_log_from_which_use_is_measured(tmp_path: Path) -> None:
    log = tmp_path / "searches.jsonl"
    with served(Service(query_settings(served_indices=("photos",), search_log=log))) as url, DarClient(url) as logged:
        first = logged.search(["a house"], conversation="c1", size=5)
        second = logged.search(DIALOGUE, conversation="c1", size=5)
        assert logged.choose(second.request_id, second.hits[1].id)
        assert first.request_id != second.request_id
    measures = evaluate_log(log)
    assert (measures["searches"], measures["choices"]) == (2, 1)
    zero, one = measures["by_round"]
    assert (zero["chosen_share"]["mean"], one["chosen_share"]["mean"], one["median_rank"]) == (0.0, 1.0, 2)
    assert measures["conversations"] == {"conversations": 1, "chosen_share": 1.0, "mean_rounds_to_choice": 1.0}
    assert {"answer", "reformulation", "imagination", "knn", "keyword"} <= set(measures["legs"])
    assert set(measures["left_out"].values()) == {0}


def test_a_service_without_a_search_log_says_that_it_keeps_nothing() -> None:
    with served(Service(query_settings(served_indices=("photos",)))) as url, DarClient(url) as client:
        answer = client.search(DIALOGUE)
        assert not client.choose(answer.request_id, answer.hits[0].id)
