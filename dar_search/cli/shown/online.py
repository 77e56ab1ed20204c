"""`dar evaluate --search-log`: how a service was used, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from dar_search.cli.shown.output import answer_console, note, plain_text, print_json, warn
from dar_search.errors import SourceError
from dar_search.settings import owner_only


def show_search_log(log: Path, output: Path | None, *, as_json: bool) -> None:
    """Measure the log, print it, and with `output` write online.json there. Raises SourceError."""
    from dar_search.evaluation.online import evaluate_log
    from dar_search.evaluation.results import write_results

    results = evaluate_log(log)
    if output is not None:
        try:
            owner_only.make_folder(output)
            write_results(results, output / "online.json")
        except OSError as error:
            raise SourceError(f"{output} cannot be written: {error.strerror}.", "Name another folder.") from error
    if as_json:
        print_json(results)
        return
    console = answer_console()
    console.print(_rounds(results))
    console.print(_legs(results))
    left_out = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in results["left_out"].items() if count)
    if left_out:
        warn(f"Left out: {left_out}.")
    if output is not None:
        note(f"Wrote {output}/online.json.")


def _rounds(results: dict[str, Any]) -> Table:
    top = [name for name in results["all"] if name.startswith("chosen_in_top_")]
    table = Table(title="what was chosen, by round", title_justify="left", box=None, header_style="bold")
    table.add_column("round", no_wrap=True)
    for heading in ("searches", "chosen [95%]", "MRR [95%]", "median rank", *(f"top {name[14:]}" for name in top)):
        table.add_column(heading, justify="right")
    rows = [(str(one["round"]), one) for one in results["by_round"]]
    rows += [(name.replace("_", " "), results[name]) for name in ("all", "with_imagination", "text_alone")]
    for name, one in rows:
        if one["searches"]:
            share = "{mean:.1f}% [{low:.1f}, {high:.1f}]".format(
                **{key: 100 * value for key, value in one["chosen_share"].items()}
            )
            tops = [_percent(one[each]) for each in top]
            mrr = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**one["mrr"])
            rank = "-" if one["median_rank"] is None else f"{one['median_rank']:g}"
            table.add_row(name, str(one["searches"]), share, mrr, rank, *tops)
    return table


def _legs(results: dict[str, Any]) -> Table:
    title = f"legs; {_percent(results['degraded_share'])} of the searches had one late or failed"
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    table.add_column("leg", no_wrap=True)
    for heading in ("p50 ms", "p95 ms", "p99 ms", "ok", "late", "failed", "off"):
        table.add_column(heading, justify="right")
    table.add_column("most often because")
    for name, leg in results["legs"].items():
        times = [f"{leg['took_ms'][key]:.1f}" if leg["took_ms"] else "-" for key in ("p50", "p95", "p99")]
        counts = [str(leg.get(status, "")) for status in ("ok", "late", "failed", "off")]
        table.add_row(name, *times, *counts, plain_text(next(iter(leg.get("reasons", {})), "")))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"
