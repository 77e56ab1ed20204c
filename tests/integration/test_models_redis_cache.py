"""The shared imagination cache on a real Redis server (Debian's redis-server), stopped and started under it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest
import redis

from dar_search.data import Imagination
from dar_search.errors import SettingsError
from dar_search.models.imaginers.imagination_cache import CachedImaginer
from dar_search.models.imaginers.redis_cache import RedisImaginationCache
from tests.brokers import RedisServer
from tests.unit.test_models_cache import Drawing


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"))
    yield running
    running.close()


@pytest.fixture
def cache(server: RedisServer) -> Iterator[RedisImaginationCache]:
    client = redis.Redis(port=server.port, protocol=2)
    client.flushall()
    client.close()
    kept = RedisImaginationCache(server.url, seconds=5, pause=0)
    yield kept
    kept.close()


def _imagination(key: str = "k", picture: bytes | None = b"picture") -> Imagination:
    values = np.random.default_rng(1).normal(size=64).astype(np.float32)
    return Imagination(key, values / np.linalg.norm(values), "a red cär \U0001f697", 2**31 - 1, picture)


@pytest.mark.parametrize("picture", [None, b"", b"\x00\xff picture"])
def test_what_one_service_keeps_another_finds_unchanged(
    server: RedisServer, cache: RedisImaginationCache, picture: bytes | None
) -> None:
    kept = _imagination(picture=picture)
    cache.put([kept])
    other = RedisImaginationCache(server.url, seconds=5)
    found = other.get(["absent", "k"])["k"]
    other.close()
    np.testing.assert_array_equal(found.embedding, kept.embedding)
    assert found.embedding.dtype == np.float32
    assert (found.id, found.prompt, found.seed, found.picture) == (kept.id, kept.prompt, kept.seed, picture)


def test_the_same_is_imagined_once_by_two_services(server: RedisServer, cache: RedisImaginationCache) -> None:
    first, second = Drawing(), Drawing()
    other = RedisImaginationCache(server.url, seconds=5)
    made = CachedImaginer(first, cache).imagine("a", count=4, seed=0)
    found = CachedImaginer(second, other).imagine("a", count=5, seed=0)
    other.close()
    assert second.asked == [("a", 1, 4, None)]
    assert [one.id for one in found[:4]] == [one.id for one in made]


def test_entries_do_not_live_for_ever(server: RedisServer, cache: RedisImaginationCache) -> None:
    cache.put([_imagination()])
    client = redis.Redis(port=server.port, protocol=2)
    left = client.pttl("dar:imagination:1:k")
    client.close()
    assert 0 < left <= 7 * 86_400_000


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"DARI",
        b"\x80\x04cos\nsystem\n",
        b"DARI" + b"\xff" * 100,
        b"DARI" + (2).to_bytes(4, "little") + (8).to_bytes(4, "little") + b"{}" + b"\0" * 8,
        b"DARI" + (2).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"[]" + b"\0\0\x80\x3f",
    ],
)
def test_what_somebody_else_wrote_there_is_a_miss(
    server: RedisServer, cache: RedisImaginationCache, value: bytes
) -> None:
    client = redis.Redis(port=server.port, protocol=2)
    client.set("dar:imagination:1:k", value)
    client.close()
    assert cache.get(["k"]) == {}


def test_an_embedding_that_is_not_of_unit_length_is_a_miss(cache: RedisImaginationCache) -> None:
    good = _imagination()
    cache.put([Imagination("k", good.embedding * 2, "p", 0), Imagination("n", good.embedding * np.nan, "p", 0)])
    assert cache.get(["k", "n"]) == {}


def test_a_key_of_another_type_is_a_miss(server: RedisServer, cache: RedisImaginationCache) -> None:
    client = redis.Redis(port=server.port, protocol=2)
    client.lpush("dar:imagination:1:k", "a")
    client.close()
    assert cache.get(["k"]) == {}


def test_without_redis_everything_is_imagined_and_with_it_again_kept(server: RedisServer) -> None:
    drawing = Drawing()
    cache = RedisImaginationCache(server.url, seconds=5, pause=0)
    cached = CachedImaginer(drawing, cache)
    cached.imagine("a", count=1, seed=0)
    server.stop()
    try:
        assert len(cached.imagine("a", count=2, seed=0)) == 2
    finally:
        server.start()
    cached.imagine("a", count=2, seed=0)
    cached.imagine("a", count=2, seed=0)
    cache.close()
    assert [count for _, count, _, _ in drawing.asked] == [1, 2, 2]


def test_after_a_failure_redis_is_left_alone_for_a_while(server: RedisServer) -> None:
    cache = RedisImaginationCache(server.url, seconds=5, pause=3600)
    server.stop()
    try:
        assert cache.get(["k"]) == {}
    finally:
        server.start()
    cache.put([_imagination()])
    cache.close()
    client = redis.Redis(port=server.port, protocol=2)
    size = client.dbsize()
    client.close()
    assert size == 0


def test_a_server_that_does_not_answer_costs_no_more_than_its_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cache = RedisImaginationCache(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", seconds=0.1)
        assert cache.get(["k"]) == {}
        cache.close()


def test_an_address_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsError) as caught:
        RedisImaginationCache("http://user:secret@host/0")
    assert "secret" not in str(caught.value)
