"""A ledger of jobs in an index of an OpenSearch cluster, the pictures' or another.

Each row is a document, changed by compare and set on its sequence number (`if_seq_no`, `if_primary_term`). Gets see
every acknowledged write; searches see what was written up to the refresh that each of them begins with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import orjson

from dar_search.errors import IndexExists, IndexNotFound, StoreCorrupt, StoreError, StoreTooNew, StoreUnavailable
from dar_search.ingestion.jobs.ledger.row_ledger import MAX_ATTEMPTS, RowLedger
from dar_search.ingestion.jobs.ledger.rows import OF_A_JOB, Change, Key, Row, Wanted
from dar_search.settings import Settings, mask
from dar_search.stores.assets import assets
from dar_search.stores.opensearch.cluster.calls import (
    READ_PATIENCE,
    WRITE_TIMEOUT,
    Cluster,
    mapped_part,
    patiently,
    quoted,
)
from dar_search.stores.opensearch.cluster.connection import connect

META = "dar_search_ledger"
_PAGE = 1_000
_CONFLICT = 409
_COLUMNS = ("state", "indexed", "unchanged", "failed")
_HEALTH = "Look at the cluster's health."
_WHO = "Does the address lead to the cluster, and to nothing else?"


class OpenSearchLedger(RowLedger):
    """See `jobs.ledger_port.Ledger`. The index is made at the first write.

    Args:
        address: as for `OpenSearchStore`.
        name: the alias of the ledger's index.
    """

    def __init__(self, address: str, settings: Settings, name: str, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        super().__init__(OpenSearchRows(address, settings, name), max_attempts=max_attempts)


class OpenSearchRows:
    """`ingestion.jobs.ledger.rows.Rows` in an index. The changes of a call are made one after the other."""

    def __init__(self, address: str, settings: Settings, name: str) -> None:
        self._address = address
        self._name = name
        self._cluster = Cluster(connect(address, settings), retry_seconds=settings.opensearch.retry_seconds)
        self._lock = threading.Lock()
        self._is_there = False

    @property
    def address(self) -> str:
        return f"{mask(self._address)}/{self._name}"

    def get(self, key: Key) -> tuple[Row, tuple[int, int]] | None:
        if not self._made(create=False):
            return None
        answer = self._cluster.read("GET", self._document(key), ignore=404)
        with self._understood():
            if "error" in answer:
                if self._is_gone():
                    return None
                raise StoreUnavailable(f"The ledger {self.address} is not there just now.", _HEALTH)
            if not answer["found"]:
                return None
            row = _row(answer["_source"])
            if row.key != key:
                raise ValueError("another row")
            return row, (int(answer["_seq_no"]), int(answer["_primary_term"]))

    def put(self, changes: Sequence[Change]) -> bool:
        self._made(create=True)
        return all(self._put(change) for change in changes)

    def find(self, wanted: Wanted) -> list[Row]:
        conditions: list[Mapping[str, Any]] = [
            {"term": {"kind": wanted.kind}},
            {"range": {"number": {"gt": wanted.after}}},
        ]
        if wanted.job is not None:
            conditions.append({"term": {"job": wanted.job}})
        if wanted.states is not None:
            conditions.append({"terms": {"state": list(wanted.states)}})
        if wanted.failed:
            conditions.append({"range": {"failed": {"gt": 0}}})
        body: dict[str, Any] = {
            "query": {"bool": {"filter": conditions}},
            "sort": [{"job": "desc" if wanted.newest else "asc"}, {"number": "asc"}],
        }
        found: list[Row] = []
        while wanted.limit is None or len(found) < wanted.limit:
            body["size"] = _PAGE if wanted.limit is None else min(_PAGE, wanted.limit - len(found))
            answer = self._search(body)
            if answer is None:
                break
            with self._understood():
                hits = list(answer["hits"]["hits"])
                found += [_row(hit["_source"]) for hit in hits]
                if len(hits) < body["size"]:
                    break
                body["search_after"] = list(hits[-1]["sort"])
        return found

    def sums(self, job: str) -> tuple[int, int, int]:
        names = ("indexed", "unchanged", "failed")
        body = {
            "size": 0,
            "query": {"bool": {"filter": [{"term": {"kind": "shard"}}, {"term": {"job": job}}]}},
            "aggs": {name: {"sum": {"field": name}} for name in names},
        }
        answer = self._search(body)
        if answer is None:
            return 0, 0, 0
        with self._understood():
            indexed, unchanged, failed = (int(answer["aggregations"][name]["value"]) for name in names)
            return indexed, unchanged, failed

    def remove(self, job: str) -> None:
        for kind in OF_A_JOB:
            while rows := self.find(Wanted(kind, job=job, limit=_PAGE)):
                self._delete([row.key for row in rows])

    def close(self) -> None:
        self._cluster.close()

    def _document(self, key: Key) -> str:
        return f"/{quoted(self._name)}/_doc/{quoted(_id(key))}"

    def _put(self, change: Change) -> bool:
        expected: dict[str, Any] = {"op_type": "create"}
        if change.expected is not None:
            expected = {"if_seq_no": change.expected[0], "if_primary_term": change.expected[1]}
        try:
            # Tried again where the answer was lost, it meets its own write as a conflict: the caller looks then.
            for attempt in patiently(READ_PATIENCE):
                with attempt:
                    path = self._document(change.row.key)
                    answer = self._cluster.send("PUT", path, _source(change.row), require_alias="true", **expected)
                    with self._understood():
                        if answer["result"] not in ("created", "updated"):
                            raise ValueError("no result of a write")
        except IndexNotFound:
            if not self._is_gone():
                raise
            if change.expected is not None:
                return False  # what is to be changed went with it
            self._made(create=True)
            return self._put(change)
        except StoreError as error:
            if getattr(error.__cause__, "status_code", None) == _CONFLICT:
                return False
            raise
        return True

    def _delete(self, keys: Sequence[Key]) -> None:
        body = b"".join(orjson.dumps({"delete": {"_id": _id(key)}}) + b"\n" for key in keys)
        for attempt in patiently(READ_PATIENCE):
            with attempt:
                path = f"/{quoted(self._name)}/_bulk"
                answer = self._cluster.send("POST", path, body, seconds=WRITE_TIMEOUT, require_alias="true")
                with self._understood():
                    for item in [answer["items"][number] for number, _ in enumerate(keys)]:
                        if "error" in item["delete"]:
                            raise mapped_part(item["delete"]["status"], item["delete"]["error"])

    def _search(self, body: Mapping[str, Any]) -> Any:
        """A whole answer, which has all that was written before; None where there is no ledger."""
        if not self._made(create=False):
            return None
        try:
            refreshed = self._cluster.read("POST", f"/{quoted(self._name)}/_refresh")
            with self._understood():
                if refreshed["_shards"]["failed"]:
                    raise StoreUnavailable(f"The ledger {self.address} could not be refreshed.", _HEALTH)
            return self._cluster.read(
                "POST",
                f"/{quoted(self._name)}/_search",
                orjson.dumps(body),
                allow_partial_search_results="false",
            )
        except IndexNotFound:
            if self._is_gone():
                return None
            raise

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Around the reading of an answer: one that no cluster gives (a proxy's, perhaps) says nothing of any row."""
        try:
            yield
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise StoreUnavailable(
                f"What answers for the ledger {self.address} is no ledger just now.", _WHO
            ) from error

    def _is_gone(self) -> bool:
        """Looks whether the index was removed: then the next write makes it anew."""
        with self._lock:
            self._is_there = self._look()
            return not self._is_there

    def _made(self, *, create: bool) -> bool:
        """Whether the index is there. Raises StoreTooNew, StoreCorrupt for an index that is no ledger."""
        with self._lock:
            if not self._is_there:
                self._is_there = self._look()
            if create and not self._is_there:
                self._make()
                self._is_there = True
            return self._is_there

    def _look(self) -> bool:
        try:
            found = self._cluster.read("GET", f"/{quoted(self._name)}/_mapping")
        except IndexNotFound:
            return False
        with self._understood():
            if len(found) > 1:
                indices = ", ".join(sorted(found))
                raise StoreCorrupt(
                    f"{self.address} leads to several indices ({indices}).", "Point the alias at one of them."
                )
            (about,) = found.values()
            meta = about["mappings"].get("_meta", {}).get(META)
            if meta is None:
                raise StoreCorrupt(f"{self.address} is no ledger.", "Choose another name: ingest.ledger_index.")
            if meta["version"] > _version():
                raise StoreTooNew(f"The ledger {self.address} has version {meta['version']}.", "Upgrade dar-search.")
        return True

    def _make(self) -> None:
        body = orjson.loads(_definition()) | {"aliases": {self._name: {"is_write_index": True}}}
        index = f"{self._name}-000001"
        try:
            made = self._cluster.send("PUT", f"/{quoted(index)}", orjson.dumps(body), seconds=WRITE_TIMEOUT)
            with self._understood():
                made["acknowledged"]
        except IndexExists:
            if self._look():
                return  # another process was faster
            raise StoreCorrupt(
                f"There is an index {index}, and no alias {self._name} that leads to it.",
                "Add the alias, if it is the ledger; else remove the index.",
            ) from None


@cache
def _definition() -> bytes:
    return assets("ledger.json").read_bytes()


def _version() -> int:
    return int(orjson.loads(_definition())["mappings"]["_meta"][META]["version"])


def _id(key: Key) -> str:
    return f"{key.kind}:{key.job}:{key.number}"


def _source(row: Row) -> bytes:
    columns = {name: getattr(row, name) for name in _COLUMNS}
    return orjson.dumps({**row.key._asdict(), **columns, "body": row.body})


def _row(source: Mapping[str, Any]) -> Row:
    """Raises LookupError, TypeError, ValueError for what is no row."""
    columns = {name: int(source[name]) for name in _COLUMNS if name != "state"}
    key = Key(source["kind"], source["job"], int(source["number"]))
    return Row(key, str(source["state"]), **columns, body=dict(source["body"]))
