"""What sources reach outside this machine, as far as they may: the web and clusters. And pictures that are in no file.

`SourceItem.at` says where such a picture is; `READERS` names every kind. A new kind is a function and a line there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.fetching.fetcher import Fetcher
from dar_search.ingestion.sources.allowance import EVERYTHING, HINT, Allowance, not_allowed
from dar_search.ingestion.sources.files import unreadable
from dar_search.ingestion.sources.lists.arrow import Cells, picture_bytes
from dar_search.ingestion.sources.source import SearchCluster, SourceItem
from dar_search.settings.fetch import FetchSettings
from dar_search.settings.masking import shown

if TYPE_CHECKING:
    from dar_search.ingestion.sources.tar.members import ShardFile


class Outside:
    """Opened where it is first needed. Safe to use from several threads; close it, or use it as a context.

    Args:
        connect: a store's address ("": the settings' own) -> its cluster. None: no cluster can be reached.
        allowance: what may be read, of this machine's files too.
    """

    def __init__(
        self,
        fetch: FetchSettings | None = None,
        connect: Callable[[str], SearchCluster] | None = None,
        allowance: Allowance = EVERYTHING,
    ) -> None:
        self.allowance = allowance
        self.fetch_settings = fetch or FetchSettings()
        self._connect = connect
        self._fetcher: Fetcher | None = None
        self._clusters: dict[str, SearchCluster] = {}
        self._lock = threading.Lock()
        self._shard: ShardFile | None = None
        self._unpacking = threading.Lock()
        self._cells = Cells(allowance)

    @property
    def fetcher(self) -> Fetcher:
        with self._lock:
            self._fetcher = self._fetcher or Fetcher(self.fetch_settings)
            return self._fetcher

    def cluster(self, address: str) -> SearchCluster:
        """Raises SourceError where there is none, SourceNotAllowed, SettingsError for what is set wrongly."""
        if address and not self.allowance.names_store(address):
            raise SourceNotAllowed("The store is not among what jobs may read.", HINT)
        if self._connect is None:
            raise SourceError("No cluster can be reached from here.", "Open the source with bootstrap.open_source.")
        with self._lock:
            if address not in self._clusters:
                self._clusters[address] = self._connect(address)
            return self._clusters[address]

    def picture(self, item: SourceItem) -> bytes:
        """The bytes of a picture that is in no file. Raises PictureError; StoreError where its cluster is away."""
        kind = item.at.partition(":")[0].lower()
        if kind not in READERS:
            raise PictureError("unsupported_address", f'"{shown(item.at)}" is not an address of pictures.')
        return READERS[kind](self, item)

    def packed(self, item: SourceItem) -> bytes:
        """A picture in a packed shard, which stays open: the next one is not unpacked from the shard's start."""
        from dar_search.ingestion.sources.tar.members import ShardFile, stretch

        limit = int(self.fetch_settings.max_megabytes * (1 << 20))
        if item.length > limit:
            raise PictureError("too_large", f"It has more than {limit:,} bytes.", "Make it smaller.")
        with self._unpacking:
            if self._shard is None or self._shard.path != item.path or self._shard.tell() > item.start:
                self._close_shard()
                try:
                    self._shard = ShardFile(item.path, self.allowance)
                except OSError as error:
                    raise unreadable(error) from error
            try:
                return stretch(self._shard, item.start, item.length)
            except PictureError:
                self._close_shard()
                raise

    def cell(self, item: SourceItem) -> bytes:
        """A picture in a Parquet file, whose column stays open for the next one. Raises PictureError."""
        with self._unpacking:
            return picture_bytes(self._cells.value(item.at))

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def stop(self) -> None:
        """Lets what is under way fail soon, from any thread."""
        with self._lock:
            if self._fetcher is not None:
                self._fetcher.stop()

    def close(self) -> None:
        with self._lock:
            if self._fetcher is not None:
                self._fetcher.close()
            for cluster in self._clusters.values():
                cluster.close()
            self._fetcher = None
            self._clusters.clear()
        with self._unpacking:
            self._close_shard()
            self._cells.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _from_the_web(outside: Outside, item: SourceItem) -> bytes:
    if not outside.allowance.names(item.at):
        raise not_allowed()
    return outside.fetcher.fetch(item.at)


def _from_a_packed_shard(outside: Outside, item: SourceItem) -> bytes:
    return outside.packed(item)


def _from_a_cell(outside: Outside, item: SourceItem) -> bytes:
    return outside.cell(item)


def _from_an_index(outside: Outside, item: SourceItem) -> bytes:
    from dar_search.ingestion.sources.opensearch_source import picture_in_document

    return picture_in_document(outside.cluster, item.at)


READERS: Mapping[str, Callable[[Outside, SourceItem], bytes]] = {
    "http": _from_the_web,
    "https": _from_the_web,
    "packed": _from_a_packed_shard,
    "parquet": _from_a_cell,
    "opensearch": _from_an_index,
}
# Read one after the other, in the order in which they are listed.
IN_ORDER = ("packed:", "parquet:")
