"""The query service as `dar serve` runs it (gunicorn, all layers, default limits), over models that weigh nothing.

    python bench/light_service.py STORE INDEX

The encoder and the imaginer are random numbers drawn from the text's digest, in the service's own process: neither a
model's time nor the way to a model's process is in what is measured. The rules, the imagination cache, the searcher
and all that is between the socket and the store are the real ones. For bench/query.py and bench/load.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b, shake_128
from pathlib import Path

import numpy as np
import urllib3
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dar_query_rewriter.counted_cache import CountedCache
from dar_query_rewriter.service import QueryService
from dar_query_rewriter.serving import served

from dar_search.answering.answers import Models
from dar_search.bootstrap import open_store
from dar_search.data import FloatArray, Imagination, Provenance
from dar_search.models.imaginers.imagination_cache import CachedImaginer, MemoryImaginationCache
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.preparation import Preparation
from dar_search.serving.metrics import Metrics
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import Settings, load_settings

DIMENSION = 512
#: As stores_opensearch.new_index makes its indices.
PROVENANCE = Provenance("bench", "1", DIMENSION, "none")
_READY_SECONDS = 120


class LightEncoder:
    """A text's embedding is random, the same each time. Keeps nothing, so that the service's memory is its own."""

    preparation = Preparation(8, 8)
    provenance = PROVENANCE

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([_direction(text) for text in texts])

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        raise NotImplementedError("no picture is encoded here")

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        raise NotImplementedError("no picture is encoded here")


class LightImaginer:
    """Imagines at once: random embeddings, no pictures."""

    name = "light"

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        return blake2b(f"{prompt}\n{seed}\n{steps}".encode(), digest_size=16).hexdigest()

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        keys = [self.key(prompt, number, steps) for number in range(seed, seed + count)]
        return tuple(Imagination(key, _direction(key), prompt, seed + n) for n, key in enumerate(keys))


def _direction(text: str) -> FloatArray:
    row = np.frombuffer(shake_128(text.encode()).digest(DIMENSION), np.uint8).astype(np.float32) - 127.5
    return row / np.linalg.norm(row)


def light_models(metrics: Metrics) -> Models:
    """As `dar_query_rewriter.serving.made` puts the real ones together."""
    cache, rules = MemoryImaginationCache(), RulesReformulator()
    imaginer = CachedImaginer(LightImaginer(), CountedCache(cache, metrics))
    return Models(LightEncoder(), rules, rules, imaginer, cache)


def made(settings: Settings) -> Served:
    metrics = Metrics()
    return served(QueryService(settings, light_models(metrics), open_store(settings.store, settings), metrics))


@dataclass(frozen=True)
class Running:
    """A service that answers. pid: of gunicorn's master; the one that serves is its child."""

    address: str
    pid: int
    log: Path


@contextmanager
def running(store: str, index: str, folder: Path) -> Iterator[Running]:
    """The service in a process of its own, ready; its log goes into the folder. SystemExit where it does not start."""
    log = folder / "service.log"
    command = [sys.executable, str(Path(__file__)), store, index]
    with log.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
        try:
            assert child.stdout is not None
            address = child.stdout.readline().strip()
            if not address or not _is_ready(address, child):
                raise SystemExit(f"The service did not start:\n{log.read_text()[-2000:]}")
            yield Running(address, child.pid, log)
        finally:
            child.terminate()
            child.wait(60)


def _is_ready(address: str, child: subprocess.Popen[str]) -> bool:
    until = time.monotonic() + _READY_SECONDS
    with urllib3.PoolManager(retries=False, timeout=10) as http:
        while time.monotonic() < until and child.poll() is None:
            if http.request("GET", f"{address}/_dar/ready").status == 200:
                return True
            time.sleep(0.1)
    return False


def main(store: str, index: str) -> None:
    settings = load_settings(store=store, query={"served_indices": (index,)})
    listening = Listening("127.0.0.1", 0, "127.0.0.1", 0, settings.query.threads)
    run_service(
        lambda: made(settings), listening, settings.service, on_ready=lambda address: print(address, flush=True)
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
