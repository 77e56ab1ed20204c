"""The same evaluation on arrays, SQLite and OpenSearch: the same ranks where the search is exact, near them on HNSW."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dar_search.evaluation.measures import recall_at_k
from dar_search.evaluation.ranking import StoreRanker, stored_gallery
from dar_search.evaluation.runs import Ranked
from dar_search.evaluation.variants import Variant
from dar_search.ports import ImageIndex, SearchRequest
from dar_search.settings import load_settings
from dar_search.stores.opensearch.index import OpenSearchIndex
from dar_search.stores.opensearch.store import OpenSearchStore
from dar_search.stores.sqlite.store import SQLiteStore
from tests.evaluation_world import rank
from tests.fakes import FakeEncoder, unit

PICTURES, DIALOGUES, ROUNDS, DEPTH = 3_000, 250, 3, 50
WORDS = [f"word{number}" for number in range(60)]
ENCODER = FakeEncoder(dimension=32)
FEW: dict[str, Any] = {
    "trec_depth": 0,
    "examples": 0,
    "raw_text": False,
    "imagination": {"kind": "none"},
    "schedules": ["text-only"],
    "bootstrap_samples": 100,
    "dialogues": {"path": "dialogues.json", "rounds": ROUNDS},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of eight words each with noise of their own: a dialogue finds its picture in about every second case."""
    folder = tmp_path_factory.mktemp("stores")
    rng, noise = random.Random(5), np.random.default_rng(5)
    pictures = [rng.sample(WORDS, 8) for _ in range(PICTURES)]
    rows = ENCODER.encode_texts([" ".join(words) for words in pictures])
    rows = rows + noise.normal(scale=0.9 / np.sqrt(rows.shape[1]), size=rows.shape)
    names = [f"{number:05d}.jpg" for number in range(PICTURES)]
    np.save(folder / "gallery.npy", np.stack([unit(row) for row in rows]))
    (folder / "names.json").write_text(json.dumps(names))
    dialogues = [
        {
            "img": names[number],
            "dialog": [" ".join(words[:3]), *(f"what else? {word}" for word in words[3 : 3 + ROUNDS])],
        }
        for number, words in enumerate(pictures[:DIALOGUES])
    ]
    (folder / "dialogues.json").write_text(json.dumps(dialogues))
    return folder


@pytest.fixture(scope="module")
def arrays(world: Path) -> Ranked:
    return rank(world, world / "arrays", **FEW)


@pytest.fixture(scope="module")
def sqlite_index(world: Path, arrays: Ranked) -> Iterator[ImageIndex]:
    store = SQLiteStore(world / "gallery.sqlite")
    yield stored_gallery(store, arrays.gallery, ENCODER.provenance)
    store.close()


@pytest.fixture(scope="module")
def opensearch_index(opensearch_url: str, arrays: Ranked) -> Iterator[OpenSearchIndex]:
    store = OpenSearchStore(opensearch_url, load_settings())
    index = stored_gallery(store, arrays.gallery, ENCODER.provenance)
    assert isinstance(index, OpenSearchIndex)
    yield index
    store.drop(index.name)
    store.close()


def found(world: Path, output: Path, arrays: Ranked, index: ImageIndex, *, exact: bool) -> Ranked:
    ranker = StoreRanker(index, arrays.gallery, exact=exact, depth=DEPTH, address=index.name)
    return rank(world, output, ranker=ranker, **FEW)


def text_ranks(ranked: Ranked) -> np.ndarray:
    """(dialogues, rounds) of the text alone; what is further down than the stores were asked for is a miss."""
    ranks = next(iter(ranked.ranks[Variant("text-only")].values()))
    return np.where(ranks <= DEPTH, ranks, np.inf)


def assert_same_up_to_ties(arrays: Ranked, other: Ranked) -> None:
    """A rank may differ only by pictures whose score is the target's within 1e-6: sums are added in another order."""
    ours, theirs = text_ranks(arrays), text_ranks(other)
    queries = arrays.queries(Variant("text-only"), 0)
    for dialogue, number in np.argwhere(ours != theirs):
        scores = arrays.gallery.embeddings @ queries[dialogue, number]
        near = int((np.abs(scores - scores[arrays.targets[dialogue]]) <= 1e-6).sum())
        moved = np.minimum(ours, DEPTH + 1)[dialogue, number] - np.minimum(theirs, DEPTH + 1)[dialogue, number]
        assert abs(moved) < near
    assert (ours != theirs).mean() < 0.005


def test_the_world_is_neither_too_easy_nor_too_hard_to_tell_rankings_apart(arrays: Ranked) -> None:
    recall = recall_at_k(text_ranks(arrays), 10).mean(axis=0)
    assert 0.05 < recall[0] < recall[-1] < 0.95
    assert (text_ranks(arrays) < np.inf).mean() > 0.4


def test_sqlite_ranks_as_the_arrays_do(world: Path, tmp_path: Path, arrays: Ranked, sqlite_index: ImageIndex) -> None:
    assert_same_up_to_ties(arrays, found(world, tmp_path, arrays, sqlite_index, exact=True))


def test_exact_opensearch_ranks_as_the_arrays_do(
    world: Path, tmp_path: Path, arrays: Ranked, opensearch_index: OpenSearchIndex
) -> None:
    assert_same_up_to_ties(arrays, found(world, tmp_path, arrays, opensearch_index, exact=True))


def test_hnsw_keeps_recall_at_10_within_half_a_point(
    world: Path, tmp_path: Path, arrays: Ranked, opensearch_index: OpenSearchIndex
) -> None:
    """1,000 queries: half a point is five of them."""
    approximate = found(world, tmp_path, arrays, opensearch_index, exact=False)
    ours, theirs = (recall_at_k(text_ranks(one), 10) for one in (arrays, approximate))
    lost = 100 * (ours.mean() - theirs.mean())
    differ = int((ours != theirs).sum())
    print(f"Recall@10: exact {100 * ours.mean():.2f}, HNSW {100 * theirs.mean():.2f}; {differ} of {ours.size} differ")
    assert ours.size == 1_000
    assert abs(lost) <= 0.5


def test_hnsw_is_another_search_than_the_exact_one(opensearch_index: OpenSearchIndex, arrays: Ranked) -> None:
    """Otherwise the test above would compare the exact search with itself."""
    query = arrays.queries(Variant("text-only"), 0)[0, 0]
    sent = [
        json.dumps(opensearch_index.described(SearchRequest(vector=query, exact=exact)), default=str)
        for exact in (True, False)
    ]
    assert "script_score" in sent[0]
    assert "script_score" not in sent[1]
