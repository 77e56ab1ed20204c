"""The targets' ranks: exact over arrays, or from a store's own rankings.

The tie rule of both is that of `measures`: equal scores rank by id, ascending.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dar_search.data import FloatArray, ImageRecord, Provenance
from dar_search.errors import IndexNotFound, StoreError
from dar_search.evaluation.galleries import Gallery
from dar_search.evaluation.measures import Ranks
from dar_search.ports import ImageIndex, SearchRequest, Store

BLOCK = 128
Progress = Callable[[int], None]


def _silent(done: int) -> None:
    return None


class Ranker(Protocol):
    """Ranks pictures by their inner product with a query.

    Attributes:
        key: what its results depend on, beside the queries.
        depth: a target further down has rank infinity.
        took_ms: milliseconds of each search so far.
    """

    key: str
    depth: int
    took_ms: list[float]

    def ranks(self, queries: FloatArray, targets: NDArray[np.intp], progress: Progress = _silent) -> Ranks:
        """(n, d) queries and the row of each one's target -> (n,) ranks."""
        ...

    def top(self, queries: FloatArray, k: int) -> tuple[NDArray[np.intp], FloatArray]:
        """(n, d) queries -> rows of the gallery (n, k) and their scores (n, k), best first.

        In the order that `ranks` counts in where it is asked for the same blocks of `BLOCK` queries: the last bit of a
        score may depend on how many are asked for together.
        """
        ...


class ArrayRanker:
    """Exact, in memory: a matrix product a block of queries, then two counts a query, no sorting.

    A matrix product may give equal pictures scores that differ in the last bit, by their place (seen with OpenBLAS for
    a single query): those of a picture that is there before are its scores.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._columns = gallery.embeddings.T
        self._count = len(gallery.names)
        first: dict[bytes, int] = {}
        digests = (hashlib.blake2b(row.data, digest_size=16).digest() for row in gallery.embeddings)
        same_as = np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], np.intp)
        self._again = np.flatnonzero(same_as != np.arange(self._count))
        self._before = same_as[self._again]
        self.key = f"arrays, equal ones alike, {gallery.key}"
        self.depth = self._count
        self.took_ms: list[float] = []

    def ranks(self, queries: FloatArray, targets: NDArray[np.intp], progress: Progress = _silent) -> Ranks:
        out = np.empty(len(queries))
        scores = np.empty((BLOCK, self._count), np.float32)
        for start in range(0, len(queries), BLOCK):
            begun = time.perf_counter()
            block = queries[start : start + BLOCK]
            rows = self._scored(block, scores[: len(block)])
            for row, target in enumerate(targets[start : start + len(block)]):
                out[start + row] = _rank(rows[row], int(target))
            self.took_ms.append(1000 * (time.perf_counter() - begun) / len(block))
            progress(len(block))
        return out

    def top(self, queries: FloatArray, k: int) -> tuple[NDArray[np.intp], FloatArray]:
        k = min(k, self._count)
        rows = np.empty((len(queries), k), np.intp)
        best = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), BLOCK):
            block = queries[start : start + BLOCK]
            scores = self._scored(block, np.empty((len(block), self._count), np.float32))
            for row, line in enumerate(scores, start):
                # Everything at least as good as the k-th, so that ties at the edge are broken by id too.
                edge = np.partition(line, self._count - k)[self._count - k]
                candidates = np.flatnonzero(line >= edge)
                rows[row] = candidates[np.argsort(-line[candidates], kind="stable")][:k]
                best[row] = line[rows[row]]
        return rows, best

    def _scored(self, block: FloatArray, out: FloatArray) -> FloatArray:
        np.matmul(block, self._columns, out=out)
        out[:, self._again] = out[:, self._before]
        return out


def _rank(scores: FloatArray, target: int) -> int:
    score = scores[target]
    rank = 1 + int(np.count_nonzero(scores > score))
    return rank + int(np.count_nonzero(scores[:target] == score))


class StoreRanker:
    """A store's own rankings, one search a query."""

    def __init__(self, index: ImageIndex, gallery: Gallery, *, exact: bool, depth: int, address: str) -> None:
        self._index = index
        self._rows = gallery.rows_by_id()
        self._exact = exact
        self.depth = min(depth, len(gallery.names))
        self.key = f"{address} {'exact' if exact else 'approximate'} {self.depth} {gallery.key}"
        self.took_ms: list[float] = []

    def ranks(self, queries: FloatArray, targets: NDArray[np.intp], progress: Progress = _silent) -> Ranks:
        out = np.full(len(queries), np.inf)
        for position, (query, target) in enumerate(zip(queries, targets, strict=True)):
            found = np.flatnonzero(self._search(query, self.depth)[0] == target)
            if len(found):
                out[position] = found[0] + 1
            progress(1)
        return out

    def top(self, queries: FloatArray, k: int) -> tuple[NDArray[np.intp], FloatArray]:
        k = min(k, self.depth)
        found = [self._search(query, k) for query in queries]
        short = [rows for rows, _ in found if len(rows) < k]
        if short:
            raise StoreError(f"The store gave {len(short[0])} hits instead of {k}.", "Is the index complete?")
        return np.stack([rows for rows, _ in found]), np.stack([scores for _, scores in found])

    def _search(self, query: FloatArray, size: int) -> tuple[NDArray[np.intp], FloatArray]:
        begun = time.perf_counter()
        result = self._index.search(SearchRequest(vector=query, size=size, depth=self.depth, exact=self._exact))
        self.took_ms.append(1000 * (time.perf_counter() - begun))
        rows = np.array([self._rows[hit.id] for hit in result.hits], np.intp)
        return rows, np.array([hit.score for hit in result.hits], np.float32)


def stored_gallery(store: Store, gallery: Gallery, provenance: Provenance) -> ImageIndex:
    """The gallery as an index of the store, written now unless it is there whole; under the gallery's ids."""
    name = f"evaluation-{gallery.key[:24]}"
    try:
        index = store.open(name, provenance)
    except IndexNotFound:
        index = store.create(name, provenance)
    if index.count() != len(gallery.names):
        for start in range(0, len(gallery.names), 1000):
            _write(index, gallery, range(start, min(start + 1000, len(gallery.names))))
        index.refresh()
    return index


def _write(index: ImageIndex, gallery: Gallery, rows: Sequence[int]) -> None:
    records = [ImageRecord(gallery.ids[row], gallery.embeddings[row], source=gallery.names[row]) for row in rows]
    refused = index.write(records)
    if refused:
        _, failure = refused[0]
        raise StoreError(f"The store refused {len(refused)} of the gallery's pictures: {failure.message}")
