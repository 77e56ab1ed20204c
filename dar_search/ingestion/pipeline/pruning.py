"""Removing records whose picture is gone from the source that brought it in."""

from __future__ import annotations

import hashlib

from dar_search.ports import ImageIndex

DELETE_SIZE = 500


class Seen:
    """The ids that a source has listed: about 100 bytes of memory for each, whatever its length.

    Attributes:
        complete: whether every item of the source is known by its id. Where not, nothing may be pruned.
    """

    def __init__(self) -> None:
        self.complete = True
        self._ids: set[int] = set()

    @property
    def count(self) -> int:
        return len(self._ids)

    def add(self, identity: str) -> bool:
        """False if it was there already."""
        before = len(self._ids)
        self._ids.add(_short(identity))
        return len(self._ids) > before

    def __contains__(self, identity: str) -> bool:
        return _short(identity) in self._ids


def prune_gone(index: ImageIndex, origin: str, seen: Seen, version: int | None = None) -> tuple[int, tuple[str, ...]]:
    """Removes the records of `origin` that were not seen -> how many, and what a person should know.

    version: of the deletes; what was written by something asked for later stays.
    """
    if not seen.complete:
        return 0, ("Nothing was pruned: a part of the source could not be read, so what is gone is not known.",)
    if not seen.count:
        return 0, ("Nothing was pruned: a source without any picture looks like a disk that is not mounted.",)
    gone = [identity for identity in index.ids(origin=origin) if identity not in seen]
    parts = (gone[start : start + DELETE_SIZE] for start in range(0, len(gone), DELETE_SIZE))
    return sum(index.delete(part, version=version) for part in parts), ()


def _short(identity: str) -> int:
    # 128 bits: two of a billion ids share them with a chance of 1e-21.
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=16).digest())
