"""Who is to blame for what a bulk request's answer refuses: one picture, or the index as a whole.

OpenSearch says both in the same place, item by item, and mostly with status 400: a closed index, a missing ingest
pipeline or a required routing refuses each document for itself. A picture that is refused is a failure of that picture;
an index that takes nothing is an error, so that a job pauses with the reason and no picture is called bad.

What the server says decides where it is clear. Where it is not (a processor of an ingest pipeline, an error that this
project has never met), the company does: where the same index takes other pictures, it is the picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dar_search.errors import IndexNotFound, StoreError, StoreForbidden, StoreUnavailable
from dar_search.stores.opensearch.cluster.calls import mapped_part

STRICT = "strict_dynamic_mapping_exception"
# Errors of a document's own content, unless what caused them says otherwise.
_OF_THE_PICTURE = frozenset({"mapper_parsing_exception", STRICT, "max_bytes_length_exceeded_exception"})
_IMMENSE_TERM = "immense term"  # an illegal_argument_exception like many others
_CLOSED = "index_closed_exception"
# k-NN reports its own state as a field that cannot be parsed: a type, and a reason.
_KNN_BUSY, _KNN_OFF = "knn_circuit_breaker_exception", "KNN plugin is disabled"
_HINTS: Mapping[str, str] = {
    r"routing_missing": "Its mapping requires a routing, by an index template perhaps: make the index anew without.",
    r"pipeline with id": "Make that ingest pipeline, or unset index.default_pipeline and index.final_pipeline.",
    r"no write index": "Set is_write_index of its write alias (POST /_aliases).",
    r"processor|script_exception|dropped|renamed": "Look at its ingest pipeline: index.default_pipeline or "
    "index.final_pipeline.",
    r"KNN plugin is disabled": "Set knn.plugin.enabled to true (PUT /_cluster/settings).",
}
_NO_HINT = "Look at its settings, its mapping and its ingest pipelines: GET /INDEX."


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that the index will never take as it is: the server's type of error, and its reason."""

    kind: str
    reason: str


def is_of_the_picture(target: str, status: int, error: Mapping[str, Any]) -> bool:
    """Whether an item's error clearly is the picture's own; where not, the company decides.

    Args:
        target: what was written to, for messages.

    Raises the error of the whole index where it clearly is one: StoreUnavailable where another try may work.
    """
    for kind, reason in _causes(error):
        if kind == _KNN_BUSY:
            hint = "The cluster lacks memory for its k-NN graphs: GET /_plugins/_knn/stats."
            raise StoreUnavailable(f'"{target}" takes no vectors now: {reason}', hint)
        if _KNN_OFF in reason:
            raise takes_nothing(target, Refused(kind, reason))
    mapped = mapped_part(status, error)
    if error["type"] == _CLOSED or isinstance(mapped, StoreUnavailable | IndexNotFound | StoreForbidden):
        raise mapped
    return error["type"] in _OF_THE_PICTURE or _IMMENSE_TERM in reason_of(error)


def takes_nothing(target: str, refused: Refused) -> StoreError:
    """The error of an index that refuses every picture for the same reason."""
    said = f"{refused.kind}: {refused.reason}"
    hint = next((hint for pattern, hint in _HINTS.items() if re.search(pattern, said)), _NO_HINT)
    return StoreError(f'"{target}" takes no pictures: {said}.', hint.replace("INDEX", target))


def _causes(error: Mapping[str, Any]) -> list[tuple[str, str]]:
    causes = []
    cause = error.get("caused_by")
    while isinstance(cause, Mapping):
        causes.append((str(cause.get("type", "")), str(cause.get("reason", ""))))
        cause = cause.get("caused_by")
    return causes


def reason_of(error: Mapping[str, Any]) -> str:
    """The reason, with its cause's, at most 500 characters."""
    cause = error.get("caused_by") or {}
    return ": ".join(part for part in (error.get("reason"), cause.get("reason")) if part)[:500]
