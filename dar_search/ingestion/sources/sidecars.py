"""Files beside a picture that say something about it: `photo.txt` (caption) and `photo.json` (metadata)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import orjson

from dar_search import exact_json
from dar_search.data import Metadata
from dar_search.errors import PictureError
from dar_search.ingestion.sources.annotations import parse_caption, parse_metadata
from dar_search.ingestion.sources.files import read_file
from dar_search.ingestion.sources.locations import printable

MAX_SIDECAR_BYTES = 1 << 20


class Sidecars:
    """The sidecars of one folder, found in its listing: no look-up on disk for a picture that has none.

    Args:
        folder: its path.
        names: what it holds.
    """

    def __init__(self, folder: bytes, names: Iterable[bytes]) -> None:
        self._folder = folder
        self._captions: dict[bytes, bytes] = {}
        self._metadata: dict[bytes, bytes] = {}
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122  # bytes, which pathlib does not take
            if suffix.lower() == b".txt":
                self._captions[stem] = name
            elif suffix.lower() == b".json":
                self._metadata[stem] = name

    def of(self, picture: bytes) -> tuple[bytes, ...]:
        """The paths of a picture's sidecars: none, one or two."""
        stem = _stem(picture)
        names = (self._captions.get(stem), self._metadata.get(stem))
        return tuple(os.path.join(self._folder, name) for name in names if name)  # noqa: PTH118  # bytes

    def read(self, picture: bytes) -> tuple[str, Metadata]:
        """A picture's caption and metadata; "" and {} where there are none.

        Raises:
            PictureError: bad_caption, bad_metadata, or a code of a file that cannot be read.
        """
        stem = _stem(picture)
        caption = None
        raw: dict[str, object] = {}
        if name := self._metadata.get(stem):
            raw = self._read_object(name)
            caption = raw.pop("caption", None)
        if name := self._captions.get(stem):
            caption = self._read_text(name)
        return parse_caption(caption), parse_metadata(raw)

    def _read_text(self, name: bytes) -> str:
        try:
            return self._read(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise PictureError("bad_caption", f"{printable(name)} is not UTF-8 text.", "Save it as UTF-8.") from None

    def _read_object(self, name: bytes) -> dict[str, object]:
        try:
            raw = exact_json.loads(self._read(name).removeprefix(b"\xef\xbb\xbf") or b"{}")
        except orjson.JSONDecodeError as error:
            raise PictureError("bad_metadata", f"{printable(name)} is not JSON: {error}.", "Mend it.") from None
        if not isinstance(raw, dict):
            raise PictureError("bad_metadata", f"{printable(name)} is not a JSON object.", 'Write {"field": value}.')
        return raw

    def _read(self, name: bytes) -> bytes:
        try:
            return read_file(os.path.join(self._folder, name), MAX_SIDECAR_BYTES)  # noqa: PTH118  # bytes
        except PictureError as error:
            if error.code == "empty_file":
                return b""
            raise PictureError(error.code, f"The sidecar {printable(name)}: {error.message}", error.hint) from error


def _stem(path: bytes) -> bytes:
    return os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122  # bytes
