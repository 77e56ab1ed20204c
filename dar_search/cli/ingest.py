"""`dar ingest`: make pictures searchable, of a folder, a list, or another source."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from dar_search.cli.options.reading import ReadingOptions, source_options
from dar_search.cli.options.shared import (
    CommonOptions,
    EncoderOptions,
    grouped,
    repeated,
    settings_from,
    without_login,
)
from dar_search.cli.running.choosing import with_encoder
from dar_search.cli.running.opening import opened_store
from dar_search.cli.shown.output import (
    DONE,
    DONE_WITH_FAILURES,
    answer_console,
    busy,
    note,
    plain_text,
    print_json,
    progress_bar,
    warn,
)
from dar_search.cli.shown.sources import remark_lines, shown_source
from dar_search.data import Provenance
from dar_search.demo.rendering import STORED_SIDE
from dar_search.errors import IndexExists, IndexNotFound, SettingsError
from dar_search.ingestion.jobs import report as reports
from dar_search.ports import Encoder, ImageIndex, Store
from dar_search.settings import AUTO, Settings

if TYPE_CHECKING:
    from dar_search.ingestion.ingest import IngestRequest
    from dar_search.ingestion.sources.source import Source

_FAILURES_SHOWN = 20
_LOOKED_AT = 20


@grouped
def ingest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Where the pictures are: a folder, a list (FILE.jsonl, .csv, .parquet, or its URL), "
            "'shards-{00..09}.tar', or opensearch:INDEX.",
            show_default=False,
        ),
    ],
    index: Annotated[
        str,
        typer.Option(metavar="NAME", help="The index to fill; it is made if it is not there.", show_default=False),
    ],
    common: CommonOptions,
    encoder: EncoderOptions,
    reading: ReadingOptions,
    prune: Annotated[
        bool,
        typer.Option("--prune", metavar="", help="Also remove what came from this source and is no longer there."),
    ] = False,
    moved_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Where the pictures were before, if dar cannot know that they are gone from there: on a disk that is "
            "mounted elsewhere now, on another machine. May be repeated.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", metavar="", help="Fetch the encoder, where it is not here, without asking.")
    ] = False,
) -> int:
    """Make pictures searchable: of a folder, a list, tar shards, or an index that you have.

    Run it again after a change: what did not change is not encoded again. A picture that cannot be read is listed,
    and the others go in. Killed at any moment, run it again and it goes on.

    JPEG, PNG, GIF, WebP, AVIF, TIFF, BMP are decoded, and HEIC with the extra "heif". What one may cost is set in the
    table ingest.decode (max_megapixels, max_side, seconds, ...); a failure names the setting.

    What is there and is no picture is counted by kind; so are captions and metadata that cannot be used.

    A picture that was moved or renamed takes its record along, and is not encoded again.

    Captions come from a .txt file beside a picture, or from a list with one picture a line or row: JSONL, CSV whose
    first line names the columns, or Parquet (the extra "parquet"). All other fields are metadata:

      {"path": "cats/1.jpg", "caption": "a cat on a sofa", "city": "Paris"}

    A folder that img2dataset wrote is read as it is. So are vectors that exist already, as clip-retrieval writes them
    (img_emb, metadata), or in a column of a Parquet list: --vectors. Nothing is encoded then, but for a few pictures,
    where they can be read: vectors that are not --encoder's are refused.

    Examples:

      dar ingest ./photos --index photos
      dar ingest products.jsonl --index products --prune
      dar ingest ./photos --index photos --store http://localhost:9200
      dar ingest /media/new/photos --index photos --moved-from /media/old/photos
      dar ingest 'shards-{000..009}.tar' --index photos
      dar ingest ~/Pictures --index photos --exclude previews/ --exclude '*.gif'
      dar ingest list.csv --field image_url --caption title --index photos
      dar ingest embeddings/ --encoder open_clip:ViT-B-32/laion2b_s34b_b79k --index photos
      dar ingest https://example.org/list.jsonl --index photos
      dar ingest opensearch:products --field image_url --caption title --metadata brand --index product-photos

    Exit status: 0 all are in, 3 some pictures failed (they are listed).
    """
    from dar_search.bootstrap import load_encoder, outside
    from dar_search.ingestion.decoding.limits import limits_of
    from dar_search.ingestion.ingest import IngestRequest, decoders_of
    from dar_search.ingestion.pipeline.agreement import brings_vectors, check_vectors
    from dar_search.ingestion.sources.opening import open_source
    from dar_search.models.choosing import remember_folder

    settings = settings_from(common, encoder)
    asked = settings.ingest
    options = source_options(reading, source, settings)
    with (
        outside(settings) as reach,
        nullcontext(open_source(source, outside=reach, **asdict(options))) as pictures,
        opened_store(settings) as store,
    ):
        stored = _provenance(store, index)
        has_vectors = brings_vectors(pictures)
        if has_vectors and stored is None and settings.encoder == AUTO:
            raise SettingsError("Which encoder made the vectors is not said.", "Name it: --encoder.")
        settings = with_encoder(settings, stored, yes=yes)
        request = IngestRequest(
            prune=prune,
            moved_from=tuple(_place(one) for one in moved_from or ()),
            batch_size=asked.batch_size,
            limits=limits_of(asked.decode),
            processes=asked.decoders,
            outside=reach,
            store=store.address,
        )
        with busy(f"Loading the encoder {settings.encoder} ...", quiet=common.json):
            model = load_encoder(settings)
            checked = check_vectors(pictures, model, decoders_of(model, request))
            target = _open_or_create(store, index, model, warm=not has_vectors)
            remember_folder(settings, model.provenance)
        request = replace(request, agreement=checked)
        report = _watched(settings, pictures, target, model, request, quiet=common.json)
        total = target.count()
        strange = _has_strangers(target)
    if strange:
        warn(
            "These pictures are not the demo's drawings, and its encoder has seen nothing else: searches will find "
            "little. For photographs, make another index without --encoder demo."
        )
    for line in report.notes:
        warn(line)
    if common.json:
        print_json(report.as_dict())
    else:
        _print_report(report, index, total)
        if total:
            note(f"Find one: dar chat --index {index}{repeated(common, encoder)}", "dim")
    return DONE_WITH_FAILURES if report.failures else DONE


def _place(moved_from: str) -> str:
    """As it was typed: the ledger keeps it. Raises SettingsError for an address with a password in it."""
    return str(without_login("--moved-from", moved_from)) if "://" in moved_from else moved_from


def _watched(
    settings: Settings, pictures: Source, index: ImageIndex, encoder: Encoder, request: IngestRequest, *, quiet: bool
) -> reports.IngestReport:
    """The run, with a progress bar, as a job of the settings' ledger."""
    from dar_search.bootstrap import open_ledger
    from dar_search.ingestion.ingest import ingest as bring_in
    from dar_search.ingestion.jobs.ledger.retention import forget_old

    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task("Ingesting", total=None)
        try:
            with closing(open_ledger(settings)) as ledger:
                report = bring_in(
                    pictures, index, encoder, request, ledger=ledger, progress=lambda state: _show(bar, task, state)
                )
                forget_old(ledger, settings.ingest.keep_jobs_days)
        except KeyboardInterrupt:
            note("Interrupted. What was done is kept; run the same command again to go on.")
            raise
    return report


def _provenance(store: Store, index: str) -> Provenance | None:
    try:
        return store.open(index).provenance
    except IndexNotFound:
        return None


def _open_or_create(store: Store, name: str, encoder: Encoder, *, warm: bool) -> ImageIndex:
    provenance = encoder.provenance
    try:
        return store.open(name, provenance)
    except IndexNotFound:
        pass
    warm_up = getattr(encoder, "warm_up", None)
    if warm and warm_up is not None:
        # Before the index is there: that of a model that turns out to be broken would refuse the mended one.
        warm_up()
    try:
        index = store.create(name, provenance)
    except IndexExists:  # another process was faster
        return store.open(name, provenance)
    note(
        f'Made the index "{name}" in {store.address}: encoder {provenance.encoder}, {provenance.dimension} dimensions.'
    )
    return index


def _has_strangers(index: ImageIndex) -> bool:
    """Whether an index of the demo's encoder, which has seen the demo's drawings alone, has other pictures."""
    if index.provenance.encoder != "demo":
        return False
    some = index.get(list(islice(index.ids(), _LOOKED_AT))).values()
    return any((one.width, one.height) != (STORED_SIDE, STORED_SIDE) for one in some)


def _show(bar: Progress, task: TaskID, state: reports.Progress) -> None:
    failed = f", {state.failed:,} failed" if state.failed else ""
    unchanged = f", {state.unchanged:,} unchanged" if state.unchanged else ""
    bar.update(task, completed=state.done, total=state.total, description=f"Ingesting{unchanged}{failed}")


def _print_report(report: reports.IngestReport, index: str, total: int) -> None:
    for failure in report.failures[:_FAILURES_SHOWN]:
        note(f"failed: {shown_source(failure.source)}: {failure.message} ({failure.code})", "red")
    if len(report.failures) > _FAILURES_SHOWN:
        note(f"... and {len(report.failures) - _FAILURES_SHOWN:,} more; all are listed with --json.", "red")
    counts = {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "failed": len(report.failures),
        "moved": report.moved,
        "removed": report.removed,
    }
    line = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what == "indexed")
    for remark in remark_lines(report.remarked):
        note(remark, "yellow")
    console = answer_console()
    console.print(plain_text(f"{line}. The index {index} holds {total:,} pictures."), soft_wrap=True)
