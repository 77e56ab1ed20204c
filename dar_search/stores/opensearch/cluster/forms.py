"""The forms of a cluster's answers, as far as they are read: each is checked once, where it comes in."""

from __future__ import annotations

import json
from typing import Annotated, Any, Generic, NotRequired, TypeVar

import orjson
from pydantic import AfterValidator, BeforeValidator
from typing_extensions import TypedDict

from dar_search.values.forms import Flag, Form, Number, Object, Whole

T = TypeVar("T")


def _writable(found: Object) -> Object:
    try:
        orjson.dumps(found)
    except TypeError as error:
        raise ValueError(f"it cannot be sent back: {error}") from None
    return found


SentBack = Annotated[Object, AfterValidator(_writable)]
"""Is part of what is sent later."""


class Mappings(TypedDict, total=False):
    _meta: SentBack
    _source: Object
    properties: dict[str, Object]


class About(TypedDict, total=False):
    """An index, as `GET /INDEX` has it."""

    aliases: dict[str, Object]
    mappings: Mappings
    settings: Object


def _without_nulls(found: object) -> object:
    """To OpenSearch a field that is null is one that is not there."""
    return {name: value for name, value in found.items() if value is not None} if isinstance(found, dict) else found


def _in_one(found: object) -> object:
    """OpenSearch takes numbers and lists wherever it takes a text, and indexes all of a list."""
    parts = [one for one in found if one is not None] if isinstance(found, list) else [found]
    if all(isinstance(one, str | int | float) for one in parts):
        return " ".join(one if isinstance(one, str) else json.dumps(one) for one in parts)
    return found


Text = Annotated[str, BeforeValidator(_in_one)]


class _Source(TypedDict, total=False):
    id: str
    source: Text
    origin: Text
    digest: Text
    caption: Text
    metadata: Object
    metadata_empty: list[str]
    vector: list[Number]
    thumbnail: str
    width: int  # also 640.0 and "640", as OpenSearch takes them
    height: int
    dar_deleted: Any


Source = Annotated[_Source, BeforeValidator(_without_nulls)]
"""What a document of a picture holds (see `documents`); another program may have written it."""


class Document(TypedDict):
    """One of an `_mget`."""

    _id: str
    _index: NotRequired[str]
    found: NotRequired[Flag]
    error: NotRequired[Object]
    _source: NotRequired[Source]


class Documents(TypedDict):
    docs: list[Document]


class Hits(TypedDict, Generic[T], total=False):
    hits: list[T]


class Found(TypedDict, Generic[T], total=False):
    """A search's answer, of whose hits a `filter_path` leaves nothing where there are none."""

    status: Whole
    error: Object
    pit_id: str
    hits: Hits[T]


class Several(TypedDict, Generic[T]):
    """An `_msearch`."""

    responses: list[Found[T]]


class Candidate(TypedDict):
    """A hit of one leg, by its score and its id."""

    sort: tuple[Number, str]


class JoinedId(TypedDict):
    id: tuple[str]


class Joined(TypedDict):
    """A hit of both legs, joined on the server."""

    _score: Number
    fields: JoinedId


class OnPage(TypedDict):
    """A hit with its fields; sort: of one leg, score: of an index's own processors."""

    _id: str
    _index: str
    _score: NotRequired[Number | None]
    sort: NotRequired[tuple[Number, str]]
    _source: NotRequired[Source]


class Listed(TypedDict):
    """A hit of a point in time."""

    sort: tuple[str]
    _id: NotRequired[str]
    _source: NotRequired[Source]


class Placed(TypedDict):
    """A hit of a search by contents."""

    _id: str
    _source: NotRequired[Source]


class Point(TypedDict):
    pit_id: str


class Count(TypedDict):
    count: Whole


class Shards(TypedDict):
    failed: Whole


class Refreshed(TypedDict):
    _shards: Shards


class IndexPart(TypedDict):
    index: Object


class IndexSettings(TypedDict):
    settings: IndexPart


class Cause(TypedDict, total=False):
    type: str
    reason: str | None
    caused_by: Object | None


class BulkError(TypedDict):
    type: str
    reason: NotRequired[str | None]
    caused_by: NotRequired[Cause | None]


class BulkResult(TypedDict):
    status: Whole
    error: NotRequired[BulkError]
    result: NotRequired[str]
    _index: NotRequired[str]
    _id: NotRequired[str]


class BulkItem(TypedDict):
    index: BulkResult


class Bulk(TypedDict):
    items: list[BulkItem]


class Health(TypedDict):
    status: str
    number_of_nodes: Whole
    active_shards: Whole


class Waited(TypedDict):
    timed_out: Flag


class Blocks(TypedDict, total=False):
    blocks: dict[str, dict[str, Object]]


class Version(TypedDict, total=False):
    number: str
    distribution: str


class Root(TypedDict, total=False):
    version: Version


class Plugin(TypedDict):
    name: str


class Node(TypedDict, total=False):
    version: str
    plugins: list[Plugin]
    attributes: Object
    settings: Object
    faiss_initialized: Any


class Nodes(TypedDict, total=False):
    nodes: dict[str, Node]


BLOCKS = Form("a look at its blocks", Blocks)
BULK = Form("a bulk request", Bulk)
CANDIDATES = Form("a search by several legs", Several[Candidate])
COUNT = Form("a count", Count)
DOCUMENTS = Form("a request for pictures by id", Documents)
HEALTH = Form("a request for its health", Health)
INDICES = Form("a request for its indices", dict[str, About])
JOINED = Form("a search", Found[Joined])
LISTED = Form("a list of ids", Found[Listed])
NODES = Form("a request for its nodes", Nodes)
PAGE = Form("a search", Found[OnPage])
PIPELINES = Form("a request for a search pipeline", dict[str, SentBack])
PLACED = Form("a search by contents", Found[Placed])
POINT = Form("a request for a point in time", Point)
REFRESHED = Form("a refresh", Refreshed)
ROOT = Form("the question what it is", Root)
SETTINGS = Form("a request for settings", dict[str, IndexSettings])
WAITED = Form("a request for its health", Waited)
