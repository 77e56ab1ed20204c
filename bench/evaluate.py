"""Evaluation end to end against the bare matrix product, on the three ChatIR dialogue files.

68,112 queries (3 files x 2,064 dialogues x 11 rounds) against 50,000 pictures with random 512-d embeddings. The
bound is the product of the same queries with the same gallery, in the same blocks, in the same run, with nothing
done to the scores. End to end is reading, reformulating, embedding, fusing, ranking, measuring, intervals.

    python bench/evaluate.py [--dialogues FOLDER]
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from figures import figure
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import FloatArray, Provenance
from dar_search.evaluation.configuration import check_configuration
from dar_search.evaluation.dialogue_sets import read_conversations
from dar_search.evaluation.galleries import make_gallery
from dar_search.evaluation.ranking import BLOCK, ArrayRanker
from dar_search.evaluation.results import evaluate
from dar_search.evaluation.runs import run
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.preparation import Preparation

DIMENSION = 512
FILES = ("VisDial_v1.0_queries_val", "ChatGPT_BLIP2", "FLAN_ALPACA_XXL_BLIP2")
DEFAULT = Path(__file__).resolve().parents[2] / "shared/data/chatir"


class RandomEncoder:
    """A text's embedding is random, the same each time."""

    preparation = Preparation(8, 8)
    provenance = Provenance("random", "0", DIMENSION, preparation.describe())

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        seeds = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") for text in texts]
        rows = np.stack([np.random.Generator(np.random.SFC64(s)).standard_normal(DIMENSION, np.float32) for s in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        raise NotImplementedError("the gallery's embeddings are given")

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        raise NotImplementedError("the gallery's embeddings are given")


def bare_product(queries: FloatArray, gallery: FloatArray) -> float:
    scores = np.empty((BLOCK, len(gallery)), np.float32)
    begun = time.perf_counter()
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        np.matmul(block, gallery.T, out=scores[: len(block)])
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=Path, default=DEFAULT, help="the folder of the ChatIR files")
    folder = parser.parse_args().dialogues
    if not folder.is_dir():
        print(f"bench/evaluate.py: not run: {folder} is missing")
        return
    names = json.loads((folder / "Search_Space_val_50k.json").read_text())
    rng = np.random.default_rng(0)
    gallery = make_gallery(names, rng.standard_normal((len(names), DIMENSION), dtype=np.float32))
    ratios, total_s, queries = [], 0.0, 0
    print(f"{'file':28s} {'queries':>8s} {'end to end':>11s} {'bare product':>13s} {'ratio':>6s}")
    for name in FILES:
        with tempfile.TemporaryDirectory() as scratch:
            begun = time.perf_counter()
            configuration = check_configuration(
                {
                    "name": name,
                    "gallery": {"kind": "embeddings", "path": "-", "names": "-"},
                    "dialogues": {"path": str(folder / f"{name}.json")},
                    "imagination": {"kind": "none"},
                    "raw_text": False,
                },
                Path(),
            )
            ranked = run(
                configuration,
                read_conversations(configuration.dialogues),
                gallery,
                encoder=RandomEncoder(),
                reformulator=RulesReformulator(),
                imaginations=None,
                ranker=ArrayRanker(gallery),
                cache=Path(scratch),
            )
            evaluate(ranked)
            took = time.perf_counter() - begun
        flat = ranked.embedded.text.reshape(-1, DIMENSION)
        bare = bare_product(flat, gallery.embeddings)
        ratios.append(bare / took)
        total_s += took
        queries += len(flat)
        print(f"{name:28s} {len(flat):8d} {took:9.1f} s {bare:11.1f} s {bare / took:6.2f}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"{queries} queries in {total_s:.1f} s, {queries / total_s:.0f} a second")
    size = f"{queries:,} queries on {len(names):,} x {DIMENSION}"
    shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    figure(f"evaluation, {size}, against the bare matrix product", statistics.median(ratios), shown, at_least=0.5)
    figure("evaluation, peak memory", peak, f"{peak:.2f} GiB", at_most=4)


if __name__ == "__main__":
    main()
