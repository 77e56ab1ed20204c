"""What a cluster says about an index: its provenance, layout and settings."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dar_search.answering.time_limits import seconds_left
from dar_search.data import Provenance
from dar_search.errors import IndexNotFound, StoreCorrupt, StoreForbidden, StoreTooNew, StoreUnavailable
from dar_search.stores.bodies import (
    META,
    encode,
    metadata_types,
    missing_properties,
    schema_version,
)
from dar_search.stores.callers import caller_key
from dar_search.stores.fields import FieldType
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted
from dar_search.stores.opensearch.cluster.forms import INDICES, About
from dar_search.stores.opensearch.kept import left_out
from dar_search.stores.opensearch.names import led_to
from dar_search.stores.opensearch.search.filters import MappedField, mapped_fields

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_MOST_CALLERS = 1_000
LIFETIME = 30.0  # seconds, after which settings that others may change are read again
_PARTS = ("aliases", "mappings", "settings.index.number_of_shards", "settings.index.search.default_pipeline")
FILTER_PATH = ",".join(f"*.{part}" for part in _PARTS)


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index as the cluster has it.

    Attributes:
        index: the numbered index behind the alias, such as "photos-000001".
        version: of the index's layout.
        shards: primary shards.
        engine: what keeps the k-NN graph; empty where the mapping does not say.
        types: the metadata fields.
        left_out: fields that the index leaves out of `_source`.
        default_pipeline: the name of the index's own default search pipeline, or None.
        aliases: all of the index's, with their options.
        fields: the metadata fields as they are mapped, those of other types too.
        finds_digests: whether digests can be searched; not in an index that an older dar-search made.
    """

    index: str
    provenance: Provenance
    version: int
    shards: int
    engine: str
    types: Mapping[str, FieldType]
    left_out: frozenset[str]
    default_pipeline: str | None
    aliases: Mapping[str, Any]
    fields: Mapping[str, MappedField]
    finds_digests: bool

    @property
    def foreign(self) -> Mapping[str, str]:
        """Metadata fields that hold nothing that this project writes, with their types."""
        return {name: field.mapped for name, field in self.fields.items() if field.type is None}

    def holds_long(self, name: str) -> bool:
        """Whether a metadata field is exact for whole numbers beyond 2**53, or is not this project's to change."""
        field = self.fields.get(name, MappedField("number", "double"))
        return field.mapped != "double" or bool(field.sub)


@dataclass(slots=True)
class _Kept(Generic[T]):
    """What one caller was told: when it was asked for, and what it is."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: tuple[float, T] | None = None


class Cached(Generic[T]):
    """What a cluster says to each caller, read again when it is older than `lifetime`.

    Nobody gets what was said to another (see `stores.callers`). Safe to use from several threads: one reads, the
    others of the same caller wait for it, no longer than their answers are of use.
    """

    def __init__(self, read: Callable[[], T], *known: T, lifetime: float = LIFETIME) -> None:
        self._read = read
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes | None, _Kept[T]] = OrderedDict()
        for value in known:
            self._mine().known = (time.monotonic(), value)

    def get(self, age: float | None = None) -> T:
        """The value, at most so many seconds old; 0: as it is now."""
        kept = self._mine()
        left = seconds_left()
        if not kept.lock.acquire(timeout=-1 if left is None else left):
            raise StoreUnavailable("The cluster did not answer in time.", "Try again.")
        try:
            began = time.monotonic()
            if kept.known is None or began - kept.known[0] >= (self._lifetime if age is None else age):
                kept.known = (began, self._read())
            return kept.known[1]
        finally:
            kept.lock.release()

    def _mine(self) -> _Kept[T]:
        with self._lock:
            kept = self._kept.setdefault(caller_key(), _Kept())
            self._kept.move_to_end(caller_key())
            if len(self._kept) > _MOST_CALLERS:
                self._kept.popitem(last=False)
            return kept


def read_state(cluster: Cluster, name: str) -> IndexState:
    """`find_state`; raises IndexNotFound also where there is nothing of that name."""
    state = find_state(cluster, name)
    if state is None:
        raise IndexNotFound(f'There is no index "{name}" on the cluster any more.', "Make it again, or open another.")
    return state


def find_state(cluster: Cluster, name: str) -> IndexState | None:
    """The state of the index that a name leads to; None: nothing has that name.

    An older layout is upgraded: fields that it lacks are added to the mapping, where the caller may. Raises
    IndexNotFound (for the name of something else), StoreTooNew, StoreCorrupt: see `names.led_to`.
    """
    try:
        found = _indices(cluster, name)
    except IndexNotFound:
        return None
    index, about = led_to(name, found)
    state = parse_state(name, index, about)
    if state.version < schema_version():
        try:
            _upgrade(cluster, index, about)
        except (StoreForbidden, StoreUnavailable) as error:
            # Who only searches, or an index that is read-only, does without the fields: only writing needs them.
            _LOG.info('The layout of "%s" is left as it is: %s', name, error.message)
            return state
        state = parse_state(name, *led_to(name, _indices(cluster, name)))
    return state


def _indices(cluster: Cluster, name: str) -> Mapping[str, About]:
    return INDICES.read(cluster.read("GET", f"/{quoted(name)}", filter_path=FILTER_PATH))


def parse_state(name: str, index: str, about: Mapping[str, Any]) -> IndexState:
    """What `GET /index` says -> the state. Raises as `read_state`."""
    mappings, settings = about.get("mappings", {}), about.get("settings", {}).get("index", {})
    try:
        meta = mappings["_meta"][META]
        version = int(meta["version"])
        if version > schema_version():
            raise StoreTooNew(
                f'The index "{name}" has version {version}; this program knows {schema_version()}.',
                "Update dar-search.",
            )
        properties = mappings["properties"]
        return IndexState(
            index=index,
            provenance=Provenance(
                str(meta["encoder"]), str(meta["revision"]), int(meta["dimension"]), str(meta["preparation"])
            ),
            version=version,
            shards=int(settings["number_of_shards"]),
            engine=str(properties["vector"].get("method", {}).get("engine", "")),
            types=metadata_types(properties),
            left_out=left_out(mappings),
            default_pipeline=settings.get("search", {}).get("default_pipeline"),
            aliases=about.get("aliases", {}),
            fields=mapped_fields(properties),
            finds_digests=bool(properties.get("digest", {}).get("index", True)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreCorrupt(
            f'The index "{name}" says nothing readable about itself ({type(error).__name__}: {error}).',
            f'Look at "_meta.{META}" of GET /{index}/_mapping.',
        ) from error


def _upgrade(cluster: Cluster, index: str, about: Mapping[str, Any]) -> None:
    mappings = about["mappings"]
    # Its own name stays, whatever alias it was opened by.
    meta = {**mappings["_meta"][META], "version": schema_version()}
    body = {
        "_meta": {**mappings["_meta"], META: meta},
        "properties": missing_properties(mappings["properties"]),
    }
    cluster.send("PUT", f"/{quoted(index)}/_mapping", encode(body))
