"""What `dar demo` prints: the table of rounds, Recall@10, and where things are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dar_search.cli.shown.output import answer_console, plain_text
from dar_search.demo.picture_files import GalleryFiles
from dar_search.demo.replay import TOP, HeldOut, Recall, Round


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the demo brought.

    Attributes:
        page: the report.
        address, index, options: where and with which options the pictures can be searched.
    """

    files: GalleryFiles
    subject: HeldOut
    rounds: Sequence[Round]
    measured: Recall
    page: Path
    address: str
    index: str
    options: str


def print_run(run: Run) -> None:
    console = answer_console()
    console.print(_rounds_table(run.files, run.rounds))
    console.print()
    console.print(_recall_table(run.measured))
    console.print()
    target = run.files.folder / run.subject.picture
    rows = (
        ("the picture in mind", str(target)),
        ("the gallery", f"{run.files.pictures} ({run.files.size:,} pictures, {run.files.drawn:,} drawn now)"),
        ("try it yourself", f"dar chat --index {run.index} --store {shlex.quote(run.address)}{run.options}"),
    )
    for label, value in rows:
        console.print(Text.assemble((f"{label:<20}", "bold"), plain_text(value)), soft_wrap=True)


def _rounds_table(files: GalleryFiles, rounds: Sequence[Round]) -> Table:
    table = Table(
        title=f"A held-out dialogue about one of {files.size:,} pictures, round by round",
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )
    table.add_column("round", justify="right")
    table.add_column("said", ratio=3)
    table.add_column("reformulated", ratio=4, style="dim")
    table.add_column("rank:\ntext only", justify="right")
    table.add_column("rank:\nDAR", justify="right")
    for one in rounds:
        ranks = (_rank(one.text_rank), _rank(one.dar_rank))
        table.add_row(str(one.number), plain_text(one.said), plain_text(one.text), *ranks)
    table.caption = "Green: among the first ten."
    table.caption_justify = "left"
    return table


def _rank(rank: int | None) -> Text:
    if rank is None:
        return Text("> 10,000", "dim")
    return Text(f"{rank:,} ✓" if rank <= TOP else f"{rank:,}", "bold green" if rank <= TOP else "")


def _recall_table(measured: Recall) -> Table:
    table = Table(
        title=f"Recall@10 over {measured.dialogues} held-out dialogues",
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )
    for heading in ("round", "text only", "DAR", "gain in points [95% interval]"):
        table.add_column(heading, justify="right")
    for number, text, dar, gain in zip(measured.rounds, measured.text_only, measured.dar, measured.gain, strict=True):
        interval = f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        table.add_row(str(number), f"{100 * text:.0f}%", f"{100 * dar:.0f}%", interval)
    return table


def run_as_json(run: Run) -> dict[str, Any]:
    measured = run.measured
    return {
        "rounds": [
            {
                "round": one.number,
                "said": one.said,
                "reformulation": one.text,
                "text_only": {"rank": one.text_rank, "in_top_10": bool(one.text_rank and one.text_rank <= TOP)},
                "dar": {"rank": one.dar_rank, "in_top_10": bool(one.dar_rank and one.dar_rank <= TOP)},
            }
            for one in run.rounds
        ],
        "recall_at_10": {
            "dialogues": run.measured.dialogues,
            "rounds": [
                {"round": number, "text_only": text, "dar": dar, "gain": [gain.mean, gain.low, gain.high]}
                for number, text, dar, gain in zip(
                    measured.rounds, measured.text_only, measured.dar, measured.gain, strict=True
                )
            ],
        },
        "gallery": {"folder": str(run.files.pictures), "size": run.files.size, "drawn": run.files.drawn},
        "target": str(run.files.folder / run.subject.picture),
        "report": str(run.page),
        "store": run.address,
        "index": run.index,
    }
