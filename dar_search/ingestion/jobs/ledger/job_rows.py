"""A job as a ledger's row, and back; and as JSON for people and programs."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from dar_search.errors import StoreCorrupt, StoreTooNew
from dar_search.ingestion.jobs.data import Job, JobFailure, JobSpec, Noted, Remarked
from dar_search.ingestion.jobs.ledger.rows import Key, Row

# 2: what was remarked in listing, and how many records were moved.
VERSION = 2
_COUNTED = ("indexed", "unchanged", "failed", "codes")  # they are the shards'
_NAMED = ("id", "state")


def job_row(job: Job, retries: int = 0) -> Row:
    """The row without the counts, which the shards have."""
    fields = {
        field.name: getattr(job, field.name)
        for field in dataclasses.fields(Job)
        if field.name not in (*_COUNTED, *_NAMED, "spec")
    }
    written = {"spec": dataclasses.asdict(job.spec), "remarked": dataclasses.asdict(job.remarked)}
    body = fields | written | {"notes": list(job.notes), "version": VERSION, "retries": retries}
    return Row(Key("job", job.id), job.state, body=body)


def job_of(row: Row) -> Job:
    """The job of a row. Raises StoreTooNew, StoreCorrupt."""
    fields = dict(row.body)
    fields.pop("retries", None)
    version = fields.pop("version", 0)
    if version > VERSION:
        raise StoreTooNew(f'The job "{row.key.job}" was made by a newer dar-search.', "Upgrade this one.")
    try:
        given = fields.pop("spec")
        spec = JobSpec(**given | {"moved_from": tuple(given.get("moved_from", ()))})
        read = {"notes": tuple(fields["notes"]), "remarked": _remarked(fields.get("remarked", {}))}
        return Job(row.key.job, spec, row.state, **fields | read)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(f'The ledger\'s row of the job "{row.key.job}" is damaged ({error}).', "") from error


def _remarked(fields: Mapping[str, Any]) -> Remarked:
    return Remarked(
        **{
            group: {code: Noted(one["count"], one["kinds"], tuple(one["examples"])) for code, one in noted.items()}
            for group, noted in fields.items()
        }
    )


def remarked_fields(remarked: Remarked) -> dict[str, dict[str, dict[str, Any]]]:
    """`{"skipped": {CODE: {"count", "kinds", "examples"}}, "warnings": {...}}`; see `ingestion.jobs.remarks`."""
    return {
        group: {
            code: {"count": one.count, "kinds": dict(one.kinds), "examples": list(one.examples)}
            for code, one in noted.items()
        }
        for group, noted in (("skipped", remarked.skipped), ("warnings", remarked.warnings))
    }


def jobs_fields(job: Job) -> dict[str, Any]:
    """A job as people and programs see it: `dar jobs --json` and the ingest service."""
    return {
        "id": job.id,
        "state": job.state,
        "reason": job.reason,
        "index": job.spec.index,
        "source": job.spec.source,
        "prune": job.spec.prune,
        "local": job.spec.local,
        "total": job.total,
        "listed": job.items,
        "indexed": job.indexed,
        "unchanged": job.unchanged,
        "failed": job.failed,
        "failures": dict(job.codes),
        **remarked_fields(job.remarked),
        "moved": job.moved,
        "removed": job.removed,
        "notes": list(job.notes),
        "created": _when(job.created),
        "ended": _when(job.ended),
    }


def failure_fields(one: JobFailure) -> dict[str, str | bool]:
    """A failure as people and programs see it, in the same places."""
    failure = one.failure
    return {
        "source": failure.source,
        "code": failure.code,
        "message": failure.message,
        "place": one.place,
        "replayable": one.replayable,
    }


def _when(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
