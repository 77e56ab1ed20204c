"""TREC run and qrels files, and the standard measures that ir-measures computes from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dar_search.errors import SettingsError
from dar_search.evaluation.runs import Ranked
from dar_search.evaluation.variants import Variant


def topic(dialogue: str, number: int) -> str:
    """A query's name in TREC files: {dialogue}_{round}, without white space."""
    return f"{re.sub(chr(92) + 's', '-', dialogue)}_{number}"


def write_qrels(ranked: Ranked, path: Path) -> None:
    """Each round of each dialogue has one relevant picture, its target."""
    with path.open("w", encoding="utf-8") as file:
        for conversation, target in zip(ranked.conversations, ranked.targets, strict=True):
            for number in range(ranked.embedded.text.shape[1]):
                file.write(f"{topic(conversation.id, number)} 0 {document(ranked, target)} 1\n")


def write_run(ranked: Ranked, variant: Variant, path: Path, ranker_top: Iterator[tuple[str, str, int, float]]) -> None:
    """`ranker_top` yields (topic, document, rank from 1, score), best first for each topic."""
    tag = re.sub(r"[^A-Za-z0-9./:-]+", "_", variant.name)
    with path.open("w", encoding="utf-8") as file:
        for name, found, rank, score in ranker_top:
            file.write(f"{name} Q0 {found} {rank} {score:.7g} {tag}\n")


def document(ranked: Ranked, row: int) -> str:
    """A picture's name in TREC files: its name in the gallery, without white space."""
    return re.sub(r"\s", "-", ranked.gallery.names[row])


def standard_measures(
    qrels: Path, run: Path, names: tuple[str, ...] = ("RR@10", "nDCG@10", "R@10")
) -> dict[str, float]:
    """Means over all topics, through ir-measures. Raises SettingsError where the `evaluation` extra is missing."""
    try:
        import ir_measures
    except ImportError as error:
        raise SettingsError("ir-measures is not installed.", 'pip install "dar-search[evaluation]"') from error
    parsed = [ir_measures.parse_measure(name) for name in names]
    found = ir_measures.calc_aggregate(
        parsed, ir_measures.read_trec_qrels(str(qrels)), ir_measures.read_trec_run(str(run))
    )
    return {str(measure): float(found[measure]) for measure in parsed}
