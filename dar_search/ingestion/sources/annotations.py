"""Captions and metadata: checked once, where they come in, and part of a record's digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import orjson

from dar_search.data import Metadata, MetadataValue
from dar_search.errors import PictureError
from dar_search.filters import FIELD, MAX_INTEGER, MIN_INTEGER

MAX_CAPTION = 10_000
MAX_FIELDS = 200
MAX_VALUES = 1_000
MAX_STRING_BYTES = 32_766
_METADATA_HINT = "A value is a string, a number, true or false, or a list of one kind of these."


def parse_caption(text: object) -> str:
    """A caption on one line: runs of white space become one space. None means that there is none.

    Raises:
        PictureError: bad_caption.
    """
    if text is None:
        return ""
    if not isinstance(text, str):
        raise PictureError("bad_caption", f"A caption is text, not {_kind(text)}.", "Write it as a string.")
    caption = " ".join(text.split())
    if len(caption) > MAX_CAPTION:
        raise PictureError("bad_caption", f"The caption has more than {MAX_CAPTION:,} characters.", "Shorten it.")
    if "\0" in caption or not _is_utf8(caption):
        raise PictureError("bad_caption", "The caption is not valid text.", "Save it as UTF-8.")
    return caption


def parse_metadata(raw: Mapping[str, Any]) -> Metadata:
    """A JSON object -> metadata: values as they are, lists as tuples; null and [] mean "no such field".

    Raises:
        PictureError: bad_metadata, naming the field.
    """
    metadata: dict[str, MetadataValue] = {}
    for name, value in raw.items():
        if not FIELD.fullmatch(name) or name == "not":
            raise PictureError(
                "bad_metadata", f"{_quoted(name)} cannot name a metadata field.", "Use up to 64 letters, digits, _, -."
            )
        if value is not None and value != []:
            metadata[name] = _values(name, value) if isinstance(value, list) else _value(name, value)
    if len(metadata) > MAX_FIELDS:
        raise PictureError("bad_metadata", f"More than {MAX_FIELDS} metadata fields.", "Keep those you filter by.")
    return metadata


def annotation_digest(caption: str, metadata: Metadata) -> str:
    """The second half of `ImageRecord.digest`: sha256 of caption and metadata, whatever the fields' order."""
    canonical = orjson.dumps([caption, dict(metadata)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def _values(name: str, values: list[Any]) -> MetadataValue:
    if len(values) > MAX_VALUES:
        raise PictureError("bad_metadata", f"{_quoted(name)} has more than {MAX_VALUES:,} values.", _METADATA_HINT)
    parsed = tuple(_value(name, value) for value in values)
    if len({float if type(value) is int else type(value) for value in parsed}) > 1:
        raise PictureError("bad_metadata", f"{_quoted(name)} mixes kinds of values in its list.", _METADATA_HINT)
    return parsed  # type: ignore[return-value]  # all of one type, as just checked


def _value(name: str, value: Any) -> str | int | float | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            message = f"{_quoted(name)} is a whole number of more than 64 bits, which no index keeps exactly."
            raise PictureError("bad_metadata", message, "Put it in quotes: text of any digits is kept as it is.")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PictureError("bad_metadata", f"{_quoted(name)} holds a number that is not finite.", _METADATA_HINT)
        return value
    if isinstance(value, str):
        if not _is_utf8(value) or "\0" in value:
            raise PictureError("bad_metadata", f"{_quoted(name)} is not valid text.", "Save it as UTF-8.")
        if len(value.encode()) > MAX_STRING_BYTES:
            raise PictureError(
                "bad_metadata", f"{_quoted(name)} has more than {MAX_STRING_BYTES:,} bytes.", "Shorten it."
            )
        return value
    raise PictureError("bad_metadata", f"{_quoted(name)} holds {_kind(value)}.", _METADATA_HINT)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _quoted(name: str) -> str:
    return f'"{name[:80]}"'


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
