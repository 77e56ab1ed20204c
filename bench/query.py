"""What the query service adds to a search that is sent straight to the node, in one run, interleaved.

A search through the service (POST /_dar/v1/search, over HTTP, kept-alive) beside the very requests that it sends to the
node, recorded beforehand and sent straight there; imaginations are cached. The service is the real one, its models
weigh nothing (see light_service.py): the service is measured, not a model, nor the way to a model's process.

added  milliseconds of the service's answers over the raw requests', which are sent twice around each of them: p50 of
       the differences, and how far apart the p99 of both are. Bounds: 5 and 15. The p99 of the differences is beside
       it, and so is that between one raw request and the next, which is the node's alone.
flat   medians of searches with 16 imaginations to those with one, and of round 10 to round 1: the service's ratio over
       that of the raw requests. Bound: 1.05. A longer dialogue is a longer text for the keyword leg, which costs the
       node, whoever sends it: both ratios are shown, and those of searches by vector alone.

    python bench/query.py [--pictures 100000] [--queries 60] [--repeat 5] [--url http://...]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import urllib3
from dar_query_rewriter.asking import SearchIn, asked_from
from figures import figure
from light_service import DIMENSION, PROVENANCE, light_models, running
from stores_opensearch import ask, new_index, recorded, records, straight, unit_rows
from vocabulary import words

from dar_search.answering.anytime import AnytimeSearcher
from dar_search.method.retrieval import search_request
from dar_search.ports import ImageIndex
from dar_search.serving.metrics import Metrics
from dar_search.settings import load_settings
from dar_search.stores.node import ClusterRequest, LocalCluster
from dar_search.stores.opensearch.store import OpenSearchStore

ROUNDS = 10
WARM_UP = 10  # dialogues beforehand, for the node's compiler and its files
P50_BOUND, P99_BOUND, FLAT_BOUND = 5.0, 15.0, 1.05
#: Far from the deadline, so that no answer is hedged or degraded by a slow machine.
DEADLINE_MS = 20_000
Sent = list[tuple[str, str, bytes | None]]


@dataclass(frozen=True)
class Kind:
    """How the searches of a kind differ from the others."""

    round: int = 1
    images: int = 1
    keyword: bool = True

    def __str__(self) -> str:
        return f"round {self.round:2}, {self.images:2} imagined{'' if self.keyword else ', by vector alone'}"

    def body(self, index: str, number: int) -> dict[str, Any]:
        """What the service is asked; dialogue `number` has the same words in every kind."""
        chance = np.random.default_rng(number)
        caption = " ".join(words(chance, 3))
        said = words(chance, ROUNDS)
        turns = [{"question": "what else is in the picture?", "answer": f"a {word}"} for word in said[: self.round]]
        return {
            "index": index, "dialogue": {"caption": caption, "turns": turns}, "imagine": {"count": self.images},
            "keyword": self.keyword, "deadline_ms": DEADLINE_MS,
        }  # fmt: skip


BASE, IMAGES, ROUND = Kind(), Kind(images=16), Kind(round=ROUNDS)
BASE_ALONE, IMAGES_ALONE, ROUND_ALONE = (Kind(one.round, one.images, False) for one in (BASE, IMAGES, ROUND))
KINDS = (BASE, Kind(images=4), IMAGES, Kind(round=5), ROUND, BASE_ALONE, IMAGES_ALONE, ROUND_ALONE)
FLAT = {
    "16 imaginations to 1": (IMAGES, BASE),
    "round 10 to round 1": (ROUND, BASE),
    "16 imaginations to 1, by vector alone": (IMAGES_ALONE, BASE_ALONE),
    "round 10 to round 1, by vector alone": (ROUND_ALONE, BASE_ALONE),
}


@dataclass
class Times:
    """Milliseconds, in threes that were taken one right after the other."""

    service: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)

    @property
    def added(self) -> list[float]:
        return [one - other for one, other in zip(self.service, self.raw, strict=True)]

    @property
    def of_the_node(self) -> list[float]:
        return [one - other for one, other in zip(self.again, self.raw, strict=True)]


class Asker:
    """Asks the service on one connection that is kept."""

    def __init__(self, address: str) -> None:
        self._pool = urllib3.connectionpool.connection_from_url(address, timeout=60, retries=False)

    def post(self, route: str, content: bytes) -> Any:
        headers = {"content-type": "application/json"}
        answer = self._pool.request("POST", f"/_dar/v1/{route}", body=content, headers=headers)
        if answer.status != 200:
            raise SystemExit(f"{route}: {answer.status} {answer.data[:300]!r}")
        return orjson.loads(answer.data)


class Recorder:
    """What the service sends to the node for a body, found by the service's own code in this process."""

    def __init__(self, store: OpenSearchStore, index: ImageIndex) -> None:
        self._store, self._index, self._settings = store, index, load_settings()
        self._searcher = AnytimeSearcher(light_models(Metrics()))

    def sent(self, body: dict[str, Any]) -> Sent:
        asked = asked_from(SearchIn.model_validate(body), self._settings)
        query = self._searcher.rewrite(asked)
        request = search_request(query, asked.options)
        while True:
            self._index.search(request)  # reads what the store knows of the index, where that is old
            sent = recorded(self._store, self._index, request)
            if all(method != "GET" for method, _, _ in sent):  # such a reading, which is not part of each search
                return sent


def check(asker: Asker, body: dict[str, Any], sent: Sent) -> None:
    """That the service would send just this, and answers with every leg; its imaginations are cached from here on."""
    for _ in range(2):
        answer = asker.post("search", orjson.dumps(body))
        degraded = {name: leg for name, leg in answer["legs"].items() if leg["status"] not in ("ok", "off")}
        if degraded or not answer["imagined"] or not answer["hits"]:
            raise SystemExit(f"An answer lacks something: {degraded or answer}")
    if len(answer["imaginations"]) != body["imagine"]["count"]:
        raise SystemExit(f"{len(answer['imaginations'])} imaginations for {body['imagine']}.")
    shown = asker.post("rewrite", orjson.dumps(body))["request"]
    method, path, content = sent[0]
    ours = [orjson.loads(line) for line in (content or b"").splitlines()]
    whole = ours if shown["path"].endswith("/_msearch") else ours[0]
    if (shown["method"], shown["path"], shown["body"]) != (method, path.partition("?")[0], whole):
        raise SystemExit(f"The service would send something else than was recorded: {str(shown)[:500]}")


def measured(asker: Asker, recorder: Recorder, url: str, index: str, numbers: range, repeat: int) -> dict[Kind, Times]:
    """Of the dialogues with these numbers, `repeat` pairs of each in each kind."""
    pool, times = straight(url), {kind: Times() for kind in KINDS}
    order = np.random.default_rng(4)
    for number in numbers:
        asked: dict[Kind, tuple[bytes, Sent]] = {}
        for kind in KINDS:
            body = kind.body(index, number)
            asked[kind] = orjson.dumps(body), recorder.sent(body)
            check(asker, body, asked[kind][1])
        for turn in range(repeat):
            for place in order.permutation(len(KINDS)):
                kind = KINDS[place]
                content, sent = asked[kind]

                def ours(content: bytes = content) -> None:
                    asker.post("search", content)

                def raw(sent: Sent = sent) -> None:
                    for method, path, body in sent:
                        ask(pool, method, path, body)

                orders = ((raw, raw, ours), (raw, ours, raw), (ours, raw, raw))
                ways = orders[(turn + number) % len(orders)]
                took = [(way, milliseconds(way)) for way in ways]
                first, second = (spent for way, spent in took if way is raw)
                times[kind].raw.append(first)
                times[kind].again.append(second)
                times[kind].service += [spent for way, spent in took if way is ours]
    return times


def milliseconds(way: Callable[[], None]) -> float:
    began = time.perf_counter()
    way()
    return 1000 * (time.perf_counter() - began)


def report(times: dict[Kind, Times], size: str) -> None:
    print(f"  {'':38} {'service':>15}   {'raw requests':>15}   {'added':>15}   ms: p50, p99")
    for kind, some in times.items():
        parts = (some.service, some.raw, some.added)
        print(
            f"  {kind!s:38} " + "   ".join("{:7.2f} {:7.2f}".format(*np.percentile(part, (50, 99))) for part in parts)
        )
    p50, pairs = np.percentile(times[BASE].added, (50, 99))
    node = np.percentile(times[BASE].of_the_node, 99)
    whole = np.percentile(times[BASE].service, 99) - np.percentile(times[BASE].raw + times[BASE].again, 99)
    print()
    figure(f"query service, added to the raw requests at {size}, p50", p50, f"{p50:.2f} ms", at_most=P50_BOUND)
    shown = f"{whole:.2f} ms (of the differences: {pairs:.1f} ms; between two raw requests: {node:.1f} ms)"
    figure(f"query service, its p99 less the raw requests' at {size}", whole, shown, at_most=P99_BOUND)
    every = list(itertools.chain.from_iterable(some.added for some in times.values()))
    print("  over all kinds of search: p50 {:.2f} ms, p99 {:.2f} ms".format(*np.percentile(every, (50, 99))))
    for name, (one, other) in FLAT.items():
        ratio = statistics.median(times[one].service) / statistics.median(times[other].service)
        raw = statistics.median(times[one].raw) / statistics.median(times[other].raw)
        shown = f"{ratio / raw:.3f} (whole searches {ratio:.3f}, the raw requests alone {raw:.3f})"
        figure(f"query service, {name}, beyond the raw requests' own", ratio / raw, shown, at_most=FLAT_BOUND)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=5, help="pairs of each query and kind")
    parser.add_argument("--url", help="a node; default: a local one is started")
    options = parser.parse_args(arguments)
    if min(options.pictures, options.queries, options.repeat) < 1:
        parser.error("--pictures, --queries and --repeat are at least 1")
    with nullcontext() if options.url else LocalCluster(ClusterRequest(heap="2g", seconds=600)) as cluster:
        url = options.url if cluster is None else cluster.url
        store = OpenSearchStore(url, load_settings(opensearch={"timeout": 300}))
        pictures = records(unit_rows(options.pictures, DIMENSION))
        print(
            f"query service: {options.pictures:,} x {DIMENSION}, {len(KINDS)} kinds of search, "
            f"{options.queries} queries of each, {options.repeat} pairs of each query"
        )
        with new_index(store, DIMENSION) as index, tempfile.TemporaryDirectory() as folder:
            if index.provenance != PROVENANCE:
                raise SystemExit(f"The index is of {index.provenance}, the service's encoder of {PROVENANCE}.")
            for start in range(0, len(pictures), 10_000):
                if refused := index.write(pictures[start : start + 10_000]):
                    raise SystemExit(f"{len(refused)} pictures were refused: {refused[0]}")
            index.refresh()
            with running(url, index.name, Path(folder)) as service:
                asker, recorder = Asker(service.address), Recorder(store, index)
                queries = options.queries
                measured(asker, recorder, url, index.name, range(queries, queries + WARM_UP), 2)
                size = f"{options.pictures:,} x {DIMENSION}"
                report(measured(asker, recorder, url, index.name, range(queries), options.repeat), size)
        store.close()


if __name__ == "__main__":
    main()
