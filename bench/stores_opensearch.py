"""The OpenSearch store against the same node asked directly, in one run, interleaved.

write   pictures a second of `index.write`, beside bulk requests serialised beforehand and sent straight to the node
        (as large, as many under way), and beside a loop over opensearch-py's `helpers.bulk`. All with captions,
        without graph merges at the end. The ratios are medians over the repetitions.
search  milliseconds that `index.search` adds to its own request bodies, serialised beforehand and sent straight to
        the node one after the other, both on the same connection pool kind; medians over the queries.
recall  recall@10 of the default settings against an exact NumPy scan, and beside other breadths, for the demo
        encoder's embeddings of drawn scenes and, for honesty, for random directions, which no graph likes.

python bench/stores_opensearch.py [write] [search] [recall] [--pictures 100000] [--gallery 20000] [--url http://...]
    [--embeddings FILE.npy: rows to take for the demo encoder's]
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
import urllib3
from figures import figure
from opensearchpy import OpenSearch, helpers
from vocabulary import words

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dar_search.bootstrap import load_encoder
from dar_search.data import FloatArray, ImageRecord, Provenance, ScoreFusion
from dar_search.demo.language import alt_text
from dar_search.demo.rendering import render
from dar_search.demo.splits import gallery
from dar_search.ports import ImageIndex, SearchRequest
from dar_search.settings import load_settings
from dar_search.stores import bodies
from dar_search.stores.node import ClusterRequest, LocalCluster
from dar_search.stores.opensearch.bulk import Action, _bodies
from dar_search.stores.opensearch.documents import index_action
from dar_search.stores.opensearch.store import OpenSearchStore

DIMENSION = 512
WRITE_BOUND, SEARCH_BOUND_MS, RECALL_BOUND = 0.9, 3.0, 0.99


def unit_rows(count: int, dimension: int, seed: int = 0) -> FloatArray:
    """Random directions, (count, dimension) float32."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def records(rows: FloatArray) -> list[ImageRecord]:
    """One record a row, with a caption of six words (see `words`)."""
    chosen = words(np.random.default_rng(1), (len(rows), 6))
    return [
        ImageRecord(f"p{number:07d}", row, f"file:///pictures/{number}.jpg", caption=" ".join(chosen[number]))
        for number, row in enumerate(rows)
    ]


@contextmanager
def new_index(store: OpenSearchStore, dimension: int) -> Iterator[ImageIndex]:
    """An empty index, dropped at the end."""
    name = f"bench-{uuid.uuid4().hex[:10]}"
    try:
        yield store.create(name, Provenance("bench", "1", dimension, "none"))
    finally:
        store.drop(name)


def straight(url: str) -> urllib3.HTTPConnectionPool:
    return urllib3.connectionpool.connection_from_url(url, maxsize=16, timeout=600)


def ask(pool: urllib3.HTTPConnectionPool, method: str, path: str, body: bytes | None) -> Any:
    answer = pool.request(method, path, body=body, headers={"content-type": "application/json"})
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {answer.data[:300]!r}")
    return orjson.loads(answer.data)


# Writing


def bench_write(store: OpenSearchStore, url: str, count: int, repeat: int) -> None:
    options = load_settings().opensearch
    pictures = records(unit_rows(count, DIMENSION))
    actions = (Action(one.id, index_action(one, one.embedding, "{}")) for one in pictures)
    prepared = [
        b"".join(action.lines for action in body) for body in _bodies(actions, int(options.bulk_megabytes * 1_000_000))
    ]
    size = sum(map(len, prepared)) / len(prepared) / 1e6
    print(
        f"\nwrite: {count:,} x {DIMENSION}, {len(prepared)} bodies of {size:.1f} MB, {options.bulk_in_flight} under way"
    )
    pool, client = straight(url), OpenSearch([url], timeout=120)

    def raw(index: ImageIndex) -> None:
        path = f"/{index.name}-write/_bulk?filter_path=errors"
        with ThreadPoolExecutor(options.bulk_in_flight) as threads:
            for answer in threads.map(lambda body: ask(pool, "POST", path, body), prepared):
                assert answer == {"errors": False}

    def naive(index: ImageIndex) -> None:
        documents = (
            {
                "_index": f"{index.name}-write", "_id": one.id, "id": one.id, "vector": one.embedding.tolist(),
                "source": one.source, "caption": one.caption,
            }
            for one in pictures
        )  # fmt: skip
        helpers.bulk(client, documents)

    ways: dict[str, Callable[[ImageIndex], Any]] = {
        "index.write": lambda index: index.write(pictures), "prepared bodies": raw, "helpers.bulk": naive
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeat):
        for name in list(ways) if turn % 2 == 0 else list(reversed(ways)):
            with new_index(store, DIMENSION) as index:
                began = time.perf_counter()
                ways[name](index)
                rates[name].append(count / (time.perf_counter() - began))
                index.refresh()
                assert index.count() == count
    for name, some in rates.items():
        ratio = statistics.median(a / b for a, b in zip(some, rates["prepared bodies"], strict=True))
        if name == "prepared bodies":
            print(f"  {name}: {statistics.median(some):.0f} pictures a second")
            continue
        what = f"OpenSearch, writing {count:,} x {DIMENSION} by {name}, against prepared bulk bodies"
        shown = f"{100 * ratio:.1f}% ({statistics.median(some):.0f} pictures a second)"
        figure(what, ratio, shown, at_least=WRITE_BOUND if name == "index.write" else None)


# Searching


def bench_search(store: OpenSearchStore, url: str, count: int, queries: int) -> None:
    print(f"\nsearch: {count:,} x {DIMENSION}, {queries} queries of each kind")
    rows = unit_rows(count, DIMENSION)
    with new_index(store, DIMENSION) as index:
        for start in range(0, count, 10_000):
            assert index.write(records(rows[start : start + 10_000])) == []
        index.refresh()
        pool = straight(url)
        texts = [" ".join(words(np.random.default_rng(n), 3)) for n in range(queries)]
        vectors = unit_rows(queries, DIMENSION, seed=9)
        kinds: dict[str, dict[str, Any]] = {
            "k-NN": {"text": None}, "k-NN + keyword, client": {}, "RRF, client": {"fusion": ScoreFusion("rrf")},
        }  # fmt: skip
        for kind, options in kinds.items():
            added, whole = [], []
            for vector, text in zip(vectors, texts, strict=True):
                request = SearchRequest(**{"vector": vector, "text": text} | options)
                sent = recorded(store, index, request)
                times = {"ours": [], "raw": []}  # type: dict[str, list[float]]
                for turn in range(4):
                    for way in ("ours", "raw") if turn % 2 else ("raw", "ours"):
                        began = time.perf_counter()
                        if way == "ours":
                            index.search(request)
                        else:
                            for method, path, body in sent:
                                ask(pool, method, path, body)
                        times[way].append(1000 * (time.perf_counter() - began))
                added.append(statistics.median(times["ours"]) - statistics.median(times["raw"]))
                whole.append(statistics.median(times["ours"]))
            ms = statistics.median(added)
            what = f"OpenSearch, search at {count:,} x {DIMENSION}, added to the raw bodies: {kind}"
            figure(what, ms, f"{ms:+.2f} ms (to {statistics.median(whole) - ms:.1f} ms)", at_most=SEARCH_BOUND_MS)


def recorded(store: OpenSearchStore, index: ImageIndex, request: SearchRequest) -> list[tuple[str, str, bytes | None]]:
    """The requests that one search sends: method, path with parameters, and body."""
    sent: list[tuple[str, str, bytes | None]] = []
    transport = store._cluster._client.transport
    perform = transport.perform_request

    def listen(method: str, path: str, params: Any = None, body: Any = None, **rest: Any) -> Any:
        sent.append((method, f"{path}?{urlencode(params)}", body))
        return perform(method, path, params=params, body=body, **rest)

    transport.perform_request = listen
    try:
        index.search(request)
    finally:
        transport.perform_request = perform
    return sent


# Recall


def bench_recall(store: OpenSearchStore, name: str, rows: FloatArray, queries: FloatArray) -> None:
    print(f"\nrecall@10: {name}, {len(rows):,} x {rows.shape[1]}, {len(queries)} queries")
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    tenth = np.sort(scores, axis=1)[:, -10]
    with new_index(store, rows.shape[1]) as index:
        for start in range(0, len(rows), 10_000):
            index.write(records(rows[start : start + 10_000]) if start == 0 else shifted(rows, start))
        index.refresh()
        default = load_settings().opensearch.index.ef_search
        for depth, ef in itertools.chain([(200, default), (10, default)], ((10, ef) for ef in (10, 50, 100, 500))):
            found = 0.0
            for query, row, lowest in zip(queries, scores, tenth, strict=True):
                request = SearchRequest(vector=query, depth=depth)
                leg = bodies.knn_leg(request, {}, engine="lucene", ef_search=ef)
                body = bodies.page_search(leg, size=10, offset=0, fields=())
                hits = store._cluster.read("POST", f"/{index.name}/_search", bodies.encode(body))["hits"]["hits"]
                # A tie with the tenth is as good as the tenth.
                found += sum(row[int(hit["_id"][1:])] >= lowest - 1e-6 for hit in hits)
            recall = found / 10 / len(queries)
            if (depth, ef) != (200, default):
                print(f"  depth {depth:4}, ef_search {ef:4}: {recall:.4f}")
                continue
            bound = None if name.startswith("random") else RECALL_BOUND  # no graph likes random directions
            what = f"HNSW recall@10 against exact, default settings, {len(rows):,} x {rows.shape[1]}, {name}"
            figure(what, recall, f"{recall:.4f}", at_least=bound)


def shifted(rows: FloatArray, start: int) -> list[ImageRecord]:
    some = rows[start : start + 10_000]
    return [ImageRecord(f"p{start + n:07d}", row, f"file:///{start + n}") for n, row in enumerate(some)]


def demo_rows(name: str, count: int, queries: int) -> tuple[FloatArray, FloatArray]:
    """An encoder's embeddings of `count` drawn scenes, and of `queries` captions of scenes among them."""
    encoder = load_encoder(load_settings(encoder=name))
    found: list[FloatArray] = []
    pictures = gallery(count)
    while batch := list(itertools.islice(pictures, 256)):
        found.append(encoder.encode_images([render(one.scene, one.render_seed) for one in batch]))
    told = [alt_text(one.scene, random.Random(one.number)) for one in gallery(queries)]
    return np.concatenate(found), encoder.encode_texts(told)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["write", "search", "recall"])
    parser.add_argument("--pictures", type=int, default=100_000, help="of the search part")
    parser.add_argument("--write-pictures", type=int, default=8_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--gallery", type=int, default=20_000)
    parser.add_argument("--encoder", default="demo")
    parser.add_argument("--url", help="a node; default: a local one is started")
    options = parser.parse_args(arguments)
    with nullcontext() if options.url else LocalCluster(ClusterRequest(heap="2g", seconds=600)) as cluster:
        url = options.url or cluster.url
        store = OpenSearchStore(url, load_settings(opensearch={"timeout": 300}))
        if "write" in options.parts:
            bench_write(store, url, options.write_pictures, options.repeat)
        if "search" in options.parts:
            bench_search(store, url, options.pictures, options.queries)
        if "recall" in options.parts:
            rows, queries = demo_rows(options.encoder, options.gallery, 200)
            bench_recall(store, f"scenes, encoder {options.encoder}", rows, queries)
            dimension = rows.shape[1]
            rows, queries = unit_rows(options.gallery, dimension), unit_rows(200, dimension, seed=7)
            bench_recall(store, "random directions", rows, queries)
        store.close()


if __name__ == "__main__":
    main()
