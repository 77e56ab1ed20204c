"""Imaginations by their content key, so that the same is never imagined twice: the port's two adapters.

`CachedImaginer` puts a cache before any imaginer that can name its keys. A cache is a convenience: one that is full,
slow or gone costs the imagination again, never the answer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from dar_search.data import Imagination
from dar_search.errors import SettingsError
from dar_search.ports import ImaginationCache, KeyedImaginer

# What Python keeps of an imagination beside its embedding, picture and prompt; measured, rounded up.
_OVERHEAD = 1024


class MemoryImaginationCache:
    """In this process, least recently used first out. Safe for many threads."""

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        """max_bytes: of everything kept. Raises SettingsError."""
        if max_bytes < 0:
            raise SettingsError("An imagination cache cannot be smaller than nothing.", "0 turns it off.")
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, Imagination] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def get(self, keys: Sequence[str]) -> dict[str, Imagination]:
        found: dict[str, Imagination] = {}
        with self._lock:
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key] = self._kept[key]
        return found

    def put(self, imaginations: Iterable[Imagination]) -> None:
        with self._lock:
            for one in imaginations:
                if _size(one) > self._max_bytes:
                    continue
                if one.id in self._kept:
                    self._bytes -= _size(self._kept.pop(one.id))
                self._kept[one.id] = one
                self._bytes += _size(one)
                while self._bytes > self._max_bytes:
                    _, oldest = self._kept.popitem(last=False)
                    self._bytes -= _size(oldest)


class CachedImaginer:
    """An Imaginer that asks the cache first, and the imaginer only for what is missing."""

    def __init__(self, imaginer: KeyedImaginer, cache: ImaginationCache) -> None:
        self._imaginer = imaginer
        self._cache = cache

    @property
    def name(self) -> str:
        return self._imaginer.name

    def within(self, seconds: float) -> CachedImaginer:
        """The same, with so much time for what is not in the cache, where the imaginer can be told."""
        limited = getattr(self._imaginer, "within", None)
        return CachedImaginer(limited(seconds), self._cache) if limited else self

    def warm_up(self) -> None:
        """Load now what would otherwise be loaded at the first imagination, where the imaginer can."""
        warm_up = getattr(self._imaginer, "warm_up", None)
        if warm_up is not None:
            warm_up()

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        return self._imaginer.key(prompt, seed, steps)

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        keys = {one: self._imaginer.key(prompt, one, steps) for one in range(seed, seed + count)}
        found = self._cache.get(list(keys.values()))
        made: list[Imagination] = []
        for first, length in _runs([one for one, key in keys.items() if key not in found]):
            made += self._imaginer.imagine(prompt, count=length, seed=first, steps=steps)
        if made:
            self._cache.put(made)
        known = {**found, **{one.id: one for one in made}}
        # A picture that a safety checker stopped is in neither.
        return tuple(known[key] for key in keys.values() if key in known)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers -> (first, length) of each run without a gap: one call of the model each."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and sum(runs[-1]) == number:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs


def _size(imagination: Imagination) -> int:
    return imagination.embedding.nbytes + len(imagination.picture or b"") + 4 * len(imagination.prompt) + _OVERHEAD
