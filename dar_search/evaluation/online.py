"""Measures of real use, per round, from a search log (`dar_search.answering.search_log`).

A choice says that a person took a hit; that nobody chose says little: they may have found it on the page, or left. So
these are observations of use, not the published measures on dialogues with known targets: they compare a service with
itself over time, not with a paper. Nor do "with_imagination" and "text_alone" make an experiment: the searches where
imagination was in time differ from the others in more than that.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dar_search.answering.search_log import log_files, read_rows
from dar_search.errors import SourceError
from dar_search.evaluation.intervals import Interval, paired_bootstrap

FORMAT = 1
LAST_ROUND = 10
BOOTSTRAP_SEED = 20_250_113
BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_MOST = 5000
DIGITS = 6
_REASONS = 5
_STATUSES = ("ok", "late", "failed", "off")


@dataclass(frozen=True, slots=True)
class _Search:
    """chosen: the rank of the first hit that was chosen; None where none was."""

    round: int
    imagined: bool
    conversation: str
    degraded: bool
    chosen: int | None


class _Read:
    """The log, read twice, so that only searches with a choice need their hits: the choices, then the searches."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.searches: dict[str, _Search] = {}
        self.took_ms: dict[str, list[float]] = defaultdict(list)
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self.choices: dict[str, list[str]] = defaultdict(list)
        self.lines_unread = self.choices_of_hits_not_shown = 0
        for kind, take in (("choice", self._choice), ("search", self._search)):
            for row in (row for file in files for row in read_rows(file)):
                if row is None or row.get("kind") not in ("choice", "search"):
                    self.lines_unread += kind == "choice"  # in one of the two readings
                elif row["kind"] == kind:
                    try:
                        take(row)
                    except (KeyError, TypeError, ValueError, AttributeError):
                        self.lines_unread += 1
        self.choices_of_unknown_searches = sum(
            len(some) for id, some in self.choices.items() if id not in self.searches
        )

    def _choice(self, row: Mapping[str, Any]) -> None:
        self.choices[str(row["search"])].append(str(row["hit"]))

    def _search(self, row: Mapping[str, Any]) -> None:
        id, number, took_ms = str(row["id"]), int(row["round"]), float(row["took_ms"])
        legs = [
            (str(name), str(leg["status"]), float(leg["took_ms"]), leg.get("reason"))
            for name, leg in row["legs"].items()
        ]
        if number < 0 or not all(map(math.isfinite, (took_ms, *(leg[2] for leg in legs)))):
            raise ValueError
        degraded = any(status in ("late", "failed") for _, status, _, _ in legs)
        self.searches[id] = _Search(
            number, bool(row["imagined"]), str(row["conversation"]), degraded, self._chosen(id, row)
        )
        self.took_ms["answer"].append(took_ms)
        for name, status, took, reason in legs:
            self.statuses[name][status if status in _STATUSES else "failed"] += 1
            if status != "off":
                self.took_ms[name].append(took)
            if reason and status in ("late", "failed"):
                self.reasons[name][str(reason)[:200]] += 1

    def _chosen(self, id: str, row: Mapping[str, Any]) -> int | None:
        hits = self.choices.get(id)
        if hits is None:
            return None
        ranks = {str(hit): rank for rank, hit in enumerate(row["hits"], int(row["first"]))}
        shown = [ranks[hit] for hit in hits if hit in ranks]
        self.choices_of_hits_not_shown += len(hits) - len(shown)
        return shown[0] if shown else None


def evaluate_log(path: Path, *, k: Sequence[int] = (1, 10)) -> dict[str, Any]:
    """The measures of the log at `path` and the older files beside it, as plain JSON values.

    `by_round` has an entry a round (0 to 10; the last holds the later ones too): "searches"; "chosen_share", of
    searches with a choice, and "mrr", the mean of 1 / rank of the first chosen hit (0 without one), each with a 95%
    interval over searches; "median_rank" of the chosen hits; "chosen_in_top_K", shares of the choices.
    "legs": milliseconds and statuses; "degraded_share": of searches with a leg that was late or failed.

    Raises SourceError where there is no such log, or no search in it.
    """
    read = _Read(log_files(path))
    if not read.searches:
        raise SourceError(
            f"{path} holds no searches.", f"{read.lines_unread} of its lines are no rows of a search log."
        )
    searches = list(read.searches.values())
    return {
        "format": FORMAT,
        "searches": len(searches),
        "choices": sum(map(len, read.choices.values())),
        "left_out": {
            name: getattr(read, name)
            for name in ("lines_unread", "choices_of_unknown_searches", "choices_of_hits_not_shown")
        },
        "all": _measured(searches, k),
        "by_round": [
            {"round": number, **_measured(some, k)}
            for number, some in sorted(_grouped(searches, lambda one: min(one.round, LAST_ROUND)).items())
        ],
        "with_imagination": _measured([one for one in searches if one.imagined], k),
        "text_alone": _measured([one for one in searches if not one.imagined], k),
        "conversations": _conversations(searches),
        "degraded_share": round(sum(one.degraded for one in searches) / len(searches), DIGITS),
        "legs": {name: _leg(read, name) for name in sorted(read.took_ms.keys() | read.statuses.keys())},
    }


def _grouped(searches: Iterable[_Search], key: Callable[[_Search], Any]) -> dict[Any, list[_Search]]:
    groups: dict[Any, list[_Search]] = defaultdict(list)
    for search in searches:
        groups[key(search)].append(search)
    return groups


def _measured(searches: Sequence[_Search], k: Sequence[int]) -> dict[str, Any]:
    if not searches:
        return {"searches": 0}
    chosen = np.asarray([search.chosen is not None for search in searches], np.float64)
    reciprocal = np.asarray([0.0 if search.chosen is None else 1 / search.chosen for search in searches])
    ranks = np.asarray([search.chosen for search in searches if search.chosen is not None], np.float64)
    values = np.stack([chosen, reciprocal], axis=1)
    share, mrr = _intervals(values)
    found: dict[str, Any] = {
        "searches": len(searches),
        "chosen_share": _rounded(asdict(share)),
        "mrr": _rounded(asdict(mrr)),
        "median_rank": round(float(np.median(ranks)), DIGITS) if len(ranks) else None,
    }
    for depth in k:
        found[f"chosen_in_top_{depth}"] = round(float(np.mean(ranks <= depth)), DIGITS) if len(ranks) else None
    return found


def _intervals(values: NDArray[np.float64]) -> list[Interval]:
    """95% intervals of the columns' means: by bootstrap, and of many rows, where it is the same, by the normal law."""
    if len(values) <= BOOTSTRAP_MOST:
        return paired_bootstrap(values, np.zeros_like(values), samples=BOOTSTRAP_SAMPLES, seed=BOOTSTRAP_SEED)
    means, errors = values.mean(axis=0), 1.96 * values.std(axis=0) / math.sqrt(len(values))
    return [Interval(float(mean), float(mean - by), float(mean + by)) for mean, by in zip(means, errors, strict=True)]


def _conversations(searches: Iterable[_Search]) -> dict[str, Any]:
    """Of those that the caller named: how many ended with a choice, and after how many turns."""
    named = [some for id, some in _grouped(searches, lambda one: one.conversation).items() if id]
    if not named:
        return {"conversations": 0}
    first = [min((one.round for one in some if one.chosen is not None), default=None) for some in named]
    rounds = [number for number in first if number is not None]
    return {
        "conversations": len(named),
        "chosen_share": round(len(rounds) / len(named), DIGITS),
        "mean_rounds_to_choice": round(float(np.mean(rounds)), DIGITS) if rounds else None,
    }


def _leg(read: _Read, name: str) -> dict[str, Any]:
    values = np.asarray(read.took_ms.get(name, []))
    found: dict[str, Any] = {"took_ms": _spread(values) if len(values) else None}
    if name in read.statuses:
        found |= {status: read.statuses[name][status] for status in _STATUSES}
        common = sorted(read.reasons[name].items(), key=lambda item: (-item[1], item[0]))[:_REASONS]
        found["reasons"] = dict(common)
    return found


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99 = np.quantile(values, [0.5, 0.95, 0.99]).tolist()
    return _rounded({"mean": float(values.mean()), "p50": p50, "p95": p95, "p99": p99})


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in values.items()}
