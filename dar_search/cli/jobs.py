"""`dar jobs`: what ingest jobs do and did, and what to do about them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from rich.table import Table

from dar_search.cli.commands import CONTEXT
from dar_search.cli.options.shared import CommonOptions, grouped, settings_from
from dar_search.cli.shown.output import (
    DONE,
    DONE_WITH_FAILURES,
    answer_console,
    columns_of,
    note,
    plain,
    plain_text,
    print_json,
    progress_bar,
)
from dar_search.cli.shown.sources import remark_lines, shown_source
from dar_search.errors import RequestError
from dar_search.ingestion.jobs.data import Job
from dar_search.ingestion.jobs.ledger.job_rows import failure_fields, jobs_fields
from dar_search.ingestion.jobs.ledger_port import Ledger, counted_jobs

app = typer.Typer(
    help="List and watch ingest jobs, see and retry their failures, pause, resume, cancel and remove them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=CONTEXT,
)
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id; `last` is the newest.", show_default=False)]
LOOK_SECONDS = 1.0
_FAILURES_SHOWN = 50


@contextmanager
def _opened(common: CommonOptions) -> Iterator[Ledger]:
    from dar_search.bootstrap import open_ledger

    with closing(open_ledger(settings_from(common))) as ledger:
        yield ledger


def _found(ledger: Ledger, job: str) -> Job:
    """The job of that id. Raises JobNotFound, RequestError where there is none at all."""
    if job != "last":
        return ledger.job(job)
    newest = ledger.jobs(limit=1)
    if not newest:
        raise RequestError(f"There is no job in {ledger.address} yet.", "`dar ingest` makes one.")
    return ledger.job(newest[0].id)


@app.command("list")
@grouped
def list_jobs(
    common: CommonOptions,
    running: Annotated[bool, typer.Option("--running", metavar="", help="Only those that are not ended.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many, the newest first.")] = 20,
) -> None:
    """List jobs, the newest first.

    Example:  dar jobs list --running
    """
    with _opened(common) as ledger:
        jobs = counted_jobs(ledger, running=running, limit=limit)
        address = ledger.address
    if common.json:
        print_json({"ledger": address, "jobs": [jobs_fields(job) for job in jobs]})
        return
    if not jobs:
        note(f"No job in {address}.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("job", "state", "index", "done", "failed", "source"):
        table.add_column(heading, justify="right" if heading in ("done", "failed") else "left")
    for job in jobs:
        done = f"{job.settled:,} of {_total(job)}"
        table.add_row(
            plain_text(job.id),
            plain_text(job.state),
            plain_text(job.spec.index),
            done,
            f"{job.failed:,}",
            plain_text(shown_source(job.spec.source)),
        )
    answer_console().print(table)


@app.command()
@grouped
def show(job: JobId, common: CommonOptions) -> None:
    """Show a job: its state, its counts, its failures by code, and what was there and not taken.

    Example:  dar jobs show last
    """
    with _opened(common) as ledger:
        found = _found(ledger, job)
    fields = jobs_fields(found)
    if common.json:
        print_json(fields)
        return
    lines = fields | {
        "failures": ", ".join(f"{number:,} {code}" for code, number in fields["failures"].items()),
        "notes": " ".join(fields["notes"]),
    }
    apart = ("skipped", "warnings")  # a line for each reason
    shown = (
        (label, plain(str(value)))
        for label, value in lines.items()
        if value not in (None, "", []) and label not in apart
    )
    answer_console().print(columns_of(shown), markup=False)
    for line in remark_lines(found.remarked):
        answer_console().print(plain_text(line), soft_wrap=True)


@app.command()
@grouped
def watch(job: JobId, common: CommonOptions) -> int:
    """Watch a job with a progress bar until it ends. Ctrl-C ends the watching, not the job.

    Exit status: 0 all are in, 3 some pictures failed or the job was cancelled.
    """
    with _opened(common) as ledger, progress_bar(quiet=common.json) as bar:
        found = _found(ledger, job)
        task = bar.add_task("", total=None)
        while True:
            found = ledger.job(found.id)
            failed = f", {found.failed:,} failed" if found.failed else ""
            reason = f" ({plain(found.reason)[:80]})" if found.reason else ""
            bar.update(task, completed=found.settled, total=found.total, description=f"{found.state}{reason}{failed}")
            if found.state in ("done", "cancelled"):
                break
            time.sleep(LOOK_SECONDS)
    if common.json:
        print_json(jobs_fields(found))
    else:
        line = f"{found.state}: {found.indexed:,} indexed, {found.unchanged:,} unchanged, {found.failed:,} failed."
        answer_console().print(plain_text(line))
    return DONE if found.state == "done" and not found.failed else DONE_WITH_FAILURES


@app.command()
@grouped
def failures(
    job: JobId,
    common: CommonOptions,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="How many.")] = _FAILURES_SHOWN,
    after: Annotated[str, typer.Option(metavar="PLACE", help="Go on after this place of an earlier answer.")] = "",
) -> None:
    """List what failed, and why.

    Example:  dar jobs failures last --json
    """
    with _opened(common) as ledger:
        found = _found(ledger, job)
        listed = ledger.failures(found.id, after=after, limit=limit)
    if common.json:
        more = listed[-1].place if len(listed) == limit else None
        print_json({"job": found.id, "failures": [failure_fields(one) for one in listed], "after": more})
        return
    for one in listed:
        failure = one.failure
        line = f"{shown_source(failure.source)}: {failure.message} ({failure.code})"
        answer_console().print(plain_text(line), soft_wrap=True)
    if found.failed > len(listed):
        note(f"{found.failed:,} in all.", "dim")


@app.command()
@grouped
def retry(
    job: JobId,
    common: CommonOptions,
    code: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Only failures with this code.")] = None,
) -> None:
    """Do failures again, after what caused them is mended. The workers of the ingest service do it.

    Example:  dar jobs retry last --code refused
    """
    with _opened(common) as ledger:
        found = _found(ledger, job)
        if found.spec.local:
            raise RequestError(
                "The job was drained by `dar ingest` itself, and no worker takes it.",
                "Run the same `dar ingest` again: what is in is not encoded again.",
            )
        number = ledger.retry(found.id, code or None)
        left = ledger.job(found.id)
    if common.json:
        print_json({"retried": number, **jobs_fields(left)})
        return
    answer_console().print(plain_text(f"{number:,} of {found.failed:,} failures are done again."))


@app.command()
@grouped
def pause(job: JobId, common: CommonOptions) -> None:
    """Pause a job: what is in hand is finished."""
    with _opened(common) as ledger:
        _tell(ledger.pause(_found(ledger, job).id, "Paused by a person."), common)


@app.command()
@grouped
def resume(job: JobId, common: CommonOptions) -> None:
    """Let a paused job run on."""
    with _opened(common) as ledger:
        _tell(ledger.resume(_found(ledger, job).id), common)


@app.command()
@grouped
def cancel(job: JobId, common: CommonOptions) -> None:
    """Cancel a job for good. What is in the index stays."""
    with _opened(common) as ledger:
        _tell(ledger.cancel(_found(ledger, job).id, "Cancelled by a person."), common)


@app.command()
@grouped
def remove(job: JobId, common: CommonOptions) -> None:
    """Remove an ended job and its failures from the list. What is in the index stays."""
    with _opened(common) as ledger:
        found = _found(ledger, job)
        ledger.forget(found.id)
    if common.json:
        print_json({"removed": found.id})
    else:
        answer_console().print(plain_text(f"Job {found.id} is removed."))


def _tell(job: Job, common: CommonOptions) -> None:
    if common.json:
        print_json(jobs_fields(job))
    else:
        answer_console().print(plain_text(f"Job {job.id} is {job.state}."))


def _total(job: Job) -> str:
    return "?" if job.total is None else f"{job.total:,}"
