"""What a run leaves behind: results.json, timings.json, TREC files, plots and the report, in one folder."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dar_search.data import FloatArray
from dar_search.evaluation.plots import plot
from dar_search.evaluation.ranking import BLOCK, Ranker
from dar_search.evaluation.report import Example, ImaginedPicture, examples, report
from dar_search.evaluation.results import evaluate, timings, write_results
from dar_search.evaluation.runs import Progress, Ranked
from dar_search.evaluation.trec import document, standard_measures, topics, write_qrels, write_run
from dar_search.evaluation.variants import Variant
from dar_search.settings import owner_only


def write_all(
    ranked: Ranked,
    ranker: Ranker,
    folder: Path,
    *,
    imagined_picture: ImaginedPicture,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write everything and return the results. Raises SettingsError where the `evaluation` extra is missing."""
    owner_only.make_folder(folder)
    results = evaluate(ranked)
    if ranked.configuration.trec_depth:
        results["standard_measures"] = _write_trec(ranked, ranker, folder, progress)
    latencies = timings(ranked)
    k = max(ranked.configuration.k)
    plots: dict[str, bytes] = {}
    for measure in (f"recall_at_{k}", f"hits_at_{k}"):
        plots[measure] = plot(results, measure, "svg")
        owner_only.write(folder / f"{measure}.svg", plots[measure])
        owner_only.write(folder / f"{measure}.png", plot(results, measure, "png"))
    shown: list[Example] = examples(ranked, ranker, ranked.configuration.examples)
    page = report(ranked, results, latencies, plots, shown, imagined_picture)
    # A picture's name may be no text: a lone surrogate, which no encoding has.
    owner_only.write(folder / "report.html", page.encode("utf-8", "replace"))
    owner_only.write(folder / "timings.json", json.dumps(latencies, indent=1) + "\n")
    # The last of all: where it is, the run is whole.
    write_results(results, folder / "results.json")
    return results


def _write_trec(ranked: Ranked, ranker: Ranker, folder: Path, progress: Progress) -> dict[str, dict[str, float]]:
    qrels = folder / "qrels.txt"
    write_qrels(ranked, qrels)
    found: dict[str, dict[str, float]] = {}
    names = _file_names(list(ranked.ranks))
    for number, (variant, by_seed) in enumerate(ranked.ranks.items()):
        seed = next(iter(by_seed))
        path = folder / f"{names[variant]}.run.txt"
        write_run(ranked, variant, path, _rows(ranked, ranker, ranked.queries(variant, seed)))
        found[variant.name] = {name: round(value, 6) for name, value in standard_measures(qrels, path).items()}
        progress("writing TREC runs", number + 1, len(ranked.ranks))
    return found


def _rows(ranked: Ranked, ranker: Ranker, queries: FloatArray) -> Iterator[tuple[str, str, int, float]]:
    dialogues, rounds, dimension = queries.shape
    names = list(itertools.chain.from_iterable(topics(ranked.conversations, rounds)))
    flat = queries.reshape(dialogues * rounds, dimension)
    # The blocks in which the ranks were found, so that the files say the same.
    for start in range(0, len(flat), BLOCK):
        rows, scores = ranker.top(flat[start : start + BLOCK], ranked.configuration.trec_depth)
        for name, found, values in zip(names[start : start + BLOCK], rows, scores, strict=True):
            for rank, (row, score) in enumerate(zip(found, values, strict=True), 1):
                yield name, document(ranked, int(row)), rank, float(score)


def _file_names(variants: Sequence[Variant]) -> dict[Variant, str]:
    """A name for each variant's file, without what a file system may not like; two of one name are numbered."""
    plain = [re.sub(r"[^A-Za-z0-9.-]+", "_", variant.name) for variant in variants]
    return {
        variant: name if plain.index(name) == place else f"{name}_{place}"
        for place, (variant, name) in enumerate(zip(variants, plain, strict=True))
    }
