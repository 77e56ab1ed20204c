"""Whether an index's vectors come from the encoder that wants to use them: one rule for every store."""

from __future__ import annotations

from dar_search.data import Provenance
from dar_search.errors import EncoderMismatch, RequestError

MAX_DIMENSION = 16_000
"""OpenSearch's own limit for a knn_vector."""


def check_dimension(provenance: Provenance) -> None:
    """Raises RequestError for a dimension that no index can have."""
    if not 1 <= provenance.dimension <= MAX_DIMENSION:
        raise RequestError(f"An index has 1 to {MAX_DIMENSION:,} dimensions, not {provenance.dimension}.")


def check_provenance(name: str, stored: Provenance, wanted: Provenance | None) -> None:
    """Raises EncoderMismatch, saying what differs, if an index of `stored` cannot be used with `wanted`."""
    if wanted is None or wanted == stored:
        return
    if stored.encoder != wanted.encoder:
        difference = f"the encoder {stored.encoder}, not {wanted.encoder}"
    elif stored.revision != wanted.revision:
        difference = f"other weights of {stored.encoder} (revision {stored.revision}, not {wanted.revision})"
    elif stored.dimension != wanted.dimension:
        difference = f"{stored.dimension} dimensions, not {wanted.dimension}"
    else:
        difference = f'the preparation "{stored.preparation}", not "{wanted.preparation}"'
    raise EncoderMismatch(
        f'The index "{name}" was made with {difference}.',
        f"Use the encoder {stored.encoder} with revision {stored.revision}, or make a new index.",
    )
