"""The pictures that an existing OpenSearch index knows: a field with a picture's URL, or its bytes in base64.

Each shard of each index is read on its own, at one point in time, by rising sequence number. So a listing can go on
after any document, also behind a point in time that has expired: a document that was changed meanwhile has a higher
number and is met later. Nothing is written to the index.

An item's id is the document's `_id` (with `#1`, `#2` ... for further pictures of one document), so that hits can be
joined with the documents that they came from.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from dar_search.data import Failure
from dar_search.errors import IndexNotFound, PictureError, SourceError, StoreError
from dar_search.ingestion.fetching.web_addresses import refuse_login
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.annotating import annotated
from dar_search.ingestion.sources.locations import record_id
from dar_search.ingestion.sources.opensearch_answers import COUNT, DOCUMENTS, LAYOUT, PAGE, POINT, Hit, Page
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.settings.masking import shown

if TYPE_CHECKING:
    from dar_search.ingestion.sources.source import SearchCluster

KEEP_ALIVE = "5m"
MAX_ID_BYTES = 512
_PAGE_BYTES = 8 << 20
_FIRST_PAGE = 20
_LARGEST_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Fields:
    """Which of a document's fields are read (with dots for fields of objects).

    Attributes:
        picture: has the URL or the base64; a list of them is several pictures.
        caption: has the caption; empty: none.
        metadata: a name -> the field that it is taken from.
    """

    picture: str
    caption: str = ""
    metadata: Mapping[str, str] = ()  # type: ignore[assignment]  # nothing

    def names(self) -> list[str]:
        return [name for name in (self.picture, self.caption, *dict(self.metadata).values()) if name]


class OpenSearchSource:
    """The documents of an index, an alias or a data stream. See the module's docstring.

    Args:
        cluster: where it is.
        address: the store's address, without credentials, as items repeat it ("": the settings' own).

    Raises:
        SourceError: there is no such index; StoreError: the cluster cannot be asked.
    """

    def __init__(self, cluster: SearchCluster, index: str, fields: Fields, address: str = "") -> None:
        self._cluster = cluster
        self._index = index
        self._fields = fields
        self._address = address
        self._shards = self._layout()

    @property
    def origin(self) -> str:
        return f"opensearch:{quote(self._index)}{_at(self._address)}"

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is [index, shard, sequence number, pictures of the document that are done], as JSON."""
        begin = _position(after)
        remarks = remarks or Remarks()
        for index, shards in self._shards:
            for shard in range(shards):
                number, done = -1, 0
                if begin is not None:
                    if (index, shard) < begin[:2]:
                        continue
                    if (index, shard) == begin[:2]:
                        number, done = begin[2:]
                yield from self._shard(index, shard, number, done, remarks)

    def count(self) -> Iterator[int]:
        """The number of documents: a document with several pictures counts once."""
        total = 0
        for index, _ in self._shards:
            total += COUNT.read(self._cluster.read("GET", f"/{quote(index)}/_count"))["count"]
            yield total
        if not self._shards:
            yield 0

    def _layout(self) -> list[tuple[str, int]]:
        try:
            answer = self._cluster.read(
                "GET", f"/{quote(self._index, safe=',*')}/_settings/index.number_of_shards", flat_settings="true"
            )
        except IndexNotFound as error:
            raise SourceError(f'The cluster has no index "{self._index[:200]}".', "Check its name.") from error
        found = LAYOUT.read(answer)
        return sorted((name, about["settings"]["index.number_of_shards"]) for name, about in found.items())

    def _shard(self, index: str, shard: int, after: int, done: int, remarks: Remarks) -> Iterator[SourceItem | BadItem]:
        """Documents from the one numbered `after` on, of which `done` pictures are done."""
        size = _FIRST_PAGE
        place = after - 1 if done else after
        with _PointInTime(self._cluster, index, shard) as point:
            while True:
                try:
                    hits, taken = point.page(self._fields.names(), size, place)
                except StoreError as error:
                    if size == 1 or "too large" not in error.message:
                        raise
                    size //= 2  # documents with large pictures
                    continue
                for hit in hits:
                    number = hit["sort"][0]
                    skipped = done if number == after else 0
                    listed = self._listed(index, hit, Remarks() if skipped else remarks)
                    for count, item in enumerate(listed, start=1):
                        if count > skipped:
                            cursor = json.dumps([index, shard, number, 0 if count == len(listed) else count])
                            yield _marked(item, cursor)
                    place = number
                if len(hits) < size:
                    return
                size = max(1, min(_LARGEST_PAGE, size * 4, _PAGE_BYTES * size // max(1, taken)))

    def _listed(self, index: str, hit: Hit, remarks: Remarks) -> list[SourceItem | BadItem]:
        document, source = hit["_id"], hit.get("_source", {})
        place = f"opensearch:{quote(index)}/{quote(document, safe='')}{_at(self._address)}"
        try:
            identity = document if _is_id(document) else record_id(place)
            values = _values(source, self._fields.picture)
            if not values:
                raise PictureError("bad_document", f'It has no "{self._fields.picture}".', "Name another field.")
        except PictureError as error:
            return [BadItem(Failure(place, error.code, str(error)), document if _is_id(document) else None)]
        raw = {name: _one(source, path) for name, path in dict(self._fields.metadata).items()}
        found = annotated(_one(source, self._fields.caption), raw)
        found.tell(remarks, place)
        listed: list[SourceItem | BadItem] = []
        for number, value in enumerate(values):
            name = identity if not number else f"{identity[:500]}#{number}"
            try:
                at, key = self._where(value, index, document, number)
                listed.append(SourceItem(name, key, b"", found.caption, found.metadata, place, at=at))
            except PictureError as error:
                listed.append(BadItem(Failure(place, error.code, str(error)), name))
        return listed

    def _where(self, value: object, index: str, document: str, number: int) -> tuple[str, str]:
        """Where a picture is, and its key."""
        if not isinstance(value, str) or not value.strip():
            raise PictureError("bad_document", f'"{self._fields.picture}" is no text.', "Name another field.")
        text = value.strip()
        if text[:8].lower().startswith(("http://", "https://")):
            refuse_login(text)  # not in any record or failure
            return text, text
        if "://" in text[:40]:
            message = f'"{shown(text)}" is not an address that pictures are read from.'
            raise PictureError("unsupported_address", message)
        query = {"field": self._fields.picture, "number": str(number), "store": self._address}
        at = f"opensearch:{quote(index)}/{quote(document, safe='')}?{urlencode(query)}"
        return at, at


class _PointInTime:
    """One shard of an index as it was at one moment; opened again where the cluster has let go of it."""

    def __init__(self, cluster: SearchCluster, index: str, shard: int) -> None:
        self._cluster = cluster
        self._index = index
        self._shard = shard
        self._id = ""

    def __enter__(self) -> _PointInTime:
        self._open()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(StoreError):  # it expires by itself
            self._cluster.read("DELETE", "/_search/point_in_time", json.dumps({"pit_id": [self._id]}).encode())

    def page(self, fields: list[str], size: int, after: int) -> tuple[list[Hit], int]:
        """The next documents, and about how many bytes they are."""
        try:
            answer = self._search(fields, size, after)
        except StoreError as error:
            if "search_context_missing" not in error.message and "No search context" not in error.message:
                raise
            self._open()
            answer = self._search(fields, size, after)
        self._id = answer.get("pit_id", self._id)
        hits = answer["hits"]["hits"]
        return hits, sum(len(str(hit.get("_source", ""))) for hit in hits)

    def _open(self) -> None:
        path = f"/{quote(self._index)}/_search/point_in_time"
        answer = self._cluster.read("POST", path, keep_alive=KEEP_ALIVE, preference=f"_shards:{self._shard}")
        self._id = POINT.read(answer)["pit_id"]

    def _search(self, fields: list[str], size: int, after: int) -> Page:
        body: dict[str, Any] = {
            "size": size,
            "pit": {"id": self._id, "keep_alive": KEEP_ALIVE},
            "sort": [{"_seq_no": "asc"}],
            "track_total_hits": False,
            "_source": fields,
        }
        if after >= 0:
            body["search_after"] = [after]
        answer = self._cluster.read("POST", "/_search", json.dumps(body).encode(), allow_partial_search_results="false")
        return PAGE.read(answer)


def picture_in_document(connect: Callable[[str], SearchCluster], at: str) -> bytes:
    """The bytes of a picture in base64. at: as an item says it.

    Raises PictureError where it is not there (any more) or is no base64; StoreError where the cluster is away.
    """
    parts = urlsplit(at)
    index, _, document = parts.path.partition("/")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    field, number = query["field"], int(query["number"])
    cluster = connect(query.get("store", ""))
    body = json.dumps({"docs": [{"_index": unquote(index), "_id": unquote(document), "_source": [field]}]}).encode()
    documents = DOCUMENTS.read(cluster.read("POST", "/_mget", body))["docs"]
    DOCUMENTS.each(documents, [document])
    (found,) = documents
    values = _values(found.get("_source", {}), field)
    if number >= len(values) or not isinstance(values[number], str):
        raise PictureError("bad_document", "The document is gone, or its picture is.", "Ingest the index again.")
    return _decoded(values[number])


def _decoded(text: str) -> bytes:
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()).replace("-", "+").replace("_", "/") + "==", validate=False)
        if not data or not set(text) <= _BASE64:
            raise ValueError
    except (binascii.Error, ValueError):
        raise PictureError("bad_document", "The field is neither a URL nor base64.", "Name another field.") from None
    return data


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_= \r\n\t")


def _values(source: object, path: str) -> list[Any]:
    """What a field with dots has, through objects and lists."""
    found = [source]
    parts = path.split(".")
    for depth, part in enumerate(parts):
        rest = ".".join(parts[depth:])
        plain = [one[rest] for one in found if isinstance(one, Mapping) and rest in one]
        if plain:
            found = plain
            break
        found = [one[part] for one in found if isinstance(one, Mapping) and part in one]
        found = [item for one in found for item in (one if isinstance(one, list) else [one])]
    flat = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return [one for one in flat if one is not None]


def _one(source: object, path: str) -> object:
    """A field's value: one, a list of several, or None."""
    values = _values(source, path) if path else []
    return values[0] if len(values) == 1 else values or None


def _marked(item: SourceItem | BadItem, cursor: str) -> SourceItem | BadItem:
    import dataclasses

    return dataclasses.replace(item, cursor=cursor)


def _is_id(text: str) -> bool:
    return text.isprintable() and 0 < len(text.encode()) <= MAX_ID_BYTES


def _at(address: str) -> str:
    return f"?{urlencode({'store': address})}" if address else ""


def _position(after: str | None) -> tuple[str, int, int, int] | None:
    if after is None:
        return None
    try:
        index, shard, number, done = json.loads(after)
        return str(index), int(shard), int(number), int(done)
    except (ValueError, TypeError):
        raise SourceError(f'"{after[:80]}" is no place in an index.', "List the source anew.") from None
