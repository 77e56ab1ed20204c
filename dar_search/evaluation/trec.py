"""TREC run and qrels files, and the standard measures that ir-measures computes from them.

Who reads a run file looks neither at the order of its lines nor at the rank: trec_eval sorts by the score, which it
reads as a float32, and equal scores by the document's name, DESCENDING (trec_eval #22, ir_measures #18). So scores are
written such that they descend strictly as float32. The columns are parted by white space: names are written without
it, each in its own way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dar_search.errors import SettingsError
from dar_search.evaluation.dialogue_sets import Conversation
from dar_search.evaluation.runs import Ranked
from dar_search.evaluation.variants import Variant
from dar_search.settings import owner_only

#: White space of any alphabet and what is no character, for which columns or lines may end; and the escape itself.
_AWKWARD = re.compile(r"[\s%\x00-\x1f\x7f-\x9f\u200b\u2060\ufeff\ud800-\udfff]")
_NOTHING = "%"  # no other name is that


def named(name: str) -> str:
    """A name as TREC files have it: percent-encoded where it has white space or a percent sign, else as it is."""
    escaped = _AWKWARD.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass")), name
    )
    return escaped or _NOTHING


def topic(dialogue: str, number: int, place: int | None = None) -> str:
    """A query's name in TREC files: {dialogue}_{round}; with its place, where another dialogue has the same id."""
    # No id gives this mark: where a name has a percent sign, two digits of base 16 follow it.
    mark = "" if place is None else f"%-{place}"
    return f"{named(dialogue)}{mark}_{number}"


def topics(conversations: Sequence[Conversation], rounds: int) -> list[list[str]]:
    """The names of each conversation's queries, by round."""
    shared = Counter(conversation.id for conversation in conversations)
    return [
        [topic(one.id, number, place if shared[one.id] > 1 else None) for number in range(rounds)]
        for place, one in enumerate(conversations)
    ]


def write_qrels(ranked: Ranked, path: Path) -> None:
    """Each round of each dialogue has one relevant picture, its target."""
    with owner_only.open_new(path, encoding="utf-8", newline="\n") as file:
        asked = topics(ranked.conversations, ranked.embedded.text.shape[1])
        for names, target in zip(asked, ranked.targets, strict=True):
            file.writelines(f"{name} 0 {document(ranked, target)} 1\n" for name in names)


def write_run(ranked: Ranked, variant: Variant, path: Path, ranker_top: Iterator[tuple[str, str, int, float]]) -> None:
    """`ranker_top` yields (topic, document, rank from 1, score), best first for each topic."""
    tag = re.sub(r"[^A-Za-z0-9./:-]+", "_", variant.name)
    last = np.float32(np.inf)
    with owner_only.open_new(path, encoding="utf-8", newline="\n") as file:
        for name, found, rank, score in ranker_top:
            last = np.float32(score) if rank == 1 else min(np.float32(score), _below(last))
            file.write(f"{name} Q0 {found} {rank} {last!s} {tag}\n")


def document(ranked: Ranked, row: int) -> str:
    """A picture's name in TREC files: that in the gallery, as `named` writes it."""
    return named(ranked.gallery.names[row])


def standard_measures(
    qrels: Path, run: Path, names: tuple[str, ...] = ("RR@10", "nDCG@10", "R@10")
) -> dict[str, float]:
    """Means over all topics, through ir-measures. Raises SettingsError where the `evaluation` extra is missing."""
    try:
        import ir_measures
    except ImportError as error:
        raise SettingsError("ir-measures is not installed.", 'pip install "dar-search[evaluation]"') from error
    parsed = [ir_measures.parse_measure(name) for name in names]
    with qrels.open(encoding="utf-8") as judged, run.open(encoding="utf-8") as found_lines:
        found = ir_measures.calc_aggregate(
            parsed, ir_measures.read_trec_qrels(judged), ir_measures.read_trec_run(found_lines)
        )
    return {str(measure): float(found[measure]) for measure in parsed}


def _below(score: np.float32) -> np.float32:
    # Near 0 the next float32 is a subnormal one, which a fast tool may take for 0.
    return np.float32(score - max(np.spacing(abs(score)), np.float32(1e-8)))
