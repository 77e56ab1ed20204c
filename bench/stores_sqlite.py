"""The embedded store against the least that its work costs, side by side in one run.

    python bench/stores_sqlite.py [--pictures 100000] [--dimension 512] [--rounds 40]

A search of all pictures against a bare NumPy scan of the same vectors (matrix-vector product and
argpartition), in turns, as the median of the ratios. Bound: 1.5.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from figures import figure

from dar_search.data import FloatArray, ImageRecord, Provenance
from dar_search.filters import parse_filter
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.store import SQLiteStore

BOUND = 1.5
BATCH = 256
DEPTH = 200
_WORDS = """
dog cat boat bicycle umbrella pizza horse train child woman man bus kite clock sheep
beach street river bridge kitchen field station garden mountain office
"""
THINGS, PLACES = (line.split() for line in _WORDS.strip().splitlines())
WRITE_ONE = """
import sys
import numpy as np
from pathlib import Path
from dar_search.data import ImageRecord
from dar_search.stores.sqlite.store import SQLiteStore

index = SQLiteStore(Path(sys.argv[1])).open("bench")
vector = np.zeros(index.provenance.dimension, np.float32)
vector[int(sys.argv[2])] = 1
index.write([ImageRecord("from another process", vector, "s")])
"""


def milliseconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return 1e3 * (time.perf_counter() - begun)


def record(number: int, vector: FloatArray) -> ImageRecord:
    """A picture with a caption of 10 words and four metadata fields."""
    thing, place = THINGS[number % 15], PLACES[number % 10]
    return ImageRecord(
        id=f"{number * 2654435761 % 2**32:08x}{number:08x}",
        embedding=vector,
        source=f"file:///pictures/{number}.jpg",
        origin="file:///pictures",
        digest=f"{number:064x}:{number:064x}",
        caption=f"a {thing} near the {place} with a {THINGS[number % 7]} and {number % 100} others",
        metadata={
            "year": 1950 + number % 75,
            "city": PLACES[number % 9],
            "tags": (thing, place),
            "open": number % 2 == 0,
        },
        width=640,
        height=480,
    )


def bare_scan(matrix: FloatArray, vector: FloatArray) -> np.ndarray:
    """The `DEPTH` best rows, best first."""
    scores = matrix @ vector
    best = np.argpartition(scores, -DEPTH)[-DEPTH:]
    return best[np.argsort(-scores[best])]


def interleaved(
    bare: Callable[[FloatArray], object], store: Callable[[FloatArray], object], queries: FloatArray
) -> tuple[float, float, float]:
    """Median milliseconds of both, and the median of the ratios of neighbours."""
    pairs = []
    for number, query in enumerate(queries):
        first = milliseconds(lambda query=query: bare(query)) if number % 2 else None
        second = milliseconds(lambda query=query: store(query))
        pairs.append((first if first is not None else milliseconds(lambda query=query: bare(query)), second))
    bares, stores = zip(*pairs, strict=True)
    return statistics.median(bares), statistics.median(stores), statistics.median(s / b for b, s in pairs)


def row(label: str, value: float, unit: str, note: str = "") -> None:
    print(f"{label:44s} {value:10,.2f} {unit:10s} {note}".rstrip(), flush=True)


def written(path: Path, vectors: FloatArray) -> SQLiteIndex:
    count, dimension = vectors.shape
    index = SQLiteStore(path).create("bench", Provenance("random", "0", dimension, "none"))
    records = [record(number, vectors[number]) for number in range(count)]
    took = milliseconds(lambda: [index.write(records[start : start + BATCH]) for start in range(0, count, BATCH)])
    row(f"write, {BATCH} at a time", 1e3 * count / took, "pictures/s", "each write on disk")
    row("file", sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*")) / 1e6, "MB")
    return index


def embedded(count: int, dimension: int, rounds: int) -> bool:
    """The embedded store's part; whether it keeps the bound."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = rng.standard_normal((rounds, dimension), dtype=np.float32)
    print(f"embedded store: {count:,} x {dimension}, depth {DEPTH}, medians of {rounds}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        written(path, vectors)
        index = SQLiteStore(path).open("bench")
        row(
            "first search, which reads all vectors", milliseconds(lambda: index.search(SearchRequest(queries[0]))), "ms"
        )

        def search(query: FloatArray, **more: object) -> list[str]:
            return [hit.id for hit in index.search(SearchRequest(query, depth=DEPTH, **more)).hits]  # type: ignore[arg-type]

        for query in queries[:5]:
            assert search(query) == [record(n, vectors[n]).id for n in bare_scan(vectors, query)[:10]]
        bare_ms, store_ms, ratio = interleaved(lambda q: bare_scan(vectors, q), search, queries)
        row("bare NumPy scan", bare_ms, "ms")
        row("search by vector", store_ms, "ms")
        shown = f"{ratio:.2f} ({store_ms:.1f} ms : {bare_ms:.1f} ms)"
        what = f"embedded store, search by vector, {count:,} x {dimension}, against a bare NumPy scan"
        kept = figure(what, ratio, shown, at_most=BOUND)
        informative = {
            "  with a filter (1 in 75)": {"filter": parse_filter({"year": 1999})},
            "  with a filter (1 in 2)": {"filter": parse_filter({"open": True})},
            "  with a filter (all but 1 in 75)": {"filter": parse_filter({"not": {"year": 1999}})},
            "  and by text (2 of 10 words match 1 in 5)": {"text": "dog in a kitchen"},
        }
        for label, more in informative.items():
            bare_ms, store_ms, times = interleaved(
                lambda q: bare_scan(vectors, q), lambda q, more=more: search(q, **more), queries[: max(5, rounds // 4)]
            )
            row(f"search by vector{label}", store_ms, "ms", f"{times:.2f} times the bare scan")
        refreshed = []
        for axis in range(5):
            subprocess.run([sys.executable, "-c", WRITE_ONE, str(path), str(axis)], check=True)
            refreshed.append(milliseconds(lambda: search(queries[0])))
            assert search(np.eye(1, dimension, axis, dtype=np.float32)[0])[0] == "from another process"
        row("search after one write by another process", statistics.median(refreshed), "ms", "median of 5")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    sys.exit(0 if embedded(options.pictures, options.dimension, options.rounds) else 1)


if __name__ == "__main__":
    main()
