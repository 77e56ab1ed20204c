"""The imagination cache that several services share: Redis (or Valkey)."""

from __future__ import annotations

import json
import logging
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dar_search.data import Imagination
from dar_search.errors import SettingsError
from dar_search.models import weights

_log = logging.getLogger(__name__)
_PREFIX = "dar:imagination:1:"
_HEADER = struct.Struct("<4sII")
_MAGIC = b"DARI"
_MOST_BYTES = 8 << 20
_MOST_DIMENSIONS = 16_384


class RedisImaginationCache:
    """Keeps each imagination for some days; Redis's own `maxmemory` bounds the whole.

    Never raises on use: where Redis is slow or gone, everything is a miss, and for a few seconds it is not asked again.
    """

    def __init__(self, url: str, *, days: float = 7, seconds: float = 0.25, pause: float = 5.0) -> None:
        """url: redis://, rediss:// or unix://; seconds: the longest wait for Redis; pause: after a failure, seconds.

        Raises SettingsError for an address of another kind, ModelFailed where the package is missing.
        """
        weights.require("redis", extra="redis")
        import redis

        try:
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=seconds, socket_connect_timeout=seconds, protocol=2, **_checks(url)
            )
        except ValueError as error:
            raise SettingsError(
                "The imagination cache's address is no Redis URL.", "Such as redis://host:6379/0."
            ) from error
        self._errors = (redis.RedisError, OSError)
        self._milliseconds = max(1, int(days * 86_400_000))
        self._pause = pause
        self._asleep_until = 0.0
        self._lock = threading.Lock()

    def get(self, keys: Sequence[str]) -> dict[str, Imagination]:
        values = self._asked(lambda: self._client.mget([_PREFIX + key for key in keys])) if keys else None
        found: dict[str, Imagination] = {}
        for key, value in zip(keys, values or (), strict=False):
            imagination = _read(key, value) if value else None
            if imagination is not None:
                found[key] = imagination
        return found

    def put(self, imaginations: Iterable[Imagination]) -> None:
        entries = {_PREFIX + one.id: _written(one) for one in imaginations}

        def write() -> None:
            pipeline = self._client.pipeline(transaction=False)
            for key, value in entries.items():
                if len(value) <= _MOST_BYTES:
                    pipeline.set(key, value, px=self._milliseconds)
            pipeline.execute()

        if entries:
            self._asked(write)

    def close(self) -> None:
        self._client.close()

    def _asked(self, call: Any) -> Any:
        with self._lock:
            if time.monotonic() < self._asleep_until:
                return None
        try:
            return call()
        except self._errors as error:
            with self._lock:
                self._asleep_until = time.monotonic() + self._pause
            _log.warning("The imagination cache does not answer (%s); going on without.", type(error).__name__)
            return None


def _checks(url: str) -> dict[str, bool]:
    """redis-py before 6 checks a certificate for whichever name. What the address says comes first."""
    return {"ssl_check_hostname": True} if url.startswith("rediss:") and "ssl_cert_reqs=none" not in url else {}


def _written(one: Imagination) -> bytes:
    """Magic, two lengths, a JSON head, the embedding, the picture. No pickle: others can write there."""
    head = json.dumps({"prompt": one.prompt, "seed": one.seed, "picture": one.picture is not None}).encode()
    embedding = np.ascontiguousarray(one.embedding, dtype="<f4").tobytes()
    return _HEADER.pack(_MAGIC, len(head), len(embedding)) + head + embedding + (one.picture or b"")


def _read(key: str, value: bytes) -> Imagination | None:
    """What was written, or None for anything that is not: the next to imagine it will replace it."""
    try:
        magic, head_length, length = _HEADER.unpack_from(value)
        start = _HEADER.size + head_length
        if magic != _MAGIC or length % 4 or not 0 < length // 4 <= _MOST_DIMENSIONS or len(value) < start + length:
            return None
        head = json.loads(value[_HEADER.size : start])
        embedding = np.frombuffer(value, "<f4", length // 4, start).astype(np.float32)
        prompt, seed, has_picture = head["prompt"], head["seed"], head["picture"]
    except (struct.error, ValueError, LookupError, TypeError):
        return None
    typed = isinstance(prompt, str) and isinstance(seed, int) and isinstance(has_picture, bool)
    if not typed or not abs(float(np.linalg.norm(embedding)) - 1) < 1e-3:
        return None
    return Imagination(key, embedding, prompt, seed, value[start + length :] if has_picture else None)
