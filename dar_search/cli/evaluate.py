"""`dar evaluate`: a run from a TOML file, judged by the published protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from dar_search.cli.options.shared import CommonOptions, grouped, settings_from
from dar_search.cli.shown.online import show_search_log
from dar_search.cli.shown.output import answer_console, note, plain_text, print_json, progress_bar
from dar_search.errors import RequestError


@grouped
def evaluate(
    common: CommonOptions,
    run: Annotated[Path | None, typer.Argument(metavar="RUN.toml", help="What to compare.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where results.json, the report, plots and TREC files go. Default: the run's name, beside its file.",
            show_default=False,
        ),
    ] = None,
    search_log: Annotated[
        Path | None,
        typer.Option(
            "--search-log",
            metavar="FILE",
            help="Instead of a run: how a service was used, from its search log and the older files beside it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure how well dialogues find their pictures, round by round.

    Compares the text alone with each schedule of text and imagination, and with noise in the imagination's place.
    Prints Recall@k, Hits@k, MRR, BRI and the harm rate, with 95% intervals; writes results.json, TREC files, plots
    and report.html. Run it again after an interruption, and it goes on where it was.

    With --search-log: the share of searches with a choice, MRR and rank of what was chosen, by round; milliseconds
    and degradations of each leg. With --output, also as online.json there.

    Example:  dar evaluate run.toml

    Example:  dar evaluate --search-log searches.jsonl
    """
    if (run is None) == (search_log is None):
        raise RequestError("dar evaluate takes a run's TOML file or --search-log, one of them.", "See dar evaluate -h.")
    if search_log is not None:
        show_search_log(search_log, output, as_json=common.json)
        return
    assert run is not None  # noqa: S101  # one of the two is
    from dar_search.experiments import perform

    settings = settings_from(common)
    folder = output or run.parent / run.stem
    with progress_bar(quiet=common.json) as bar:
        results = perform(run, folder, store=settings.store, progress=_Bars(bar))
    if common.json:
        print_json(results)
        return
    console = answer_console()
    k = max(int(name.rpartition("_")[2]) for name in _any(results)["measures"] if name.startswith("recall_at_"))
    for measure in (f"recall_at_{k}", f"hits_at_{k}"):
        console.print(_by_round(results, measure))
    console.print(_summary(results))
    note(f"Wrote {folder}/report.html, results.json, plots and TREC files.")


class _Bars:
    """One bar for each thing that takes long."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)


def _any(results: dict[str, Any]) -> Any:
    return next(iter(results["variants"].values()))


def _by_round(results: dict[str, Any], measure: str) -> Table:
    table = Table(title=f"{measure}, percent, by round", title_justify="left", box=None, header_style="bold")
    table.add_column("variant", no_wrap=True)
    for number in range(results["rounds"]):
        table.add_column(str(number), justify="right")
    for name, variant in results["variants"].items():
        table.add_row(plain_text(name), *(f"{100 * mean:.1f}" for mean in variant["measures"][measure]))
    return table


def _summary(results: dict[str, Any]) -> Table:
    k = max(int(name.rpartition("_")[2]) for name in _any(results)["measures"] if name.startswith("recall_at_"))
    table = Table(title="last round, against the text alone", title_justify="left", box=None, header_style="bold")
    table.add_column("variant", no_wrap=True)
    for heading in (f"recall_at_{k}, points [95%]", "MRR", "BRI", "harmed", "helped", "harm factor"):
        table.add_column(heading, justify="right")
    for name, variant in results["variants"].items():
        interval = (variant["against_text_only"].get(f"recall_at_{k}") or [None])[-1]
        harm = variant.get("harm")
        table.add_row(
            plain_text(name),
            ""
            if interval is None
            else "{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(
                **{key: 100 * value for key, value in interval.items()}
            ),
            f"{variant['measures']['mrr'][-1]:.3f}",
            f"{variant['measures']['bri'][0]:.3f}",
            f"{100 * harm['rate'][-1]:.1f}%" if harm else "",
            f"{100 * harm['help_rate'][-1]:.1f}%" if harm else "",
            f"{harm['factor'][-1]:.2f}" if harm else "",
        )
    return table
