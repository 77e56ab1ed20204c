"""What is read of a cluster's answers where an index is a source of pictures."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from dar_search.values.forms import Form, Object, Whole


class Hit(TypedDict):
    _id: str
    sort: tuple[Whole]
    _source: NotRequired[Object]


class Hits(TypedDict):
    hits: list[Hit]


class Page(TypedDict):
    pit_id: NotRequired[str]
    hits: Hits


class Point(TypedDict):
    pit_id: str


class Count(TypedDict):
    count: Whole


# Each is asked for: no index has so many, and a listing that goes on for ever is none.
Shards = TypedDict("Shards", {"index.number_of_shards": Annotated[int, Field(ge=1, le=65_536)]})


class Layout(TypedDict):
    settings: Shards


class Document(TypedDict):
    _source: NotRequired[Object]


class Documents(TypedDict):
    docs: list[Document]


COUNT = Form("a count", Count)
DOCUMENTS = Form("a request for a document", Documents)
LAYOUT = Form("a request for settings", dict[str, Layout])
PAGE = Form("a search", Page)
POINT = Form("a request for a point in time", Point)
