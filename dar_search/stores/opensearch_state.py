"""What a cluster says about an index: its provenance, layout and settings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dar_search.data import Provenance
from dar_search.errors import IndexNotFound, StoreCorrupt, StoreTooNew
from dar_search.stores.bodies import META, encode, index_meta, metadata_types, missing_properties, schema_version
from dar_search.stores.fields import FieldType
from dar_search.stores.opensearch_calls import Cluster, quoted

T = TypeVar("T")
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
        default_pipeline: the name of the index's own default search pipeline, or None.
        finds_digests: whether digests can be searched; not in an index that an older dar-search made.
    """

    index: str
    provenance: Provenance
    version: int
    shards: int
    engine: str
    types: Mapping[str, FieldType]
    default_pipeline: str | None
    finds_digests: bool


class Cached(Generic[T]):
    """What a cluster says, read again when it is older than `lifetime`. Safe to use from several threads."""

    def __init__(self, read: Callable[[], T], *known: T, lifetime: float = LIFETIME) -> None:
        self._read = read
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._known = [(time.monotonic(), value) for value in known]

    def get(self, age: float | None = None) -> T:
        """The value, at most so many seconds old; 0: as it is now."""
        with self._lock:
            if not self._known or time.monotonic() - self._known[0][0] >= (self._lifetime if age is None else age):
                began = time.monotonic()
                self._known = [(began, self._read())]
            return self._known[0][1]


def read_state(cluster: Cluster, name: str) -> IndexState:
    """The state of the index behind the alias `name`.

    An older layout is upgraded: fields that it lacks are added to the mapping. Raises IndexNotFound (also for an
    index that is not this project's), StoreTooNew, StoreCorrupt.
    """
    found = cluster.read("GET", f"/{quoted(name)}", filter_path=FILTER_PATH)
    if len(found) != 1:
        indices = ", ".join(sorted(found))
        raise StoreCorrupt(f'The alias "{name}" leads to several indices ({indices}).', "Point it at one of them.")
    ((index, about),) = found.items()
    state = parse_state(name, index, about)
    if state.version < schema_version():
        _upgrade(cluster, name, index, about)
        state = parse_state(name, index, cluster.read("GET", f"/{quoted(name)}", filter_path=FILTER_PATH)[index])
    return state


def parse_state(name: str, index: str, about: Mapping[str, Any]) -> IndexState:
    """What `GET /index` says -> the state. Raises as `read_state`."""
    mappings, settings = about.get("mappings", {}), about.get("settings", {}).get("index", {})
    meta = mappings.get("_meta", {}).get(META)
    if meta is None:
        raise IndexNotFound(
            f'"{name}" is an index of the cluster, but not one of dar-search.', "Choose another name for your pictures."
        )
    try:
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
            default_pipeline=settings.get("search", {}).get("default_pipeline"),
            finds_digests=bool(properties.get("digest", {}).get("index", True)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(
            f'The index "{name}" says nothing readable about itself ({type(error).__name__}: {error}).',
            f'Look at "_meta.{META}" of GET /{index}/_mapping.',
        ) from error


def _upgrade(cluster: Cluster, name: str, index: str, about: Mapping[str, Any]) -> None:
    mappings = about["mappings"]
    provenance = parse_state(name, index, about).provenance
    body = {
        "_meta": {**mappings["_meta"], META: index_meta(name, provenance)},
        "properties": missing_properties(mappings["properties"]),
    }
    cluster.read("PUT", f"/{quoted(index)}/_mapping", encode(body))
