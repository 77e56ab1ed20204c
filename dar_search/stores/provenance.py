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
    """Raises EncoderMismatch, saying what differs, if an index of `stored` cannot be used with `wanted`.

    A model is known by its content, where its revision is a digest of it: under another name or in another place it is
    the same. An index of an earlier version, whose revision says nothing of texts, goes with any tokenizer.
    """
    if wanted is None or wanted.identity == stored.identity:
        return
    weights, _, texts = stored.revision.partition(".")
    by_content = stored.by_content and wanted.by_content
    same_weights = wanted.revision.partition(".")[0] == weights if by_content else wanted.revision == stored.revision
    revisions = f"(revision {stored.revision}, not {wanted.revision})"
    hint = f"Use the encoder {stored.encoder} with revision {stored.revision}, or make a new index."
    if stored.encoder != wanted.encoder and not (by_content and same_weights):
        difference = f"the encoder {stored.encoder}, not {wanted.encoder} {revisions if by_content else ''}".rstrip()
    elif not same_weights:
        difference = f"other weights or settings of {stored.encoder} {revisions}"
    elif stored.dimension != wanted.dimension:
        difference = f"{stored.dimension} dimensions, not {wanted.dimension}"
    elif stored.preparation != wanted.preparation:
        difference = f'the preparation "{stored.preparation}", not "{wanted.preparation}"'
    elif by_content and not texts:
        return
    else:
        difference = f"another tokenizer of {stored.encoder} {revisions}"
        hint = f"Put back the tokenizer files that {stored.encoder} had then, or make a new index."
    raise EncoderMismatch(f'The index "{name}" was made with {difference}.', hint)
