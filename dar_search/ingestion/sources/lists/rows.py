"""What a row of a list says: which picture, and what about it. The same in JSONL, CSV and Parquet.

- "path" (or "image", or "file_name", or where there is none of them "url"): required; relative to the list's folder,
  absolute, a file: URI, or an http(s) URL. In a list from the web: a URL, relative to the list's or whole.
- "caption" (or "text"), "id" (text or a whole number): optional. Without an id it is made of the picture's URI.
- "metadata": an object, or its JSON; every other field of the row is metadata too. Of a field given both ways the one
  in "metadata" counts.

Lists that others wrote have names of their own: `Columns` says which field is which.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.fetching.web_addresses import joined, refuse_login
from dar_search.ingestion.jobs.remarks import Remarks, one_line
from dar_search.ingestion.sources.annotating import Annotations, Trouble, annotated, merged, parsed_json
from dar_search.ingestion.sources.lists.list_file import ListFile
from dar_search.ingestion.sources.locations import file_uri, path_of, record_id
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem, SourceOptions
from dar_search.settings.masking import shown

PATH_KEYS = ("path", "image", "file_name")
URL_KEY = "url"
CAPTION_KEYS = ("caption", "text")
MAX_ID_BYTES = 512
ADDRESSES = '"path", "image", "file_name" or "url"'


@dataclass(frozen=True, slots=True)
class Columns:
    """Which fields of a row are which, where a list has other names for them.

    Attributes:
        picture: has the address; empty: one of those that a row has anyway.
        caption: has the caption; empty: likewise.
        metadata: a name -> the field that it is taken from; None: all that is nothing else.
    """

    picture: str = ""
    caption: str = ""
    metadata: Mapping[str, str] | None = None

    @classmethod
    def of(cls, options: SourceOptions) -> Self:
        named = dict(_renamed(entry) for entry in options.metadata_fields)
        return cls(options.field, options.caption_field, named or None)

    @property
    def addresses(self) -> str:
        """For a message: what a row must have one of."""
        return f'"{one_line(self.picture[:40])}"' if self.picture else ADDRESSES

    @property
    def as_text(self) -> frozenset[str]:
        """The fields that are text whatever they look like."""
        return frozenset((*PATH_KEYS, URL_KEY, *CAPTION_KEYS, "id", "metadata", self.picture, self.caption))

    def address_of(self, row: Mapping[str, Any]) -> bool:
        keys = (self.picture,) if self.picture else (*PATH_KEYS, URL_KEY)
        return any(row.get(key) is not None for key in keys)


class Rows:
    """Makes items of rows.

    Args:
        what: a row in a message, such as "Line".
        hint: how a row is written.
    """

    def __init__(self, file: ListFile, selection: Selection, columns: Columns, what: str, hint: str) -> None:
        self._file = file
        self._selection = selection
        self._columns = columns
        self._what = what
        self._hint = hint

    def item(self, row: dict[str, Any], number: int, place: str, remarks: Remarks) -> SourceItem | BadItem | None:
        """The picture that a row names. None: its address is excluded. Takes the row apart."""
        identity: str | None = None
        try:
            address = self._address(row)
            if self._selection.excludes(str(address)):
                return None
            url = self._picture_url(address)
            path = b"" if url else self._picture_path(address)
            key = url or file_uri(path)
            identity = identity_of(row.pop("id", None)) or record_id(key)
            refuse_login(url)  # before it is in a record or a failure
            found = self.annotations(row)
        except PictureError as error:
            return self.bad(number, place, error, identity)
        found.tell(remarks, place)
        return SourceItem(identity, key, path, found.caption, found.metadata, place, at=url)

    def bad(self, number: int, place: str, error: PictureError, identity: str | None = None) -> BadItem:
        return BadItem(Failure(place, error.code, f"{self._what} {number}: {error}"), identity)

    def annotations(self, row: dict[str, Any]) -> Annotations:
        """What a row without its address and id says about the picture."""
        troubles = []
        keys = (self._columns.caption,) if self._columns.caption else CAPTION_KEYS
        given = [key for key in keys if row.get(key) is not None]
        if len(given) > 1:
            message = f'The row has both "{given[0]}" and "{given[1]}": the first counts.'
            troubles.append(Trouble(PictureError("bad_caption", message, "Keep one of them."), given[1]))
        captions = [row.pop(key, None) for key in keys]
        if self._columns.metadata is None:
            fields, doubled = merged(row, _object(row.pop("metadata", None)))
        else:
            fields, doubled = {name: row.get(field) for name, field in self._columns.metadata.items()}, []
        found = annotated(next((caption for caption in captions if caption is not None), None), fields)
        return dataclasses.replace(found, troubles=(*troubles, *doubled, *found.troubles))

    def _address(self, row: dict[str, Any]) -> object:
        """Takes it out of the row."""
        names = tuple(row)
        if self._columns.picture:
            address = row.pop(self._columns.picture, None)
        else:
            keys = PATH_KEYS if any(row.get(key) is not None for key in PATH_KEYS) else (URL_KEY,)
            address = self._one_of(row, keys)
        if address is None:
            field = self._columns.picture or "path"
            raise PictureError("bad_line", f'The row has no "{one_line(field)}", but {listed(names)}.', self._hint)
        return address

    def _one_of(self, row: dict[str, Any], keys: tuple[str, ...]) -> object:
        """Takes the value of the one key that the row has; None where it has none."""
        present = [key for key in keys if row.get(key) is not None]
        if len(present) > 1:
            raise PictureError("bad_line", f'The row has both "{present[0]}" and "{present[1]}".', "Keep one of them.")
        values = [row.pop(key, None) for key in keys]
        return next((value for value in values if value is not None), None)

    def _picture_url(self, address: object) -> str:
        """The URL that a row names; empty where it names a file, which a list from the web may not."""
        if not isinstance(address, str) or not address.strip():
            return ""
        if any("\ud800" <= character <= "\udfff" for character in address):
            raise PictureError("bad_line", 'The "path" has half a character in it, which no name has.', self._hint)
        whole = joined(self._file.url, address.strip()) if self._file.url else address.strip()
        if whole[:8].lower().startswith(("http://", "https://")):
            return whole
        if self._file.url:
            message = f'"{shown(address)}" is not an address that a list from the web may name.'
            raise PictureError("unsupported_address", message, "Give an http(s) URL.")
        return ""

    def _picture_path(self, address: object) -> bytes:
        if not isinstance(address, str) or not address or "\0" in address:
            raise PictureError("bad_line", 'The row has no "path".', self._hint)
        if "://" in address or address[:5].lower() in ("file:", "data:") or address.startswith("opensearch:"):
            try:
                return os.path.normpath(path_of(address))
            except ValueError:
                message = f'"{shown(address)}" is not an address that pictures are read from.'
                raise PictureError("unsupported_address", message, "Give a path, or a file: URI.") from None
        return os.path.normpath(os.path.join(self._file.folder, os.fsencode(address)))  # noqa: PTH118  # bytes


def check_columns(table: str, names: Sequence[str], columns: Columns, hint: str) -> None:
    """Raises SourceError where a table's columns cannot be told apart, or are not those that are asked for."""
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise SourceError(f'"{table}" has several columns with the name {listed(doubled)}.', "Rename them.")
    asked = (columns.picture, columns.caption, *(columns.metadata or {}).values())
    missing = [name for name in asked if name and name not in names]
    if missing:
        raise SourceError(f'"{table}" has no column {listed(missing)}, but {listed(names)}.', "Correct its name.")
    if not columns.address_of(dict.fromkeys(names, "")):
        message = f'"{table}" names no pictures: its columns are {listed(names)}, and none of them {ADDRESSES}.'
        raise SourceError(message, f"Name the column with the pictures' addresses: --field. {hint}")


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    some = ", ".join(f'"{one_line(name[:40])}"' for name in names[:10]) + (", ..." if len(names) > 10 else "")
    return some or "nothing"


def identity_of(raw: object) -> str | None:
    """A row's own id. Raises PictureError for what cannot be one."""
    if raw is None:
        return None
    identity = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    if not isinstance(identity, str) or not identity.isprintable() or not 0 < len(identity.encode()) <= MAX_ID_BYTES:
        raise PictureError(
            "bad_line", f'An "id" is text of 1 to {MAX_ID_BYTES} bytes.', "Leave it out to have one made."
        )
    return identity


def _object(raw: object) -> object:
    """Tables have an object as its JSON."""
    if isinstance(raw, str):
        try:
            return parsed_json(raw)
        except ValueError:
            return raw
    return raw


def _renamed(entry: str) -> tuple[str, str]:
    """ "NAME=FIELD" or "FIELD" -> the name and the field."""
    short, _, field = entry.rpartition("=")
    return short or field.rpartition(".")[2], field
