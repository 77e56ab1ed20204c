"""What `dar index check` found, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dar_search.cli.shown.output import answer_console, note, plain_text
from dar_search.stores.examined import Examined

_NAMED = 20


def show_examined(address: str, problems: Sequence[str], found: Sequence[Examined], saved: Path | None) -> None:
    """A line for each index and each problem, and what to do."""
    console = answer_console()
    for problem in problems:
        console.print(plain_text(f"{address}: {problem}"))
    for index in found:
        lost = len(index.lost) + index.unnamed
        console.print(plain_text(f"{index.name}: {index.pictures:,} pictures whole, {lost:,} not."))
        if index.lost:
            more = f" and {len(index.lost) - _NAMED:,} more (--json lists them)" if len(index.lost) > _NAMED else ""
            console.print(plain_text(f"  Not whole: {', '.join(index.lost[:_NAMED])}{more}"))
        if index.unnamed:
            console.print(plain_text(f"  Not whole, and the id is gone: {index.unnamed:,}"))
        for problem in index.problems:
            console.print(plain_text(f"  {problem}"))
    if saved is not None:
        old = Path(address.removeprefix("sqlite:"))
        note(
            f"Saved to {saved}. To put it in the old file's place, end all that uses the store, move {old.name}, "
            f"{old.name}-wal and {old.name}-shm away, those that are there (the old log would ruin the copy), and then "
            "rename the copy. Run `dar ingest` on the same sources again."
        )
    elif address.startswith("sqlite:") and (problems or not all(index.sound for index in found)):
        note("Save what is whole with --save-to FILE.")
