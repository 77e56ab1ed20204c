"""The files beside a folder's pictures that say something about them: which, `pairing` says; what, `annotating`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from dar_search.errors import PictureError
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.annotating import MAX_SIDECAR_BYTES, Annotations, Sidecar, from_sidecars
from dar_search.ingestion.sources.files import read_file
from dar_search.ingestion.sources.locations import file_uri
from dar_search.ingestion.sources.pairing import key_of_sidecar, keys_of, role_of, sidecar_key


class Sidecars:
    """The sidecars of one folder, found in its listing: no look-up on disk for a picture that has none.

    Args:
        folder: its path.
        pictures: the names in it that are pictures.
        others: the names of its other files.
    """

    def __init__(
        self, folder: bytes, pictures: Iterable[bytes], others: Iterable[bytes], allowance: Allowance = EVERYTHING
    ) -> None:
        self._folder = folder
        self._allowance = allowance
        self._captions: dict[bytes, bytes] = {}
        self._metadata: dict[bytes, bytes] = {}
        found = {"caption": self._captions, "metadata": self._metadata}
        for name in sorted(others):
            role = role_of(name)
            if role in found:
                found[role][key_of_sidecar(name)] = name
        self._stems: set[bytes] = set()
        listed = list(pictures) if self._captions or self._metadata else []
        for picture in listed:
            self._stems.update(keys_of(picture)[:2])
        self.used = frozenset(name for picture in listed for name in self._of(picture) if name is not None)
        """The names of those that are some picture's."""

    def read(self, picture: bytes, check: Callable[[bytes], None]) -> Annotations:
        """What they say about a picture of that name. check: raises PictureError for a path that may not be read."""
        text, fields = self._of(picture)
        return from_sidecars(self._sidecar(text, picture, check), self._sidecar(fields, picture, check))

    def _of(self, picture: bytes) -> tuple[bytes | None, bytes | None]:
        found = []
        for names in (self._captions, self._metadata):
            key = sidecar_key(picture, names.__contains__, self._stems.__contains__) if names else None
            found.append(None if key is None else names[key])
        return found[0], found[1]

    def _sidecar(self, name: bytes | None, picture: bytes, check: Callable[[bytes], None]) -> Sidecar | None:
        if name is None:
            return None
        path = os.path.join(self._folder, name)  # noqa: PTH118  # bytes
        content: bytes | PictureError
        try:
            check(path)
            content = read_file(path, MAX_SIDECAR_BYTES, allowance=self._allowance)
        except PictureError as error:
            content = b"" if error.code == "empty_file" else error
        return Sidecar(content, file_uri(path), key_of_sidecar(name) == keys_of(picture).whole)
