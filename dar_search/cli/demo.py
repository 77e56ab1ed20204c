"""`dar demo`: see it work, on pictures that it makes itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dar_search.cli.options.shared import (
    CommonOptions,
    EncoderOptions,
    RewritingOptions,
    grouped,
    repeated,
    settings_from,
)
from dar_search.cli.running.opening import opened_store
from dar_search.cli.running.searching import Rewriter
from dar_search.cli.shown.output import busy, note, print_json, progress_bar, side_console
from dar_search.errors import EncoderMismatch, IndexNotFound, RequestError
from dar_search.models import catalogue
from dar_search.ports import ImageIndex, Imaginer, Store
from dar_search.settings import Settings

if TYPE_CHECKING:
    from dar_search.cli.shown.demo import Run

INDEX = "dar-demo"
_ROUNDS_MEASURED = (0, 2, 4, 6, 8, 10)


@grouped
def demo(
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    size: Annotated[
        int, typer.Option(metavar="NUMBER", min=100, max=50_000, help="How many pictures the gallery has.")
    ] = 2000,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the pictures go; those that are there are used again. Default: in your data folder.",
            show_default=False,
        ),
    ] = None,
    dialogues: Annotated[
        int, typer.Option(metavar="NUMBER", min=2, max=2000, help="How many dialogues Recall@10 is measured on.")
    ] = 48,
    number: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Which of these dialogues is replayed.")] = 1,
    port: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, max=65535, help="Where the page is served; 0: any free port.")
    ] = 0,
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve", help="Serve the page afterwards. Default: on a terminal.", show_default=False
        ),
    ] = None,
) -> None:
    """See it work, on pictures that it makes itself.

    Draws a gallery of simple scenes as picture files, makes them searchable with the small models that come with
    dar, and replays a dialogue that no model has seen: after each answer, where is the picture that the person has
    in mind? By text alone, and with imagination. Then the same over some dozens of dialogues.

    Examples:

      dar demo
      dar demo --size 500 --data ./demo --no-serve
      dar demo --number 7 --imagine 4
    """
    if number > dialogues:
        raise RequestError(f"There are {dialogues} dialogues, so none is number {number}.", "Give a smaller --number.")
    if dialogues > size:
        raise RequestError(f"A gallery of {size} pictures has no {dialogues} dialogues.", "Give fewer --dialogues.")
    settings, folder = _demo_settings(common, encoder, rewriting, data)
    run = _run(settings, Plan(folder, size, dialogues, number), common, repeated(encoder))
    _show(run, common)
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not common.json
    if serve if serve is not None else a_person_looks_on(terminal, os.environ):
        _serve(folder, port)


@dataclass(frozen=True, slots=True)
class Plan:
    """A gallery of `size` pictures below `folder`; Recall@10 over `dialogues`, of which number `number` is replayed."""

    folder: Path
    size: int
    dialogues: int
    number: int


def _run(settings: Settings, plan: Plan, common: CommonOptions, options: str) -> Run:
    """Draws, ingests, replays, measures, and writes the page. options: of the command line, to be repeated."""
    from dar_search.cli.shown.demo import Run
    from dar_search.demo.picture_files import draw_gallery
    from dar_search.demo.replay import held_out, recall, replay
    from dar_search.demo.report import write_report

    with _step("Drawing pictures", plan.size, common) as step:
        files = draw_gallery(plan.folder, plan.size, progress=step)
    rewriter = _rewriter(settings, quiet=common.json)
    with opened_store(settings) as store:
        index = _ingested(store, rewriter, files.manifest, common)
        rewriter.warm_up(quiet=common.json)
        subjects = list(held_out(files, plan.dialogues))
        chosen = subjects[plan.number - 1]
        with _small_models_in_one_thread(settings):
            with _step("Replaying a dialogue", chosen.dialogue.round + 1, common) as step:
                rounds = []
                for one in replay(chosen, rewriter, index, plan.size, _sketcher(settings, rewriter)):
                    rounds.append(one)
                    step(len(rounds))
            with _step("Measuring Recall@10", plan.dialogues, common) as step:
                measured = recall(subjects, _ROUNDS_MEASURED, rewriter, index, step)
        address = store.address
    page = write_report(files, chosen, rounds, measured)
    return Run(files, chosen, rounds, measured, page, address, INDEX, options)


def _rewriter(settings: Settings, *, quiet: bool) -> Rewriter:
    from dar_search.bootstrap import load_encoder, load_imaginer, load_reformulator

    with busy(f"Loading {settings.encoder} ...", quiet=quiet):
        encoder = load_encoder(settings)
        return Rewriter(settings, encoder, load_reformulator(settings), load_imaginer(settings, encoder))


def _show(run: Run, common: CommonOptions) -> None:
    from dar_search.cli.shown.demo import print_run, run_as_json

    if common.json:
        print_json(run_as_json(run))
    else:
        print_run(run)


def _demo_settings(
    common: CommonOptions, encoder: EncoderOptions, rewriting: RewritingOptions, data: Path | None
) -> tuple[Settings, Path]:
    """The demo's own models and store, unless the command line names others: one's own index is never touched."""
    encoder = replace(encoder, encoder=encoder.encoder or "demo", preset=encoder.preset or "demo")
    rewriting = replace(rewriting, imaginer=rewriting.imaginer or "demo")
    settings = settings_from(common, encoder, rewriting)
    folder = (data or settings.data_folder / "demo").expanduser().absolute()
    if common.store is None:
        settings = settings_from(replace(common, store=f"sqlite:{folder / 'demo.sqlite'}"), encoder, rewriting)
    return settings, folder


def _sketcher(settings: Settings, rewriter: Rewriter) -> Imaginer | None:
    """The demo's own painter where its prior imagines, which draws nothing: what is imagined should be seen."""
    if settings.imaginer != "demo":
        return None
    return catalogue.imaginer("demo-pictures", rewriter.encoder, device=settings.device, dtype=settings.dtype)


@contextmanager
def _small_models_in_one_thread(settings: Settings) -> Iterator[None]:
    """The demo's own models are so small that threads which share their operations wait more than they compute, and on
    a busy machine wait for seconds."""
    import torch

    before = torch.get_num_threads()
    if settings.encoder == "demo" and settings.imaginer in catalogue.BUNDLED_IMAGINERS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ingested(store: Store, rewriter: Rewriter, manifest: Path, common: CommonOptions) -> ImageIndex:
    from dar_search.ingestion.ingest import IngestRequest, ingest
    from dar_search.ingestion.sources.opening import open_source

    index = _index(store, rewriter, own=common.store is None)
    source = open_source(manifest)
    with progress_bar(quiet=common.json) as bar:
        task = bar.add_task("Ingesting", total=None)
        report = ingest(
            source,
            index,
            rewriter.encoder,
            IngestRequest(prune=True),
            progress=lambda state: bar.update(task, completed=state.done, total=state.total),
        )
    if report.failures:
        first = report.failures[0]
        raise RequestError(
            f"{len(report.failures)} of the demo's pictures failed, the first with {first.code}: {first.message}",
            "Draw them again: name an empty folder with --data.",
        )
    return index


def _index(store: Store, rewriter: Rewriter, *, own: bool) -> ImageIndex:
    provenance = rewriter.encoder.provenance
    try:
        return store.open(INDEX, provenance)
    except IndexNotFound:
        return store.create(INDEX, provenance)
    except EncoderMismatch:
        # Only in the demo's own file: there it was left by an earlier version's models.
        if not own:
            raise
        store.drop(INDEX)
        return store.create(INDEX, provenance)


@contextmanager
def _step(what: str, total: int, common: CommonOptions) -> Iterator[Callable[[int], None]]:
    """A progress bar; yields what sets it."""
    with progress_bar(quiet=common.json) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def a_person_looks_on(terminal: bool, environment: Mapping[str, str]) -> bool:
    """CI=true: a build server, which may have a terminal but nobody at it."""
    return terminal and environment.get("CI", "").lower() not in ("true", "1")


def _serve(folder: Path, port: int) -> None:
    from dar_search.cli.running.serving import serve_folder

    def ready(address: str) -> None:
        line = Text.assemble(("\nLook at it: ", "bold"), (address, "cyan underline"), ("   (Ctrl-C ends)", "dim"))
        side_console().print(line, soft_wrap=True)

    try:
        serve_folder(folder, port, ready)
    except KeyboardInterrupt:
        note("\nStopped.")
