"""Which records a store keeps and which it refuses: one rule for every store.

Codes of refused records, stable: bad_id, bad_embedding, bad_text, metadata_field (a name that no field has),
metadata_value (a value that cannot be kept), metadata_type (another type than the field has), metadata_fields (too
many fields in the index), metadata_size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dar_search.data import Failure, FloatArray, ImageRecord
from dar_search.errors import DimensionMismatch
from dar_search.stores.fields import EXACT_FLOATS, MAX_FIELDS, FieldType, describe, is_field_name, type_of
from dar_search.values.dates import start

MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 1 << 20
MAX_METADATA_BYTES = 1 << 20
UNIT_TOLERANCE = 1e-3
"""How far from 1 an embedding's length may be: half precision's rounding stays well within it."""

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check_records` found.

    Attributes:
        accepted: in the order given; of several with the same id only the last accepted one.
        embeddings: (n, d) float32, the accepted records' rows.
        metadata: the accepted records' metadata as JSON objects.
        refused: (id, failure) for each of the others.
        new_fields: fields that the accepted records bring to the index, with their types.
        long_fields: of numbers, those to which they bring whole numbers that no float holds for sure.
        dated_fields: of strings, those to which they bring dates (and not only years, as many a code reads).
    """

    accepted: tuple[ImageRecord, ...]
    embeddings: FloatArray
    metadata: tuple[str, ...]
    refused: tuple[tuple[str, Failure], ...]
    new_fields: Mapping[str, FieldType]
    long_fields: frozenset[str]
    dated_fields: frozenset[str]


class _Refused(Exception):
    """fields: of the metadata, those without which the record would go in."""

    def __init__(self, code: str, message: str, fields: Iterable[str] = ()) -> None:
        self.code, self.message, self.fields = code, message, tuple(fields)
        super().__init__(message)


def by_id(records: Sequence[ImageRecord], versions: Sequence[int] | None) -> dict[str, int] | None:
    """The records' versions by id: of several records with the same id, the last one's. None: there are none."""
    if versions is None:
        return None
    return {record.id: int(version) for record, version in zip(records, versions, strict=True)}


def check_records(records: Sequence[ImageRecord], dimension: int, fields: Mapping[str, FieldType]) -> Checked:
    """Sorts records into those to write and those refused. `fields`: the fields that the index has already.

    Raises DimensionMismatch if any embedding is not of shape (dimension,).
    """
    lengths = [_length(record, dimension) for record in records]
    known: dict[str, FieldType] = dict(fields)
    accepted: dict[str, tuple[ImageRecord, str]] = {}
    refused: list[tuple[str, Failure]] = []
    for record, length in zip(records, lengths, strict=True):
        try:
            _check_embedding(length)
            _check_texts(record)
            text = _check_metadata(record.metadata, known)
        except _Refused as refusal:
            refused.append(_failure(record, refusal))
        else:
            accepted.pop(record.id, None)
            accepted[record.id] = (record, text)
    kept = tuple(record for record, _ in accepted.values())
    embeddings = np.empty((len(kept), dimension), np.float32)
    for row, record in enumerate(kept):
        embeddings[row] = record.embedding
    return Checked(
        accepted=kept,
        embeddings=embeddings,
        metadata=tuple(text for _, text in accepted.values()),
        refused=tuple(refused),
        new_fields={name: field_type for name, field_type in known.items() if name not in fields},
        long_fields=_fields_with(_is_long, kept),
        dated_fields=_fields_with(_is_dated, kept),
    )


def load_metadata(text: str) -> dict[str, Any]:
    """Metadata out of its JSON object: lists become tuples, all else is as it was given."""
    raw: dict[str, Any] = json.loads(text)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}


def _length(record: ImageRecord, dimension: int) -> float:
    """The embedding's length; NaN where it is no array of numbers."""
    embedding: Any = record.embedding
    shape = getattr(embedding, "shape", None)
    if shape != (dimension,):
        found = f"{shape[0]} dimensions" if shape and len(shape) == 1 else f"the shape {shape}"
        raise DimensionMismatch(
            f'The embedding of "{_printable(str(record.id))}" has {found}; the index has {dimension} dimensions.',
            "Write with the encoder that made the index, or make a new index.",
        )
    if embedding.dtype.kind != "f":
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(embedding.astype(np.float64)))


def _check_embedding(length: float) -> None:
    if not np.isfinite(length):
        raise _Refused("bad_embedding", "The embedding has values that are no finite numbers.")
    if abs(length - 1) > UNIT_TOLERANCE:
        raise _Refused("bad_embedding", f"The embedding's length is {length:.4g}, not 1.")


def _check_texts(record: ImageRecord) -> None:
    if not isinstance(record.id, str) or not record.id:
        raise _Refused("bad_id", "A record has an id that is not empty.")
    if _size(record.id, "bad_id", "id") > MAX_ID_BYTES:
        raise _Refused("bad_id", f"The id is longer than {MAX_ID_BYTES} bytes.")
    for label in ("source", "origin", "digest", "caption"):
        if _size(getattr(record, label), "bad_text", label) > MAX_TEXT_BYTES:
            raise _Refused("bad_text", f"The {label} is longer than {MAX_TEXT_BYTES >> 20} MiB.")


def _size(text: object, code: str, label: str) -> int:
    if not isinstance(text, str):
        raise _Refused(code, f"The {label} is no text.")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _Refused(code, f"The {label} has characters that UTF-8 cannot hold.") from None


def _check_metadata(metadata: Mapping[str, Any], known: dict[str, FieldType]) -> str:
    """The metadata as JSON; adds its new fields to `known` if all of it is fine."""
    new: dict[str, FieldType] = {}
    for name, value in metadata.items():
        if not is_field_name(name):
            shown = _printable(str(name))
            message = f'"{shown}" is no field name: letters, digits, _ and -, at most 64.'
            raise _Refused("metadata_field", message, [name])
        try:
            value_type = type_of(value)
        except ValueError as error:
            raise _Refused("metadata_value", f'"{name}" has a value that cannot be kept: {error}.', [name]) from None
        if value_type is None:
            continue
        field_type = known.get(name)
        if field_type is None:
            new[name] = value_type
        elif field_type != value_type:
            message = f'"{name}" is {describe(field_type)} in this index, not {describe(value_type)}.'
            raise _Refused("metadata_type", message, [name])
    if len(known) + len(new) > MAX_FIELDS:
        raise _Refused("metadata_fields", f"The index would have more than {MAX_FIELDS} metadata fields.", new)
    text = _JSON.encode(dict(metadata))
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise _Refused("metadata_size", f"The metadata is larger than {MAX_METADATA_BYTES >> 20} MiB.", metadata)
    known.update(new)
    return text


def _fields_with(says: Callable[[Any], bool], records: Iterable[ImageRecord]) -> frozenset[str]:
    """The fields of which some value is what it says."""
    found: set[str] = set()
    for record in records:
        for name, value in record.metadata.items():
            if name not in found and any(map(says, value if isinstance(value, list | tuple) else (value,))):
                found.add(name)
    return frozenset(found)


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= EXACT_FLOATS


def _is_dated(value: Any) -> bool:
    return isinstance(value, str) and len(value) > len("2024") and start(value) is not None


def _failure(record: ImageRecord, refusal: _Refused) -> tuple[str, Failure]:
    source = _printable(str(record.source or record.id), limit=2_000)
    return str(record.id), Failure(source, refusal.code, refusal.message, refusal.fields)


def _printable(text: str, limit: int = 80) -> str:
    return text[:limit].encode("utf-8", "backslashreplace").decode()
