"""Captions and metadata that other programs wrote: what can be used of them, and what is wrong with the rest.

Trouble with an annotation never costs the picture. A value, a field or a whole file that cannot be kept is left out,
and said in `Annotations.troubles`, which become warnings.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from dar_search.data import Metadata, MetadataValue
from dar_search.errors import PictureError
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.annotations import MAX_CAPTION, MAX_FIELDS, parse_caption, parse_metadata
from dar_search.values import exact_json

MAX_SIDECAR_BYTES = 1 << 20
CAPTION = "caption"
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that was left out. field: of the metadata, or "caption"; place: the file, where it is another."""

    error: PictureError
    field: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Annotations:
    caption: str = ""
    metadata: Metadata = ()  # type: ignore[assignment]  # nothing
    troubles: tuple[Trouble, ...] = ()

    def tell(self, remarks: Remarks, place: str) -> None:
        """place: of the troubles that name none."""
        for trouble in self.troubles:
            remarks.warn(trouble.error, trouble.place or place, trouble.field)


def annotated(caption: object, raw: Mapping[str, Any]) -> Annotations:
    """What can be used of a caption and of an object of metadata. Never raises for what they hold."""
    troubles: list[Trouble] = []
    metadata = _usable_metadata(raw, troubles)
    return Annotations(_usable_caption(caption, troubles), metadata, tuple(troubles))


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file with annotations. content: its bytes, or why they cannot be had; place: its URI.

    for_one_file: it is named after the whole of the picture's name, as Google Takeout's are, whose "description" is
    what people wrote under the picture.
    """

    content: bytes | PictureError
    place: str
    for_one_file: bool = False


def from_sidecars(text: Sidecar | None, fields: Sidecar | None) -> Annotations:
    """text: the caption's file; fields: the one with a JSON object, whose "caption" counts where there is no text."""
    caption: object = None
    raw: dict[str, Any] = {}
    troubles: list[Trouble] = []
    if fields is not None:
        try:
            raw = _object(_bytes(fields))
        except PictureError as error:
            troubles.append(Trouble(error, place=fields.place))
        caption = raw.pop(CAPTION, None)
        if caption is None and fields.for_one_file:
            caption = raw.pop("description", None)
    if text is not None:
        try:
            caption = _text(_bytes(text), "bad_caption")
        except PictureError as error:
            troubles.append(Trouble(error, CAPTION, text.place))
    found = annotated(caption, raw)
    place = fields.place if fields is not None else ""
    others = (
        Trouble(one.error, one.field, text.place if text is not None and one.field == CAPTION else place)
        for one in found.troubles
    )
    return Annotations(found.caption, found.metadata, (*troubles, *others))


def parsed_json(data: bytes | str) -> Any:
    """JSON, and what some programs write for it: NaN and Infinity, and halves of characters. Raises ValueError."""
    try:
        return exact_json.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data if isinstance(data, str) else data.decode())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def _bytes(sidecar: Sidecar) -> bytes:
    if isinstance(sidecar.content, PictureError):
        raise sidecar.content
    return sidecar.content


def _text(data: bytes, code: str) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise PictureError(code, "It is not UTF-8 text.", "Save it as UTF-8.") from None


def _object(data: bytes) -> dict[str, Any]:
    text = _text(data, "bad_metadata")
    if not text.strip():
        return {}
    try:
        raw = parsed_json(text)
    except ValueError as error:
        raise PictureError("bad_metadata", f"It is not JSON: {str(error)[:200]}.", "Mend it.") from None
    if isinstance(raw, list) and len(raw) == 1:  # exiftool -j
        raw = raw[0]
    if not isinstance(raw, dict):
        raise PictureError("bad_metadata", "It is not a JSON object.", 'Write {"field": value}.')
    return raw


def _usable_caption(caption: object, troubles: list[Trouble]) -> str:
    try:
        return parse_caption(caption)
    except PictureError as error:
        troubles.append(Trouble(error, CAPTION))
    if not isinstance(caption, str):
        return ""
    try:
        return parse_caption(" ".join(caption.split())[:MAX_CAPTION])
    except PictureError:  # it is not its length alone, which has been said
        return ""


def _usable_metadata(raw: Mapping[str, Any], troubles: list[Trouble]) -> Metadata:
    try:
        return parse_metadata(raw)
    except PictureError:  # a few among many: each is looked at alone
        kept: dict[str, MetadataValue] = {}
        fields = _fields_that_can_be_kept(raw, troubles)
        kept.update(islice(fields, MAX_FIELDS))
        for name, _ in fields:
            message = f'"{name[:80]}" is beyond the {MAX_FIELDS} metadata fields that a picture may have.'
            troubles.append(Trouble(PictureError("bad_metadata", message, "Keep those you filter by."), name))
        return kept


def _fields_that_can_be_kept(raw: Mapping[str, Any], troubles: list[Trouble]) -> Iterator[tuple[str, MetadataValue]]:
    for name, value in raw.items():
        try:
            yield from parse_metadata({name: value}).items()
        except PictureError as error:
            troubles.append(Trouble(error, name))


def merged(row: Mapping[str, Any], inner: object) -> tuple[dict[str, Any], list[Trouble]]:
    """A row's own fields and those of its "metadata" as one object; of a field given twice, the one in "metadata"."""
    if inner is None:
        return dict(row), []
    if not isinstance(inner, dict):
        error = PictureError("bad_metadata", '"metadata" is not an object.', 'Write {"field": value}.')
        return dict(row), [Trouble(error, "metadata")]
    troubles = [
        Trouble(PictureError("bad_metadata", f'"{name[:80]}" is given twice: in "metadata" and beside it.', ""), name)
        for name in sorted(inner.keys() & row.keys())
    ]
    return {**row, **inner}, troubles
