"""Ranks -> the table of measures, and `results.json`.

`results.json` holds nothing that differs between two runs of the same configuration: no times, no paths. Times are in
`timings.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dar_search.evaluation import measures
from dar_search.evaluation.intervals import paired_bootstrap
from dar_search.evaluation.measures import Ranks, Values
from dar_search.evaluation.runs import Ranked
from dar_search.evaluation.variants import TEXT_ONLY, Variant
from dar_search.settings import owner_only

FORMAT = 1
BOOTSTRAP_SEED = 20_250_113
DIGITS = 6


def evaluate(ranked: Ranked) -> dict[str, Any]:
    """The measures of every variant, per round, with paired 95% intervals against the text alone.

    `{"variants": {name: {"measures": {measure: [a mean a round]}, "against_text_only": {measure: [{mean, low, high}]},
    "ranks": {seed: [[...]]}}}}`; a missed rank is null. Several seeds are averaged per dialogue before the mean.
    """
    text_only = next(iter(ranked.ranks[Variant(TEXT_ONLY)].values()))
    configuration = ranked.configuration
    return {
        "format": FORMAT,
        "name": configuration.name,
        "encoder": asdict(ranked.provenance),
        "dialogues": len(ranked.conversations),
        "rounds": text_only.shape[1],
        "gallery": {"pictures": len(ranked.gallery.names), "digest": ranked.gallery.key},
        "seeds": configuration.imagination.seeds,
        "tie_rule": "equal scores rank by id, ascending",
        "depth": ranked.depth,
        "variants": {variant.name: _variant(ranked, variant, text_only) for variant in ranked.ranks},
    }


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """Atomically, the same bytes for the same results."""
    part = path.with_suffix(".part")
    owner_only.write(part, json.dumps(results, indent=1, sort_keys=True, allow_nan=False) + "\n")
    part.replace(path)


def timings(ranked: Ranked) -> dict[str, dict[str, float]]:
    """Latency of each leg in milliseconds: leg -> {"mean", "p50", "p95", "count"}."""
    legs = {**ranked.embedded.took_ms, "search": list(ranked.search_ms)}
    return {leg: _spread(np.asarray(values)) for leg, values in sorted(legs.items()) if values}


def per_dialogue(ranked: Ranked, variant: Variant, measure: Callable[[Ranks], Values]) -> Values:
    """A measure's values, averaged over the sampling seeds: (dialogues, rounds)."""
    return np.asarray(np.mean([measure(ranks) for ranks in ranked.ranks[variant].values()], axis=0))


def round_measures(ranked: Ranked) -> dict[str, Callable[[Ranks], Values]]:
    """Name -> measure, of those with a value a round."""
    found: dict[str, Callable[[Ranks], Values]] = {}
    for k in ranked.configuration.k:
        found[f"hits_at_{k}"] = partial(measures.hits_at_k, k=k)
        found[f"recall_at_{k}"] = partial(measures.recall_at_k, k=k)
    found["mrr"] = measures.reciprocal_rank
    return found


def _variant(ranked: Ranked, variant: Variant, text_only: Ranks) -> dict[str, Any]:
    baseline = Variant(TEXT_ONLY)
    samples = ranked.configuration.bootstrap_samples
    means: dict[str, Any] = {}
    against: dict[str, Any] = {}
    every = round_measures(ranked)
    every["bri"] = lambda ranks: measures.best_log_rank_integral(ranks, ranked.depth)[:, None]
    for name, measure in every.items():
        values = per_dialogue(ranked, variant, measure)
        means[name] = _rounded(values.mean(axis=0))
        if variant != baseline:
            intervals = paired_bootstrap(
                values, per_dialogue(ranked, baseline, measure), samples=samples, seed=BOOTSTRAP_SEED
            )
            against[name] = [{key: round(value, DIGITS) for key, value in asdict(one).items()} for one in intervals]
    found = {"measures": means, "against_text_only": against}
    if variant != baseline:
        all_ranks = list(ranked.ranks[variant].values())
        found["harm"] = {
            "rate": _rounded(np.mean([measures.harmed(ranks, text_only).mean(axis=0) for ranks in all_ranks], axis=0)),
            "help_rate": _rounded(
                np.mean([measures.helped(ranks, text_only).mean(axis=0) for ranks in all_ranks], axis=0)
            ),
            "factor": _rounded(
                np.mean([measures.harm_factor(ranks, text_only, ranked.depth) for ranks in all_ranks], axis=0)
            ),
        }
    found["ranks"] = {
        str(seed): [[None if math.isinf(rank) else int(rank) for rank in row] for row in ranks.tolist()]
        for seed, ranks in ranked.ranks[variant].items()
    }
    return found


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(value, DIGITS) for value in values.tolist()]


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": round(float(values.mean()), 3),
        "p50": round(float(np.quantile(values, 0.5)), 3),
        "p95": round(float(np.quantile(values, 0.95)), 3),
        "count": float(len(values)),
    }
