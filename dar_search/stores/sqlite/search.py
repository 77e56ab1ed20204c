"""Searching an index of the embedded store: the two legs, score fusion, a page of hits. All in one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, MutableSet, Sequence

import numpy as np

from dar_search.data import Hit, Leg, SearchResult
from dar_search.method.fusion import Fused, in_order, leg_range
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite import filters, full_text, reading
from dar_search.stores.sqlite.full_text import words_table
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.vectors import Keys, Scores, Snapshot
from dar_search.stores.words import words

MAX_WORDS = 1_000
_TIED_AT_ONCE = 2_000
_FOUND = np.dtype([("key", np.int64), ("score", np.float64)])


def search(
    connection: sqlite3.Connection,
    row: IndexRow,
    snapshot: Snapshot | None,
    request: SearchRequest,
    whole: MutableSet[int | str],
) -> SearchResult:
    """Answers a request that `requests.check_request` has passed.

    Args:
        snapshot: there if the request has a vector.
        whole: see `vectors.Vectors`; what is not yet among it is checked before it is used.

    Raises FilterError; sqlite3.Error.
    """
    index_id = row.id
    selection = filters.select(connection, row, request.filter, whole)
    if request.text is not None and "words" not in whole:
        full_text.check(connection, index_id, row.sealed_words)
        whole.add("words")
    candidates: dict[str, dict[str, float]] = {}
    keys: dict[str, int] = {}
    legs = {"knn": Leg("off"), "keyword": Leg("off")}
    alone = request.vector is None or request.text is None
    wanted = request.depth if request.goes_beyond else request.looked_at
    if alone:
        wanted = request.offset + request.size  # it is the ranking: what comes after the page needs no id
    for name in legs:
        started = time.perf_counter()
        if name == "knn" and request.vector is not None and snapshot is not None:
            among, without = filters.keys(connection, selection, snapshot.selected)
            found = snapshot.nearest(request.vector, max(wanted, request.joined), among, without)
        elif name == "keyword" and request.text is not None:
            found = _matches(connection, index_id, request.text, selection)
        else:
            continue
        best = _best(connection, index_id, *found, wanted)
        candidates[name] = {id: score for _, id, score in best}
        keys |= {id: key for key, id, _ in best}
        range = leg_range(_highest(found[1], request.looked_at), request.joined)
        took = 1e3 * (time.perf_counter() - started)
        legs[name] = Leg("ok", took, "", range.lowest, range.highest, None if alone else range.cut)
    page = in_order(candidates, request.fusion, slice(request.offset, request.offset + request.size), request.joined)
    return SearchResult(_hits(connection, page, keys, request), legs)


def _matches(
    connection: sqlite3.Connection, index_id: int, text: str, selection: filters.Selection
) -> tuple[Keys, Scores]:
    """All captions with any of the words, and their BM25 (k1 = 1.2, b = 0.75), which is positive."""
    query = " OR ".join(f'"{word}"' for word in words(text)[:MAX_WORDS])
    if not query:
        return np.empty(0, np.int64), np.empty(0)
    table = words_table(index_id)
    # The plus keeps SQLite from asking the full-text table again for each selected key.
    limits, values = filters.clauses(selection, "+rowid")
    sql = f"SELECT rowid, -bm25({table}) FROM {table} WHERE {table} MATCH ?{limits}"  # noqa: S608
    found = np.fromiter(connection.execute(sql, (query, *values)), _FOUND)
    return found["key"], found["score"]


def _highest(scores: Scores, count: int) -> list[float]:
    first = max(0, len(scores) - count)
    return np.partition(scores, first)[first:].tolist() if len(scores) else []


def _best(
    connection: sqlite3.Connection, index_id: int, keys: Keys, scores: Scores, count: int
) -> list[tuple[int, str, float]]:
    """(key, id, score) of the `count` highest scores; of those equal to the last, the lowest ids. In no order."""
    if len(keys) > count:
        lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
        above, equal = scores > lowest, scores == lowest
        tied = _lowest_ids(connection, index_id, keys[equal], count - int(above.sum()))
        keys = np.concatenate([keys[above], tied])
        scores = np.concatenate([scores[above], np.full(len(tied), lowest)])
    ids = reading.ids(connection, keys.tolist())
    return [(key, ids[key], score) for key, score in zip(keys.tolist(), scores.tolist(), strict=True)]


def _lowest_ids(connection: sqlite3.Connection, index_id: int, keys: Keys, count: int) -> Keys:
    if len(keys) == count:
        return keys
    if len(keys) <= _TIED_AT_ONCE:
        ids = reading.ids(connection, keys.tolist())
        return np.array(sorted(ids, key=ids.__getitem__)[:count], np.int64)
    # Many: go through the index by id until enough of them have passed.
    wanted, found = set(keys.tolist()), []
    for (key,) in connection.execute("SELECT key FROM records WHERE index_id = ? ORDER BY id", (index_id,)):
        if key in wanted:
            found.append(key)
            if len(found) == count:
                break
    return np.array(found, np.int64)


def _hits(
    connection: sqlite3.Connection, page: Sequence[Fused], keys: Mapping[str, int], request: SearchRequest
) -> tuple[Hit, ...]:
    wanted = [keys[candidate.id] for candidate in page]
    shown = reading.rows(connection, wanted)
    pictures = reading.thumbnails(connection, wanted) if request.thumbnails else {}
    hits = []
    for rank, candidate in enumerate(page, request.offset + 1):
        key = keys[candidate.id]
        hits.append(
            Hit(
                id=candidate.id,
                rank=rank,
                score=candidate.score,
                source=shown[key].source,
                caption=shown[key].caption,
                metadata=reading.metadata_of(shown[key].metadata),
                legs=candidate.legs,
                thumbnail=pictures.get(key),
            )
        )
    return tuple(hits)
