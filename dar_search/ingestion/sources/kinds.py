"""Every kind of source, in one place: how it is recognised, and how it is opened. The first that fits counts.

To add one: a class with `origin`, `items` and `count` (see `source.Source`), a function below that makes it, and a
line in `KINDS`. Where its pictures are in no file, also a reader in `outside.READERS`.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from dar_search.errors import OutOfResources, PictureError, SourceError
from dar_search.ingestion.sources.folder import FolderSource
from dar_search.ingestion.sources.jsonl import JsonlSource
from dar_search.ingestion.sources.locations import path_of, printable
from dar_search.ingestion.sources.opensearch_source import Fields, OpenSearchSource
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import Source, SourceOptions
from dar_search.ingestion.sources.tar.members import is_tar
from dar_search.ingestion.sources.tar.shards import TarSource, expanded

_HINT = "Give a folder, a JSONL file (or its URL), tar shards, or opensearch:INDEX."
_OPENSEARCH = "opensearch:"

Target = str | bytes
Open = Callable[[Target, SourceOptions, Outside | None], Source]


@dataclass(frozen=True, slots=True)
class Kind:
    """Attributes: fits (whether a target is of this kind), open (makes the source; raises SourceError)."""

    name: str
    fits: Callable[[Target], bool]
    open: Open


def opened(target: str | os.PathLike[str] | bytes, options: SourceOptions, outside: Outside | None) -> Source:
    """The source of a target. Raises SourceError; OutOfResources where that says nothing of the source."""
    text: Target = target if isinstance(target, bytes) else os.fspath(target)
    for kind in KINDS:
        if kind.fits(text):
            try:
                return kind.open(text, options, outside)
            except SourceError as error:
                raise OutOfResources.of(error) or error from error.__cause__
    path = _path(text)
    try:
        os.stat(path)  # noqa: PTH116  # bytes, which pathlib does not take
    except OSError as error:
        raise SourceError(f'"{printable(path)}" cannot be read: {error.strerror}.', _HINT) from error
    raise SourceError(f'"{printable(path)}" is neither a folder nor a file.', _HINT)


def _index(target: Target, options: SourceOptions, outside: Outside | None) -> Source:
    name = unquote(str(target).removeprefix(_OPENSEARCH))
    if not name or not options.field:
        raise SourceError("An index and the field with its pictures are needed.", "opensearch:INDEX --field image_url")
    if options.exclude:
        raise SourceError(
            "Documents of an index have no names to exclude.", "Leave --exclude out, or make an alias with a filter."
        )
    metadata = {}
    for entry in options.metadata_fields:
        short, _, field = entry.rpartition("=")
        metadata[short or field.rpartition(".")[2]] = field
    fields = Fields(options.field, options.caption_field, metadata)
    cluster = (outside or Outside()).cluster(options.source_store)
    return OpenSearchSource(cluster, name, fields, options.source_store)


def _list_on_the_web(target: Target, options: SourceOptions, outside: Outside | None) -> Source:
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the source
    reach = outside or Outside()
    try:
        reach.fetcher.save(str(target), copy)
        return JsonlSource(b"", url=str(target), copy=copy, selection=_selection(options))
    except PictureError as error:
        copy.close()
        raise SourceError(f"{error.message} ({error.code})", error.hint or _HINT) from error
    except BaseException:
        copy.close()
        raise
    finally:
        if outside is None:
            reach.close()


def _tar(target: Target, options: SourceOptions, outside: Outside | None) -> Source:
    return TarSource(_path(target), _selection(options))


def _folder(target: Target, options: SourceOptions, outside: Outside | None) -> Source:
    return FolderSource(_path(target), follow_links=options.follow_links, selection=_selection(options))


def _jsonl(target: Target, options: SourceOptions, outside: Outside | None) -> Source:
    return JsonlSource(_path(target), selection=_selection(options))


def _selection(options: SourceOptions) -> Selection:
    return Selection(options.exclude, include_hidden=options.include_hidden)


def _is_index(target: Target) -> bool:
    return isinstance(target, str) and target.startswith(_OPENSEARCH)


def _is_url(target: Target) -> bool:
    return isinstance(target, str) and target.lower().startswith(("http://", "https://"))


def _is_folder(target: Target) -> bool:
    return os.path.isdir(_path(target))  # noqa: PTH112  # bytes


def _is_tar(target: Target) -> bool:
    path = _path(target)
    return is_tar(path) if _is_file(target) else b"{" in path and is_tar(expanded(path)[0])


def _is_file(target: Target) -> bool:
    try:
        return stat.S_ISREG(os.stat(_path(target)).st_mode)  # noqa: PTH116  # bytes
    except OSError:
        return False


KINDS = (
    Kind("index", _is_index, _index),
    Kind("list on the web", _is_url, _list_on_the_web),
    Kind("folder", _is_folder, _folder),
    Kind("tar shards", _is_tar, _tar),
    Kind("JSONL", _is_file, _jsonl),
)


def _path(target: Target) -> bytes:
    if isinstance(target, str) and "://" in target:
        try:
            return path_of(target)
        except ValueError:
            raise SourceError(f'"{target[:200]}" is not an address that pictures are read from.', _HINT) from None
    path = os.fsencode(target)
    if not path or b"\0" in path:
        raise SourceError("The source has no name.", _HINT)
    return os.fsencode(Path(os.fsdecode(path)).expanduser())
