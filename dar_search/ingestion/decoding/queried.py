"""Pictures that somebody searches with, decoded as ingestion decodes them: so a picture finds itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Undecodable
from dar_search.ingestion.decoding.limits import DecodeLimits
from dar_search.ingestion.sources.source import SourceItem
from dar_search.preparation import Preparation


def decode_files(paths: Sequence[Path], preparation: Preparation, limits: DecodeLimits) -> list[Decoded]:
    """Each file's picture, upright, in their order; in a process of its own. Raises PictureError, naming the file."""
    jobs = [Job(SourceItem(str(path), str(path), os.fsencode(path.absolute()))) for path in paths]
    decoded: dict[str, Decoded] = {}
    with closing(Decoders(preparation, limits, processes=1).bursts(jobs)) as bursts:
        for outcome in chain.from_iterable(bursts):
            if isinstance(outcome, Undecodable):
                raise PictureError(outcome.code, f"{outcome.job.item.key}: {outcome.message}")
            if isinstance(outcome, Decoded):
                decoded[outcome.job.item.id] = outcome
    return [decoded[job.item.id] for job in jobs]
