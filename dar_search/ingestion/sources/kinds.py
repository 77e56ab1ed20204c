"""Every kind of source, in one place: how it is recognised, and how it is opened. The first that fits counts.

To add one: a class with `origin`, `items` and `count` (see `source.Source`), a function below that makes it, and a
line in `KINDS`. Where its pictures are in no file, also a reader in `outside.READERS`. Whatever it opens, it opens by
`outside.allowance`.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dar_search.errors import OutOfResources, PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.sources.allowance import HINT, Allowance
from dar_search.ingestion.sources.folder import FolderSource
from dar_search.ingestion.sources.lists.arrow import MAGIC
from dar_search.ingestion.sources.lists.delimited import DelimitedSource
from dar_search.ingestion.sources.lists.img2dataset import Img2datasetSource, is_img2dataset
from dar_search.ingestion.sources.lists.jsonl import JsonlSource
from dar_search.ingestion.sources.lists.list_file import ListFile
from dar_search.ingestion.sources.lists.parquet import ParquetSource
from dar_search.ingestion.sources.lists.rows import Columns
from dar_search.ingestion.sources.locations import is_file_uri, path_of, printable
from dar_search.ingestion.sources.opensearch_source import Fields, OpenSearchSource
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import Source, SourceOptions
from dar_search.ingestion.sources.tar.members import is_tar
from dar_search.ingestion.sources.tar.shards import TarSource, expanded
from dar_search.ingestion.sources.vectors.embeddings import EmbeddingsSource, is_embeddings
from dar_search.settings.masking import shown

_HINT = "Give a folder, a list (JSONL, CSV or Parquet, or its URL), tar shards, or opensearch:INDEX."
_TABLES = (".csv", ".tsv")
_OPENSEARCH = "opensearch:"

Target = str | bytes
Open = Callable[[Target, SourceOptions, Outside], Source]


@dataclass(frozen=True, slots=True)
class Kind:
    """Attributes: fits (whether a target is of this kind), open (makes the source; raises SourceError)."""

    name: str
    fits: Callable[[Target, Allowance], bool]
    open: Open


def opened(target: str | os.PathLike[str] | bytes, options: SourceOptions, outside: Outside | None) -> Source:
    """The source of a target. Raises SourceError, SourceNotAllowed; OutOfResources where that says nothing of the
    source."""
    reach = outside or Outside()
    text = _allowed(target if isinstance(target, bytes) else os.fspath(target), reach.allowance)
    try:
        for kind in KINDS:
            if kind.fits(text, reach.allowance):
                return kind.open(text, options, reach)
    except PictureError as error:
        raise SourceNotAllowed(error.message, error.hint) from error
    except SourceError as error:
        raise OutOfResources.of(error) or error from error.__cause__
    finally:
        if outside is None:
            reach.close()
    path = _path(text)
    try:
        os.stat(path)  # noqa: PTH116  # bytes, which pathlib does not take
    except OSError as error:
        raise SourceError(f'"{printable(path)}" cannot be read: {error.strerror}.', _HINT) from error
    raise SourceError(f'"{printable(path)}" is neither a folder nor a file.', _HINT)


def _allowed(target: Target, allowance: Allowance) -> Target:
    """The target, where it may be read; of a path, without detours: nothing is looked at on the way."""
    if allowance.everything:
        return target
    is_address = _is_index(target, allowance) or _is_url(target, allowance)
    place = target if is_address else os.path.abspath(_path(target))  # noqa: PTH100  # bytes
    if not (allowance.covers(place) if isinstance(place, bytes) else allowance.names(place)):
        raise SourceNotAllowed("The source is not among what jobs may read.", HINT)
    return place


def _index(target: Target, options: SourceOptions, outside: Outside) -> Source:
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
    cluster = outside.cluster(options.source_store)
    return OpenSearchSource(cluster, name, fields, options.source_store)


def _list_on_the_web(target: Target, options: SourceOptions, outside: Outside) -> Source:
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the source
    try:
        outside.fetcher.save(str(target), copy)
        return _list(ListFile(b"", url=str(target), copy=copy), options)
    except PictureError as error:
        copy.close()
        raise SourceError(f"{error.message} ({error.code})", error.hint or _HINT) from error
    except BaseException:
        copy.close()
        raise


def _tar(target: Target, options: SourceOptions, outside: Outside) -> Source:
    return TarSource(_path(target), _selection(options), outside.allowance)


def _img2dataset(target: Target, options: SourceOptions, outside: Outside) -> Source:
    return Img2datasetSource(_path(target), _selection(options), Columns.of(options), outside.allowance)


def _embeddings(target: Target, options: SourceOptions, outside: Outside) -> Source:
    return EmbeddingsSource(_path(target), _selection(options), Columns.of(options), outside.allowance)


def _folder(target: Target, options: SourceOptions, outside: Outside) -> Source:
    return FolderSource(
        _path(target),
        follow_links=options.follow_links,
        selection=_selection(options),
        allowance=outside.allowance,
    )


def _list_of_files(target: Target, options: SourceOptions, outside: Outside) -> Source:
    return _list(ListFile(_path(target), outside.allowance), options)


def _list(file: ListFile, options: SourceOptions) -> Source:
    """By what it begins with, or by its name."""
    selection, columns = _selection(options), Columns.of(options)
    with file.opened() as opened_file:
        start = opened_file.read(len(MAGIC))
    if start == MAGIC:
        return ParquetSource([file], selection, columns, vectors=options.vectors)
    if options.vectors:
        raise SourceError("Vectors are read from Parquet files and embedding folders.", "Leave --vectors out.")
    name = urlsplit(file.url).path if file.url else os.fsdecode(file.path)
    if name.lower().endswith(_TABLES):
        return DelimitedSource(file, selection, columns)
    return JsonlSource(file, selection, columns)


def _selection(options: SourceOptions) -> Selection:
    return Selection(options.exclude, include_hidden=options.include_hidden)


def _is_index(target: Target, allowance: Allowance) -> bool:
    return isinstance(target, str) and target.startswith(_OPENSEARCH)


def _is_url(target: Target, allowance: Allowance) -> bool:
    return isinstance(target, str) and target.lower().startswith(("http://", "https://"))


def _is_embeddings(target: Target, allowance: Allowance) -> bool:
    return _is_folder(target, allowance) and is_embeddings(_path(target), allowance)


def _is_img2dataset(target: Target, allowance: Allowance) -> bool:
    return _is_folder(target, allowance) and is_img2dataset(_path(target), allowance)


def _is_folder(target: Target, allowance: Allowance) -> bool:
    return os.path.isdir(_path(target))  # noqa: PTH112  # bytes


def _is_tar(target: Target, allowance: Allowance) -> bool:
    path = _path(target)
    if _is_file(target, allowance):
        return is_tar(path, allowance)
    return b"{" in path and is_tar(expanded(path)[0], allowance)


def _is_file(target: Target, allowance: Allowance) -> bool:
    try:
        return stat.S_ISREG(os.stat(_path(target)).st_mode)  # noqa: PTH116  # bytes
    except OSError:
        return False


KINDS = (
    Kind("index", _is_index, _index),
    Kind("list on the web", _is_url, _list_on_the_web),
    Kind("embeddings", _is_embeddings, _embeddings),
    Kind("img2dataset", _is_img2dataset, _img2dataset),
    Kind("folder", _is_folder, _folder),
    Kind("tar shards", _is_tar, _tar),
    Kind("list", _is_file, _list_of_files),
)


def _path(target: Target) -> bytes:
    if isinstance(target, str) and ("://" in target or is_file_uri(target)):
        try:
            return path_of(target)
        except ValueError:
            raise SourceError(f'"{shown(target)}" is not an address that pictures are read from.', _HINT) from None
    path = os.fsencode(target)
    if not path or b"\0" in path:
        raise SourceError("The source has no name.", _HINT)
    return os.fsencode(Path(os.fsdecode(path)).expanduser())
