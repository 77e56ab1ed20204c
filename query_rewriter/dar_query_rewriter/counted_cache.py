"""An imagination cache that counts what it had and what it had not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dar_search.data import Imagination
from dar_search.ports import ImaginationCache
from dar_search.serving.metrics import Metrics


class CountedCache:
    """`ports.ImaginationCache` around another; `dar_imaginations_total` by source: "cache", or "made"."""

    def __init__(self, cache: ImaginationCache, metrics: Metrics) -> None:
        self._cache = cache
        self._had, self._lacked = (metrics.imaginations.labels(source) for source in ("cache", "made"))

    def get(self, keys: Sequence[str]) -> dict[str, Imagination]:
        found = self._cache.get(keys)
        self._had.inc(len(found))
        self._lacked.inc(len(keys) - len(found))
        return found

    def put(self, imaginations: Iterable[Imagination]) -> None:
        self._cache.put(imaginations)
