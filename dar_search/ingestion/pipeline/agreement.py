"""Whether vectors that are brought along are the encoder's: some of their pictures, where those can be read, tell.

The encoder encodes them as it would any picture. Vectors of another model point elsewhere altogether (a cosine near 0),
as do those of rows that were mixed up; another resizing or format of the same picture costs a few hundredths. The
middle one of the cosines decides, so that some pictures that have changed since do not.
"""

from __future__ import annotations

import dataclasses
from contextlib import closing

import numpy as np

from dar_search.data import FloatArray
from dar_search.errors import EncoderMismatch, PictureError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job
from dar_search.ingestion.sources.source import Source, SourceItem, VectorSource
from dar_search.ingestion.sources.vectors.reading import Vectors
from dar_search.ports import Encoder

SAMPLE = 32
LEAST = 0.98


def brings_vectors(source: Source) -> bool:
    return isinstance(source, VectorSource) and source.brings_vectors


def check_vectors(source: Source, encoder: Encoder, decoders: Decoders) -> tuple[str, ...]:
    """What a person should know of it; nothing where the source brings no vectors.

    Args:
        decoders: good for this alone.

    Raises EncoderMismatch, with what was measured, where the vectors are not the encoder's; SourceError.
    """
    if not isinstance(source, VectorSource) or not source.brings_vectors:
        return ()
    name, dimension = encoder.provenance.encoder, encoder.provenance.dimension
    given: dict[str, tuple[SourceItem, FloatArray]] = {}
    found: set[int] = set()
    with closing(Vectors(decoders.allowance)) as vectors:
        for item in source.spread(SAMPLE):
            try:
                vector = vectors.vector(item.vector)
            except PictureError:  # it will be a failure of its own
                continue
            found.add(len(vector))
            if len(vector) == dimension and (item.at or item.path):
                given[item.id] = (dataclasses.replace(item, vector=""), vector)
    if found and dimension not in found:
        message = f"The vectors have {found.pop()} dimensions, and the encoder {name} has {dimension}."
        raise EncoderMismatch(message, "Name the encoder that made them: --encoder.")
    jobs = [Job(item) for item, _ in given.values()]
    decoded = [one for one in decoders.decode(jobs) if isinstance(one, Decoded)]
    if not decoded:
        return (f"No picture of the vectors could be read: that they are of {name} was not checked.",)
    encoded = encoder.encode_prepared(np.stack([one.pixels for one in decoded]))
    cosines = [float(given[one.job.item.id][1] @ vector) for one, vector in zip(decoded, encoded, strict=True)]
    middle = float(np.median(cosines))
    if not middle >= LEAST:
        message = (
            f"The vectors are not what the encoder {name} gives for their pictures: cosine {middle:.3f} "
            f"({min(cosines):.3f} to {max(cosines):.3f}) over {len(cosines)} pictures, and {LEAST} is needed."
        )
        raise EncoderMismatch(message, "Name the encoder that made them, or have the pictures encoded anew.")
    return ()
