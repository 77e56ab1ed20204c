"""A benchmark's figures, as rows of one table of all of them (see table.py)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

#: Names the file into which figures go; table.py sets it.
VARIABLE = "DAR_BENCH_FIGURES"


@dataclass(frozen=True)
class Figure:
    """
    Attributes:
        what: against what, at which size.
        shown: the figure for people, with its unit, and its spread where there is one.
        bound: in words; "" where there is none.
        kept: whether it keeps its bound; None where it has none.
    """

    what: str
    shown: str
    bound: str = ""
    kept: bool | None = None


def figure(
    what: str, value: float, shown: str = "", *, at_least: float | None = None, at_most: float | None = None
) -> bool:
    """Says a figure, and keeps it for the table -> whether it keeps its bound; True where it has none.

    Args:
        shown: see `Figure`; default: the value with two decimals.
    """
    bound, kept = "", None
    if at_least is not None:
        bound, kept = f"at least {at_least:g}", bool(value >= at_least)
    if at_most is not None:
        bound, kept = f"at most {at_most:g}", bool(value <= at_most)
    made = Figure(what, shown or f"{value:.2f}", bound, kept)
    verdict = "" if kept is None else f" (bound: {bound}: {'kept' if kept else 'NOT kept'})"
    print(f"{made.what}: {made.shown}{verdict}", flush=True)
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(made)) + "\n")
    return kept is not False
