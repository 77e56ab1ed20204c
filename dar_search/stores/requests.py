"""Whether a search can be run as asked: one rule for every store."""

from __future__ import annotations

import numpy as np

from dar_search.errors import DimensionMismatch, RequestError
from dar_search.method.fusion import check_candidates, check_score_fusion
from dar_search.ports import MAX_DEPTH, SearchRequest


def check_request(request: SearchRequest, dimension: int) -> None:
    """Raises DimensionMismatch for a vector of another length than `dimension`, and RequestError."""
    if request.vector is None and request.text is None:
        raise RequestError("A search needs a vector, a text or both.")
    for name in ("depth", "size", "offset"):
        if type(getattr(request, name)) is not int:
            raise RequestError(f"The {name} of a search is a whole number, not {getattr(request, name)!r:.40}.")
    if not 1 <= request.depth <= MAX_DEPTH:
        raise RequestError(f"The depth of a search is 1 to {MAX_DEPTH:,}, not {request.depth}.")
    if request.size < 1 or request.offset < 0:
        raise RequestError(
            f"A page has a size of at least 1 and starts at 0, not {request.size} from {request.offset}."
        )
    if request.offset + request.size > request.depth:
        raise RequestError(
            f"The page of {request.size} from {request.offset} ends beyond the search's depth of {request.depth}.",
            f"Ask for a greater depth, at most {MAX_DEPTH:,}, the same on all pages.",
        )
    if request.vector is not None:
        if not isinstance(request.vector, np.ndarray):
            raise RequestError(f"The query vector is an array of numbers, not {type(request.vector).__name__}.")
        _check_vector(request.vector, dimension)
    if request.vector is not None and request.text is not None:
        check_score_fusion(request.fusion)
    check_candidates(request.fusion)


def _check_vector(vector: np.ndarray, dimension: int) -> None:
    if vector.shape != (dimension,):
        found = f"{vector.shape[0]} dimensions" if vector.ndim == 1 else f"the shape {vector.shape}"
        raise DimensionMismatch(
            f"The query vector has {found}; the index has {dimension}.", "Search with the encoder that made the index."
        )
    if vector.dtype.kind != "f" or not np.isfinite(vector).all():
        raise RequestError("The query vector has values that are no finite numbers.")
    if not vector.any():
        raise RequestError("The query vector is zero: it has no direction to search in.")
