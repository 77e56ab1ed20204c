"""What an index keeps of a picture in `_source`: all, unless its mapping, or a template for "*", leaves something out.

Searching does without the vectors in `_source`. Reading a picture back does not: an explanation, a question, "more like
this", and a new caption on a picture that is there. So an index is not made without them, and one that is there is
searched, says once that they are missing, and answers without what needs them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from dar_search.errors import FeatureMissing, StoreError
from dar_search.stores.bodies import layout_fields

_LOG = logging.getLogger(__name__)
_DISPENSABLE = frozenset({"vector", "thumbnail"})
_ANEW = "Make it without `_source` in its mapping, which an index template may bring (GET /_index_template)."
_SAID: set[str] = set()
_LOCK = threading.Lock()


def left_out(mappings: Mapping[str, Any]) -> frozenset[str]:
    """The layout's fields that `_source` does not hold, whole or in part."""
    source = mappings.get("_source", {})
    fields = layout_fields()
    if source.get("enabled") is False:
        return frozenset(fields)
    includes, excludes = source.get("includes") or ["*"], source.get("excludes") or []
    return frozenset(
        field for field in fields if not _any(field, includes) or _any(field, excludes) or _parts(field, excludes)
    )


def check_kept(name: str, missing: frozenset[str]) -> None:
    """Says once what an index does without. Raises StoreError where it cannot be used."""
    if missing - _DISPENSABLE:
        raise not_whole(name, missing)
    if missing and _first_time(name):
        _LOG.warning("%s", done_without(name, missing))


def done_without(name: str, missing: frozenset[str]) -> str:
    """What an index that leaves these fields out does without, for a person."""
    without = "explanations, questions, more like this and new captions" if "vector" in missing else "thumbnails"
    return f'The index "{name}" leaves {_listed(missing)} out of `_source`: it is searched, without {without}.'


def not_whole(name: str, missing: frozenset[str]) -> StoreError:
    """The error of an index that cannot give back what was written."""
    return StoreError(
        f'The index "{name}" leaves {_listed(missing)} out of `_source`, so that a picture cannot be read back.', _ANEW
    )


def without_vectors(name: str) -> FeatureMissing:
    """The error of what needs a picture's stored vector."""
    return FeatureMissing(
        f'The index "{name}" leaves its vectors out of `_source`: there are no explanations, questions or "more like '
        'this", and a stored picture gets no new caption.',
        _ANEW,
    )


def _first_time(name: str) -> bool:
    with _LOCK:
        first = name not in _SAID
        _SAID.add(name)
    return first


def _any(field: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(field, pattern) for pattern in patterns)


def _parts(field: str, patterns: list[str]) -> bool:
    """Whether a pattern names a part of the field, such as metadata.year."""
    return any(pattern.startswith(f"{field}.") for pattern in patterns)


def _listed(fields: frozenset[str]) -> str:
    return ", ".join(sorted(fields))
