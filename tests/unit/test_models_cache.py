"""The imagination cache in memory, and the imaginer that asks it first."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from dar_search.data import Imagination
from dar_search.errors import ModelFailed, SettingsError
from dar_search.models.identity import imagination_id
from dar_search.models.imaginers.imagination_cache import CachedImaginer, MemoryImaginationCache


class Drawing:
    """An imaginer that remembers what it was asked; `stopped` seeds come to nothing, as with a safety checker."""

    name = "drawing"

    def __init__(self, stopped: frozenset[int] = frozenset()) -> None:
        self.asked: list[tuple[str, int, int, int | None]] = []
        self.stopped = stopped

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        return imagination_id(prompt, seed, steps)

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        self.asked.append((prompt, count, seed, steps))
        return tuple(
            _imagination(self.key(prompt, one, steps), seed=one, prompt=prompt)
            for one in range(seed, seed + count)
            if one not in self.stopped
        )


def _imagination(key: str, *, seed: int = 0, prompt: str = "p", picture: bytes | None = None) -> Imagination:
    values = np.random.default_rng(seed).normal(size=16).astype(np.float32)
    return Imagination(key, values / np.linalg.norm(values), prompt, seed, picture)


def test_the_same_is_imagined_once() -> None:
    drawing = Drawing()
    cached = CachedImaginer(drawing, MemoryImaginationCache())
    first = cached.imagine("a", count=3, seed=5, steps=2)
    second = cached.imagine("a", count=3, seed=5, steps=2)
    assert [one.id for one in first] == [one.id for one in second]
    assert drawing.asked == [("a", 3, 5, 2)]


def test_only_what_is_missing_is_asked_for_and_comes_back_in_order() -> None:
    drawing = Drawing()
    cached = CachedImaginer(drawing, MemoryImaginationCache())
    cached.imagine("a", count=2, seed=3)
    cached.imagine("a", count=1, seed=7)
    found = cached.imagine("a", count=8, seed=1)
    assert drawing.asked[2:] == [("a", 2, 1, None), ("a", 2, 5, None), ("a", 1, 8, None)]
    assert [one.seed for one in found] == list(range(1, 9))


@pytest.mark.parametrize("change", [{"prompt": "b"}, {"seed": 1}, {"steps": 3}])
def test_another_prompt_seed_or_number_of_steps_is_another_imagination(change: dict[str, object]) -> None:
    drawing = Drawing()
    cached = CachedImaginer(drawing, MemoryImaginationCache())
    asked: dict[str, object] = {"prompt": "a", "seed": 0, "steps": 2}
    cached.imagine(count=1, **asked)  # type: ignore[arg-type]
    cached.imagine(count=1, **{**asked, **change})  # type: ignore[arg-type]
    assert len(drawing.asked) == 2


def test_what_a_safety_checker_stopped_is_left_out() -> None:
    cached = CachedImaginer(Drawing(frozenset({1})), MemoryImaginationCache())
    assert [one.seed for one in cached.imagine("a", count=3, seed=0)] == [0, 2]


def test_an_error_is_passed_on_and_nothing_kept() -> None:
    class Broken(Drawing):
        def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
            raise ModelFailed("broken")

    cache = MemoryImaginationCache()
    with pytest.raises(ModelFailed):
        CachedImaginer(Broken(), cache).imagine("a", count=1, seed=0)
    assert cache.size_bytes == 0


def test_the_least_recently_used_goes_first_and_the_limit_in_bytes_holds() -> None:
    cache = MemoryImaginationCache(max_bytes=3 * 3000)
    for key in "abc":
        cache.put([_imagination(key, picture=b"x" * 1500)])
    assert set(cache.get(["a"])) == {"a"}
    cache.put([_imagination("d", picture=b"x" * 1500)])
    assert set(cache.get(list("abcd"))) == {"a", "c", "d"}
    assert cache.size_bytes <= 9000


def test_replacing_an_entry_does_not_count_it_twice_and_what_is_too_large_is_not_kept() -> None:
    cache = MemoryImaginationCache(max_bytes=10_000)
    cache.put([_imagination("a", picture=b"x" * 100)])
    size = cache.size_bytes
    cache.put([_imagination("a", picture=b"x" * 100)])
    assert cache.size_bytes == size
    cache.put([_imagination("b", picture=b"x" * 20_000)])
    assert set(cache.get(["a", "b"])) == {"a"}
    cache.put([replace(_imagination("a"), picture=b"x" * 7000)])
    assert cache.size_bytes == size - 100 + 7000


def test_a_limit_of_nothing_keeps_nothing_and_less_is_refused() -> None:
    cache = MemoryImaginationCache(max_bytes=0)
    cache.put([_imagination("a")])
    assert cache.get(["a"]) == {}
    with pytest.raises(SettingsError):
        MemoryImaginationCache(max_bytes=-1)


def test_many_threads_leave_the_count_of_bytes_right() -> None:
    cache = MemoryImaginationCache(max_bytes=30_000)

    def work(start: int) -> None:
        for number in range(200):
            cache.put([_imagination(str((start + number) % 50), picture=b"x" * (number % 400))])
            cache.get([str(number % 50)])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < cache.size_bytes <= 30_000
    kept = cache.get([str(number) for number in range(50)])
    fresh = MemoryImaginationCache(max_bytes=10**9)
    fresh.put(kept.values())
    assert fresh.size_bytes == cache.size_bytes
