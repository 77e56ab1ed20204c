"""The OpenSearch store: `ports.Store` on a cluster.

The index "photos" is a numbered one, photos-000001, behind the alias "photos" to read from and "photos-write" to write
to, so that a later one can take its place. The parts: `stores.bodies` (what is sent), `cluster` (how it is reached,
what it can do), `names` and `state` (what there is), `index` (one index), `documents`, `bulk` and `refusals`
(writing), `search`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dar_search.data import Provenance
from dar_search.errors import IndexExists, IndexNotFound, SettingsError, StoreError, StoreForbidden, StoreUnavailable
from dar_search.settings import Settings, mask
from dar_search.stores import bodies
from dar_search.stores.examined import Examined
from dar_search.stores.names import check_name
from dar_search.stores.opensearch.bulk import BulkWriter
from dar_search.stores.opensearch.cluster.calls import WRITE_TIMEOUT, Cluster, quoted
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.cluster.doctor import Observation
from dar_search.stores.opensearch.cluster.features import Features, detect
from dar_search.stores.opensearch.cluster.forms import HEALTH, INDICES, WAITED, About
from dar_search.stores.opensearch.examining import examine
from dar_search.stores.opensearch.index import Access, OpenSearchIndex
from dar_search.stores.opensearch.kept import check_kept, not_whole
from dar_search.stores.opensearch.names import (
    NAME_PATH,
    also_known_as,
    check_write_alias,
    half_state,
    kept_beside,
    last_number,
    led_to,
    names_in,
    write_alias,
)
from dar_search.stores.opensearch.state import Cached, find_state, read_state
from dar_search.stores.opensearch.troubles import troubles
from dar_search.stores.provenance import check_dimension, check_provenance

_NAMED = 20
_VISIBLE = "open,closed"  # what a pattern means
_EVERY = f"{_VISIBLE},hidden"


class OpenSearchStore:
    """Indices on a cluster. May be used from many threads. Connects at the first use.

    Args:
        address: as `cluster.connection.connect` takes it.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        options = settings.opensearch
        self._address = address
        self._options = options.index
        self._cluster = Cluster(connect(address, settings), retry_seconds=options.retry_seconds)
        self._writer = BulkWriter(
            self._cluster,
            request_bytes=int(options.bulk_megabytes * 1_000_000),
            in_flight=options.bulk_in_flight,
        )
        self._features = Cached(lambda: detect(self._cluster), lifetime=float("inf"))
        self._access = Access(
            self._cluster,
            self._writer,
            self._features.get,
            ef_search=options.index.ef_search,
            skip_pipeline=options.default_pipeline == "skip",
        )

    @property
    def address(self) -> str:
        return mask(self._address)

    @property
    def features(self) -> Features:
        """What the cluster offers. Raises StoreUnavailable, FeatureMissing if it is no OpenSearch."""
        return self._features.get()

    def create(self, name: str, provenance: Provenance) -> OpenSearchIndex:
        """Also raises IndexExists for what is left of a name (see `names.half_state`), FeatureMissing
        without the k-NN plugin, SettingsError for an analyzer that is not there, and StoreError where a template of
        the cluster makes it unusable (nothing is left then)."""
        check_name(name)
        check_dimension(provenance)
        self.features.require_knn()
        self.features.require_engine(self._options.engine)
        if found := self._found(name):
            raise self._taken(name, found)
        left = self._left(name)
        if trouble := half_state(name, left):
            raise IndexExists(trouble.message, trouble.hint)
        index = f"{name}-{last_number(name, left) + 1:06d}"
        aliases: Mapping[str, bodies.Body] = {name: {}, write_alias(name): {"is_write_index": True}}
        body = bodies.index_body(name, provenance, self._options, aliases)
        try:
            self._cluster.send("PUT", f"/{quoted(index)}", bodies.encode(body), seconds=WRITE_TIMEOUT)
        except IndexExists:
            raise self._exists(name) from None
        except StoreError as error:
            raise self._explained(error) from error
        self._wait_for_primaries(index)
        state = read_state(self._cluster, name)
        if state.left_out:
            self._cluster.send("DELETE", f"/{quoted(index)}", seconds=WRITE_TIMEOUT)
            raise not_whole(name, state.left_out)
        return OpenSearchIndex(name, state, self._access)

    def open(self, name: str, provenance: Provenance | None = None) -> OpenSearchIndex:
        """Also raises StoreTooNew, and StoreCorrupt where aliases lead astray (see `names`)."""
        check_name(name)
        index = self._index(name)
        check_provenance(name, index.provenance, provenance)
        return index

    def names(self) -> list[str]:
        """Also the indices that no alias leads to: each can be opened, to read, and dropped."""
        return list(names_in(self._all()))

    def drop(self, name: str) -> None:
        """Removes the index that the name leads to, with the other numbered ones of this name that no alias leads to.

        Raises as `open`, and StoreError where the index has other names, StoreCorrupt where it is written elsewhere.
        """
        check_name(name)
        found = self._found(name)
        if not found:
            raise self._not_found(name)
        index, about = led_to(name, found)
        also_known_as(name, index, about)
        left = self._left(name)
        elsewhere = {key: one for key, one in left.items() if write_alias(name) in one.get("aliases", {})}
        if elsewhere.keys() - {index}:
            check_write_alias(name, index, about, elsewhere)
        indices = {index, *(kept_beside(name, left) if name != index else ())}
        self._cluster.send("DELETE", f"/{','.join(map(quoted, sorted(indices)))}", seconds=WRITE_TIMEOUT)

    def check(self) -> Mapping[str, str]:
        parts = "status,number_of_nodes,active_shards"
        health = HEALTH.read(self._cluster.read("GET", "/_cluster/health", filter_path=parts))
        features = self.features
        known = features.plugins is not None
        lines = {
            "store": f"OpenSearch {features.version} at {self.address}",
            "cluster": f"{health['status']}, {health['number_of_nodes']} nodes, {health['active_shards']} shards",
            "k-NN": ("there" if features.has_knn else "missing: install it on every node") if known else "not known",
            "score fusion": "here, of both legs"
            + (", and on the server where an index has a search pipeline of its own" if features.hybrid else ""),
        }
        found = self._all()
        for name, indices in names_in(found).items():
            try:
                index = self._index(name)
                count = index.count()
            except StoreError:
                continue  # see `troubles`
            provenance = index.provenance
            at = "" if indices == [name] else ", in " + ", beside it ".join((*indices, *kept_beside(name, found)))
            lines[f"index {name}"] = (
                f"{count:,} pictures, {provenance.dimension} dimensions, encoder {provenance.encoder}{at}"
            )
        return lines

    def troubles(self) -> list[Observation]:
        """What is wrong with the indices, each with the way out."""
        try:
            return list(troubles(self._all(), self._index))
        except StoreForbidden as error:
            return [
                Observation("indices", "note", f"not known: {error.message}", "Get indices:admin/get on all of them.")
            ]

    def examine(self, name: str) -> Examined:
        """Documents that are no whole picture. The cluster looks after the rest: its shards have checksums."""
        index = self.open(name)
        index.refresh()
        return examine(self._cluster, index.name)

    def problems(self) -> list[str]:
        """Of the cluster, if shards are missing, and of the names."""
        health = self._cluster.read("GET", "/_cluster/health", filter_path="status")["status"]
        red = ["The cluster is red: some shards have no copy that can be used (GET /_cat/shards)."]
        found = [f"{one.subject}: {one.detail} {one.fix}".rstrip() for one in self.troubles()]
        return [*(red if health == "red" else ()), *found]

    def close(self) -> None:
        self._writer.close()
        self._cluster.close()

    def _index(self, name: str) -> OpenSearchIndex:
        state = find_state(self._cluster, name)
        if state is None:
            raise self._not_found(name)
        check_kept(name, state.left_out)
        return OpenSearchIndex(name, state, self._access)

    def _found(self, name: str) -> Mapping[str, About]:
        """What the name leads to; nothing where there is no such name."""
        try:
            return INDICES.read(self._cluster.read("GET", f"/{quoted(name)}", filter_path=NAME_PATH))
        except IndexNotFound:
            return {}

    def _left(self, name: str) -> Mapping[str, About]:
        """The indices that the name is written through, and those named like its numbered ones."""
        path = f"/{quoted(write_alias(name))},{quoted(name)}-*"
        answer = self._cluster.read(
            "GET", path, ignore_unavailable="true", expand_wildcards=_EVERY, filter_path=NAME_PATH
        )
        return INDICES.read(answer)

    def _all(self) -> Mapping[str, About]:
        def asked(meant: str) -> Any:
            return self._cluster.read("GET", "/*", expand_wildcards=meant, filter_path=NAME_PATH)

        try:
            answer = asked(_EVERY)
        except StoreForbidden:  # among the hidden ones there are the cluster's own
            answer = asked(_VISIBLE)
        return INDICES.read(answer)

    def _wait_for_primaries(self, index: str) -> None:
        path = f"/_cluster/health/{quoted(index)}"  # answers after half a minute at the latest
        answer = WAITED.read(self._cluster.read("GET", path, seconds=WRITE_TIMEOUT, wait_for_status="yellow"))
        if answer["timed_out"]:
            raise StoreUnavailable(
                f'The cluster has made "{index}" but finds no node to keep it.',
                "Look at GET /_cluster/allocation/explain.",
            )

    def _exists(self, name: str) -> IndexExists:
        return IndexExists(f'There is an index "{name}" in {self.address}.', "Open it, or drop it first.")

    def _taken(self, name: str, found: Mapping[str, About]) -> IndexExists:
        try:
            led_to(name, found)
        except StoreError as error:
            return IndexExists(error.message, error.hint)
        return self._exists(name)

    def _not_found(self, name: str) -> StoreError:
        message = f'There is no index "{name}" in {self.address}.'
        try:
            if trouble := half_state(name, self._left(name)):
                return trouble
            names = self.names()
        except StoreForbidden:
            return IndexNotFound(message, "You may not list the indices that there are.")
        listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        return IndexNotFound(
            message, f"There are: {listed}." if names else "There are none yet: `dar ingest` makes one."
        )

    def _explained(self, error: StoreError) -> StoreError | SettingsError:
        if "analyzer [" in error.message:
            return SettingsError(
                f'The cluster has no analyzer "{self._options.analyzer}".',
                'Set opensearch.index.analyzer to one that it has, such as "standard".',
            )
        return error
