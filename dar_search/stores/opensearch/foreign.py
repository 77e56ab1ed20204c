"""Metadata fields that somebody else mapped (for a dashboard, by a template), or that an index does not take.

Such a field stays theirs: a record that brings it is refused, with the field's name and type; all others go in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from dar_search.data import Failure, ImageRecord
from dar_search.errors import StoreError

Refusals = list[tuple[str, Failure]]


def without_foreign_fields(
    records: Sequence[ImageRecord], foreign: Mapping[str, str]
) -> tuple[Sequence[ImageRecord], Refusals]:
    """The records that bring none of these fields (name -> type of the mapping), and the refusals of the others."""
    return _parted(
        records,
        foreign,
        "metadata_type",
        lambda name: f'"{name}" is mapped as {foreign[name]} in this index, a type that dar-search does not write.',
    )


def without_new_fields(
    records: Sequence[ImageRecord], new: Collection[str], error: StoreError
) -> tuple[Sequence[ImageRecord], Refusals]:
    """The records that bring none of these fields, which the index does not take, and the refusals of the others."""
    return _parted(
        records, new, "metadata_fields", lambda name: f'The index takes no new field "{name}". {error.message}'
    )


def _parted(
    records: Sequence[ImageRecord], fields: Collection[str], code: str, said: Callable[[str], str]
) -> tuple[Sequence[ImageRecord], Refusals]:
    if not fields:
        return records, []
    kept: list[ImageRecord] = []
    refused: Refusals = []
    for record in records:
        named = next((name for name in record.metadata if name in fields), None)
        if named is None:
            kept.append(record)
        else:
            left_out = tuple(name for name in record.metadata if name in fields)
            refused.append((record.id, Failure(record.source or record.id, code, said(named), left_out)))
    return kept, refused
