"""One index on an OpenSearch cluster: `ports.ImageIndex` behind a read alias and a write alias."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dar_search.data import Failure, ImageRecord, Place, Provenance, SearchResult
from dar_search.errors import StoreError, StoreUnavailable
from dar_search.filters import Filter
from dar_search.ports import SearchRequest
from dar_search.stores import bodies
from dar_search.stores.opensearch.bulk import Action, BulkWriter, Outcome
from dar_search.stores.opensearch.cluster.calls import REFRESH_TIMEOUT, WRITE_TIMEOUT, Cluster, quoted
from dar_search.stores.opensearch.cluster.features import Features
from dar_search.stores.opensearch.cluster.forms import (
    COUNT,
    DOCUMENTS,
    INDICES,
    REFRESHED,
    SETTINGS,
    Source,
)
from dar_search.stores.opensearch.documents import grave_action, index_action, is_grave, possible_ids, record
from dar_search.stores.opensearch.foreign import without_foreign_fields, without_new_fields
from dar_search.stores.opensearch.kept import without_vectors
from dar_search.stores.opensearch.names import check_write_alias, write_alias
from dar_search.stores.opensearch.refusals import STRICT, Refused
from dar_search.stores.opensearch.search.contents import Contents
from dar_search.stores.opensearch.search.described import first_request
from dar_search.stores.opensearch.search.filters import MappedField, check_asked, lacks_long
from dar_search.stores.opensearch.search.listing import listed
from dar_search.stores.opensearch.search.pipelines import DefaultPipeline, read_default_pipeline
from dar_search.stores.opensearch.search.searching import Moved, Searcher
from dar_search.stores.opensearch.state import Cached, IndexState, read_state
from dar_search.stores.provenance import check_provenance
from dar_search.stores.records import Checked, by_id, check_records
from dar_search.stores.requests import check_request

_AT_ONCE = 1_000  # ids in one request
_WRITE_AGE = 1.0  # seconds; a writer looks often whether the alias still leads to vectors of its encoder
_TRIES = 5
# As the cluster names a field whose value it does not take.
_METADATA_FIELD = re.compile(r"\[metadata\.([\w-]+)")
_LOAD_REFRESH = "30100ms"  # odd, so that it is known for what it is


@dataclass(frozen=True, slots=True)
class Access:
    """What an index needs of its store. features: detected at the first use; contents: by the index's name."""

    cluster: Cluster
    writer: BulkWriter
    features: Callable[[], Features]
    ef_search: int
    skip_pipeline: bool
    contents: dict[str, Contents] = field(default_factory=dict)


class OpenSearchIndex:
    """An index. Safe to use from several threads.

    What a write acknowledges is on the disk of the primary and of its replicas in sync (request-level durability of
    the translog). Searches, counts and `ids` see what was written up to the last refresh; `get` and `digests` see all.
    """

    def __init__(self, name: str, state: IndexState, access: Access) -> None:
        self._name = name
        self._provenance = state.provenance
        self._access = access
        self._cluster = access.cluster
        self._state = Cached(lambda: read_state(access.cluster, name), state)
        self._pipeline: Cached[DefaultPipeline] = Cached(self._read_pipeline)
        self._contents = access.contents.setdefault(name, Contents(access.cluster, name))
        self._unseen = False  # written through this object, and not refreshed since

    @property
    def name(self) -> str:
        return self._name

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    @property
    def left_out(self) -> frozenset[str]:
        """Fields that the index leaves out of `_source`."""
        return self._current().left_out

    def write(
        self, records: Sequence[ImageRecord], *, versions: Sequence[int] | None = None
    ) -> list[tuple[str, Failure]]:
        return self._write(records, by_id(records, versions), tries=2)

    def delete(self, ids: Sequence[str], *, version: int | None = None) -> int:
        """A grave is left in each one's place (see `documents`), also of what was not there, if versioned.

        Of several who delete a picture at the same time, each may count it.
        """
        state = self._writable()
        wanted = list(possible_ids(ids))
        there = {id for id, source in self._documents(wanted, _source_includes="id") if source}
        now = int(time.time() * 1000)
        graves = [id for id in wanted if version is not None or id in there]
        outcome = self._bulk(
            state, (Action(id, grave_action(id, None if version is None else int(version), now)) for id in graves)
        )
        if outcome.refused:
            id, refused = next(iter(outcome.refused.items()))
            raise StoreError(
                f'{len(outcome.refused)} of {len(graves)} pictures could not be deleted from "{self.name}".',
                f'Of "{id[:80]}" the cluster says {refused.kind}: {refused.reason}.',
            )
        return len(there - outcome.superseded)

    def get(self, ids: Sequence[str]) -> dict[str, ImageRecord]:
        if ids and "vector" in self.left_out:
            raise without_vectors(self.name)
        dimension = self.provenance.dimension
        return {id: record(id, source, dimension) for id, source in self._documents(ids) if not is_grave(source)}

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        found = self._documents(ids, _source_includes=f"digest,{bodies.DELETED}")
        return {id: source.get("digest", "") for id, source in found if not is_grave(source)}

    def with_content(self, sha256: Sequence[str]) -> list[Place]:
        return self._contents.places(sha256, searchable=self._current().finds_digests)

    def ids(self, *, origin: str | None = None) -> Iterator[str]:
        """All that was written before the first is asked for, as of that moment."""
        self.refresh()
        for hit in listed(self._cluster, self.name, origin=origin):
            yield hit["sort"][0]

    def count(self, filter: Filter = ()) -> int:
        """Sees what was written through this object; what others wrote, up to the last refresh."""
        if self._unseen:
            self.refresh()
        types = self._types(filter)
        body = bodies.encode({"query": bodies.live_query(filter, types)})
        return COUNT.read(self._cluster.read("POST", f"/{quoted(self.name)}/_count", body))["count"]

    def refresh(self) -> None:
        self._unseen = False
        self._contents.forget()
        answer = self._cluster.read("POST", f"/{quoted(self.name)}/_refresh", seconds=REFRESH_TIMEOUT)
        if REFRESHED.read(answer)["_shards"]["failed"]:
            raise StoreUnavailable(f'Not every shard of "{self.name}" could be refreshed.', "Try again later.")

    def load_settings(self) -> Mapping[str, Any]:
        """See `ingestion.pipeline.tuning.Tunable`. What a load left behind counts as the default."""
        index = self._current(age=_WRITE_AGE).index
        found = SETTINGS.read(self._cluster.read("GET", f"/{quoted(index)}/_settings"))
        if index not in found:
            raise SETTINGS.wrong(f"nothing of {index}")
        settings = found[index]["settings"]["index"]
        interval = settings.get("refresh_interval")
        return {
            "refresh_interval": None if interval == _LOAD_REFRESH else interval,
            "number_of_replicas": settings.get("number_of_replicas"),
        }

    def tune(self, replicas: int | None) -> None:
        """Refreshes seldom: each one makes a segment, and builds its graph."""
        settings: dict[str, Any] = {"refresh_interval": _LOAD_REFRESH}
        self.restore(settings if replicas is None else settings | {"number_of_replicas": replicas})

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Sets these of the index's settings; None: the cluster's default."""
        path = f"/{quoted(self.name)}/_settings"
        self._cluster.read("PUT", path, bodies.encode({"index": dict(settings)}), seconds=WRITE_TIMEOUT)

    def search(self, request: SearchRequest) -> SearchResult:
        check_request(request, self.provenance.dimension)
        self._types(request.filter)
        features = self._access.features()
        for _ in range(_TRIES):
            state = self._current()
            try:
                return self._searcher(features, state).search(request)
            except Moved:
                self._current(age=0)
        raise StoreUnavailable(f'The alias "{self.name}" keeps moving.', "Try again later.")

    def described(self, request: SearchRequest) -> dict[str, Any]:
        """The request with which `search` would begin, as JSON values; nothing is searched. Raises as `search`."""
        check_request(request, self.provenance.dimension)
        self._types(request.filter)
        features, state = self._access.features(), self._current()
        return first_request(self._searcher(features, state), request)

    def _searcher(self, features: Features, state: IndexState) -> Searcher:
        pipeline, ef_search = self._pipeline.get(), self._access.ef_search
        return Searcher(self._cluster, features, self.name, state, pipeline, ef_search)

    def _current(self, *, age: float | None = None) -> IndexState:
        """The state, at most so many seconds old. Raises EncoderMismatch if the alias leads to other vectors now."""
        state = self._state.get(age)
        check_provenance(self.name, state.provenance, self.provenance)
        return state

    def _read_pipeline(self) -> DefaultPipeline:
        name = self._current().default_pipeline
        return read_default_pipeline(self._cluster, self.name, name, skip=self._access.skip_pipeline)

    def _types(self, filter: Filter) -> Mapping[str, MappedField]:
        """The metadata fields, with those of the filter if they are there at all. Raises FilterError."""
        types = self._current().fields
        if any(condition.field not in types for condition in filter) or lacks_long(filter, types):
            types = self._current(age=_WRITE_AGE).fields
        check_asked(filter, types)
        return types

    def _writable(self, age: float = _WRITE_AGE) -> IndexState:
        """The state, if what is written goes where it is read from. Raises as `_current`, and StoreCorrupt."""
        state = self._current(age=age)
        alias = write_alias(self.name)
        if state.aliases.get(alias) != {"is_write_index": True}:
            state = self._current(age=0)  # it may have been mended since
            answer = self._cluster.read("GET", f"/{quoted(alias)}", ignore_unavailable="true", filter_path="*.aliases")
            check_write_alias(self.name, state.index, {"aliases": state.aliases}, INDICES.read(answer))
        return state

    def _bulk(self, state: IndexState, actions: Iterator[Action]) -> Outcome:
        outcome = self._access.writer.write(write_alias(self.name), actions)
        self._unseen = True
        if outcome.landed - {state.index}:  # the aliases moved meanwhile
            there = self._writable(age=0).index
            if outcome.landed - {there}:
                raise StoreUnavailable(f'The aliases of "{self.name}" moved while it was written to.', "Write again.")
        return outcome

    def _write(
        self, records: Sequence[ImageRecord], versions: Mapping[str, int] | None, *, tries: int
    ) -> list[tuple[str, Failure]]:
        state, checked = self._admitted(records)
        refused = list(checked.refused)
        outcome = self._bulk(state, _index_actions(checked, versions or {}))
        # Fields unknown to the index: it was made anew behind the alias since they were looked at.
        anew = [one for one in checked.accepted if tries > 1 and _is_unknown_field(outcome.refused.get(one.id))]
        for one in checked.accepted:
            item = outcome.refused.get(one.id)
            if item is not None and one not in anew:
                reason = f"The cluster refused it: {item.kind}: {item.reason}"
                fields = tuple(name for name in _METADATA_FIELD.findall(item.reason) if name in one.metadata)
                refused.append((one.id, Failure(one.source or one.id, "refused", reason, fields)))
        if anew:
            self._current(age=0)
            refused += self._write(anew, versions, tries=tries - 1)
        return refused

    def _admitted(self, records: Sequence[ImageRecord]) -> tuple[IndexState, Checked]:
        """Checks the records, and adds their new metadata fields to the mapping."""
        state = self._writable()
        conflict: StoreError | None = None
        for _ in range(_TRIES):
            fine, refused = without_foreign_fields(records, state.foreign)
            checked = check_records(fine, self.provenance.dimension, state.types)
            long = {name for name in checked.long_fields if not state.holds_long(name)}
            if not checked.new_fields and not long:
                break
            body = bodies.encode(bodies.metadata_mapping(checked.new_fields, long, checked.dated_fields))
            try:
                self._cluster.read("PUT", f"/{quoted(state.index)}/_mapping", body)
                conflict = None
            except StoreError as error:
                if type(error) is not StoreError:
                    raise
                conflict = error  # another writer may have given a field another type: look, and check against that
            state = self._writable(age=0)
        else:
            if conflict is None:
                raise StoreError(f'The fields of "{self.name}" keep changing.', "Try again later.")
            # Nobody else's doing: the index takes no such field, and the pictures that bring none go in.
            fine, more = without_new_fields(fine, {*checked.new_fields, *long}, conflict)
            refused += more
            checked = check_records(fine, self.provenance.dimension, state.types)
        return state, replace(checked, refused=(*checked.refused, *refused))

    def _documents(self, ids: Sequence[str], **params: str) -> Iterator[tuple[str, Source]]:
        """(id, `_source`) of those that are there, graves among them. Raises EncoderMismatch, see `_current`."""
        path = f"/{quoted(self.name)}/_mget"
        wanted = list(possible_ids(ids))
        index = self._current().index
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            answer = self._cluster.read("POST", path, bodies.encode({"ids": some}), **params)
            documents = DOCUMENTS.read(answer)["docs"]
            DOCUMENTS.each(documents, some)
            for document in documents:
                if document.get("found"):
                    if document.get("_index") != index:  # the alias moved: do its vectors compare with this handle's?
                        index = self._current(age=0).index
                    yield document["_id"], document.get("_source", {})


def _is_unknown_field(item: Refused | None) -> bool:
    return item is not None and item.kind == STRICT


def _index_actions(checked: Checked, versions: Mapping[str, int]) -> Iterator[Action]:
    rows = zip(checked.accepted, checked.embeddings, checked.metadata, strict=True)
    return (
        Action(one.id, index_action(one, embedding, metadata, versions.get(one.id)))
        for one, embedding, metadata in rows
    )
