"""Pictures that are at a new place: the record of the old one, whose file is gone, is found by the picture's content.

It is looked for also where a picture has a right record: so what is left of a run that was killed between writing
the new record and removing the old one, or of an older dar-search, is found later. Within one origin that is done after
an interruption alone: else a picture with a record of its own is a copy, and the other one is for `--prune`.

A record whose file may still be there, on a disk that is not mounted or on another machine, stays, unless
`JobSpec.moved_from` says that it was moved from there. So does one whose id a list gave: it is another picture's for as
long as a list says so, and takes its new place when the list names that. What brings its vector needs no file: that
there is none says nothing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dar_search.data import Place
from dar_search.ingestion.decoding.jobs import Job
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.pipeline.absence import is_gone
from dar_search.ingestion.sources.locations import file_uri, is_file_uri, path_of, record_id
from dar_search.ports import ImageIndex

_JOBS_LOOKED_AT = 1_000
_ON_THIS_MACHINE = "sqlite:"


@dataclass(frozen=True, slots=True)
class Found:
    """What an index has of a picture's content.

    Attributes:
        left: ids of other records of the same content, whose files are gone.
        misplaced: whether the picture's own record says another source, or an origin that is gone.
    """

    left: tuple[str, ...] = ()
    misplaced: bool = False


class Moves:
    """Looks for the old records of one job's pictures. origin: of the job's source."""

    def __init__(self, ledger: Ledger, index: ImageIndex, job: str, origin: str) -> None:
        self._ledger = ledger
        self._index = index
        self._job = job
        self._origin = origin
        self._known: frozenset[str] | None = None
        self._said: dict[str, str] | None = None
        self._met: set[str] = set()
        self._interrupted: bool | None = None
        self._gone_origins: dict[str, bool] = {}
        self._was_empty: bool | None = None

    def found(self, pictures: Sequence[tuple[Job, str]]) -> list[Found]:
        """(job, sha256 of its picture's bytes) each -> what the index has of it. Raises StoreError."""
        if self._was_empty is None:
            self._index.refresh()
            self._was_empty = self._index.count() == 0
        if self._was_empty:  # what has come in since is where its source lists it
            return [Found()] * len(pictures)
        by_content: dict[str, list[Place]] = defaultdict(list)
        for place in self._index.with_content([sha256 for _, sha256 in pictures]):
            by_content[place.digest.partition(":")[0]].append(place)
        return [self._of(job, by_content[sha256]) for job, sha256 in pictures]

    def notes(self) -> tuple[str, ...]:
        """What a person should know, once all pictures were looked for."""
        unmet = (said for origin, said in self._moved_from().items() if origin not in self._met)
        return tuple(f'The index knew no picture of this source from "{one}": is that where it was?' for one in unmet)

    def _of(self, job: Job, places: Sequence[Place]) -> Found:
        item = job.item
        own = next((place for place in places if place.id == item.id), None)
        others = (place for place in places if place.source != item.key and place.id == record_id(place.source))
        is_copy = own is not None and not self._was_interrupted(job)
        left = (
            ()
            if item.vector
            else tuple(
                place.id for place in others if not (is_copy and place.origin == self._origin) and self._is_left(place)
            )
        )
        misplaced = own is not None and (
            own.source != item.key or (own.origin != self._origin and self._origin_is_gone(own.origin))
        )
        return Found(left, misplaced)

    def _is_left(self, place: Place) -> bool:
        if self._is_said(place):
            return is_gone(place.source, said=True)
        return (place.origin == self._origin or self._is_ours(place.origin)) and is_gone(place.source)

    def _was_interrupted(self, job: Job) -> bool:
        """Whether somebody may have ended between writing the picture's record and removing the old one."""
        if job.ticket is not None and job.ticket.lease.token > 1:
            return True
        if self._interrupted is None:
            mine = self._ledger.job(self._job).spec
            self._interrupted = any(
                other.state == "cancelled"
                and (other.spec.index, other.spec.source, other.spec.store) == (mine.index, mine.source, mine.store)
                for other in self._ledger.jobs(limit=_JOBS_LOOKED_AT)
            )
        return self._interrupted

    def _is_said(self, place: Place) -> bool:
        """Whether the job was told that its pictures were there before."""
        met = {one for one in self._moved_from() if one == place.origin or place.source.startswith(f"{one}/")}
        self._met |= met
        return bool(met)

    def _moved_from(self) -> dict[str, str]:
        """Origins, as records have them -> as they were said."""
        if self._said is None:
            self._said = {_origin(one): one for one in self._ledger.job(self._job).spec.moved_from}
        return self._said

    def _origin_is_gone(self, origin: str) -> bool:
        if origin not in self._gone_origins:
            self._gone_origins[origin] = self._is_ours(origin) and is_gone(origin)
        return self._gone_origins[origin]

    def _is_ours(self, origin: str) -> bool:
        """Whether paths of that origin mean this machine, or those that share its ledger and its pictures."""
        if self._known is None:
            mine = self._ledger.job(self._job).spec
            if mine.store.startswith(_ON_THIS_MACHINE):
                self._known = frozenset([_ON_THIS_MACHINE])
            else:
                same = (job.spec for job in self._ledger.jobs(limit=_JOBS_LOOKED_AT) if job.spec.store == mine.store)
                self._known = frozenset(_origin(spec.source) for spec in same if spec.index == mine.index)
        return bool(origin) and (_ON_THIS_MACHINE in self._known or origin in self._known)


def _origin(source: str) -> str:
    """A job's source as the records' origin has it, also where it is gone by now."""
    try:
        return file_uri(os.path.realpath(path_of(source) if is_file_uri(source) else os.fsencode(source)))
    except ValueError:
        return source
