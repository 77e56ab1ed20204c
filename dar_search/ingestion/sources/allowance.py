"""What a source, and everything that it names, may be. It is decided here alone, and at the moment of opening.

A job that was made over HTTP reads with the rights of the process that works on it, and only what that process's
settings name (`ingest.sources`), whatever expands, leads or is listed there: shards of a pattern, rows of a list,
links, sidecars, addresses. A file is opened, and looked at where it really is before a byte of it is read. What is not
allowed is the failure "not_allowed", whether it is there or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from dar_search.errors import PictureError, SettingsError
from dar_search.ingestion.sources.locations import is_file_uri, path_of
from dar_search.settings.masking import has_login, shown

HINT = 'The operator names it in ingest.sources (or "*"), in the settings of the service and of its workers.'
_EVERYTHING = "*"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ADDRESS = re.compile(r"(opensearch:|profile:|[A-Za-z][A-Za-z0-9+.-]+://).", re.DOTALL)
_WEB = ("http://", "https://")
# O_NONBLOCK: opening a named pipe must not wait for a writer. It changes nothing for regular files.
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Allowance:
    """Attributes: folders (absolute, with all below them), addresses (one that ends with "/" is a beginning)."""

    folders: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    everything: bool = False

    @classmethod
    def named(cls, sources: Sequence[str]) -> Self:
        """That of `ingest.sources`. Raises SettingsError for an entry that is none."""
        if _EVERYTHING in sources:
            return cls(everything=True)
        folders, addresses = [], []
        for one in sources:
            try:
                if is_file_uri(one):
                    folders.append(os.fsdecode(path_of(one)))
                elif _SCHEME.match(one):
                    addresses.append(_checked(one))
                elif one.strip():
                    folders.append(os.path.abspath(Path(one).expanduser()))  # noqa: PTH100  # links stay
                else:
                    raise ValueError("the folder in which a process happens to run")
            except (ValueError, PictureError):
                raise SettingsError(
                    f'The entry "{shown(one)}" of the setting ingest.sources is empty, no address, or has a password '
                    "in it.",
                    "Write folders' whole paths, and addresses as https://pictures.example/ or opensearch:INDEX.",
                ) from None
        return cls(tuple(folders), tuple(addresses))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of one, by way of JSON."""
        return cls(tuple(fields["folders"]), tuple(fields["addresses"]), fields["everything"])

    def covers(self, path: bytes) -> bool:
        """Whether what is at the path, or would be, lies in an allowed folder, wherever links lead."""
        try:
            return self.everything or self._holds(os.path.realpath(path))
        except OSError:  # a link became something else while it was being read
            return False

    def opened(self, path: bytes, flags: int = 0) -> int:
        """A descriptor to read what is at the path; the caller closes it.

        Raises PictureError: not_allowed, whether there is something or not; OSError.
        """
        if not self.covers(path):  # nothing outside is even opened
            raise not_allowed()
        descriptor = os.open(path, _READING | flags)
        try:
            if not self.everything and not self._holds_opened(descriptor, path):
                raise not_allowed()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def names(self, address: str) -> bool:
        """Whether a URL, or another address of a source, may be asked."""
        if self.everything:
            return True
        try:
            asked = _comparable(address)
        except PictureError:
            return False
        named = map(_comparable, self.addresses)
        return any(asked == one or (one.endswith("/") and asked.startswith(one)) for one in named)

    def names_store(self, address: str) -> bool:
        """Whether a store (one host or several, or a profile) may be asked: each is named, and not by a beginning."""
        hosts = {one.strip().rstrip("/") for one in address.split(",")}
        return self.everything or hosts <= {one for one in self.addresses if not one.endswith("/")}

    def _holds(self, real: bytes) -> bool:
        for folder in self.folders:
            root = os.path.realpath(os.fsencode(folder))
            if real == root or real.startswith(root.rstrip(b"/") + b"/"):
                return True
        return False

    def _holds_opened(self, descriptor: int, path: bytes) -> bool:
        """Whether the open file itself lies there: a link may have taken a folder's place since the path was read."""
        try:
            return self._holds(os.readlink(b"/proc/self/fd/%d" % descriptor))  # noqa: PTH115  # bytes
        except OSError:  # another system than Linux: what the path names now is inside, and is what was opened
            real = os.path.realpath(path)
            return self._holds(real) and os.path.samestat(os.stat(real), os.fstat(descriptor))  # noqa: PTH116


EVERYTHING = Allowance(everything=True)
"""Of the command line and of programs: they read with their own user's rights."""


def not_allowed() -> PictureError:
    return PictureError("not_allowed", "It is not among what jobs may read.", HINT)


def _checked(entry: str) -> str:
    """Raises ValueError, PictureError for one that is none, climbs, or has a password in it."""
    is_url = entry[:8].lower().startswith(_WEB)  # of which `_comparable` knows whether it has a login
    if not is_url and (not _ADDRESS.match(entry) or has_login(entry)):
        raise ValueError("no address")
    if ".." in unquote(entry):
        raise ValueError("no address to compare with")
    _comparable(entry)
    return entry


def _comparable(text: str) -> str:
    """An address as it will be asked for; a URL that climbs out of its folder in disguise counts as its host alone.

    Raises PictureError for a URL that is none.
    """
    if text in _WEB or not text[:8].lower().startswith(_WEB):
        return text
    from dar_search.ingestion.fetching.web_addresses import parse  # not in a decoder process, which asks nobody

    address = parse(text)
    climbs = ".." in re.split(r"[/\\]", unquote(address.target.partition("?")[0]))
    return f"{address.origin}/" if climbs else str(address)
