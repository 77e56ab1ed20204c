"""Metadata comes back as it was given, from every source into the store, through the services and to the clients."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dar_search.client import DarClient
from dar_search.data import ImageRecord, Metadata
from dar_search.errors import BodyTooLarge, FilterError, PictureError, RequestError
from dar_search.filters import parse_expressions, parse_filter
from dar_search.ingestion.sources.annotations import annotation_digest, parse_metadata
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem
from dar_search.integrations.langchain import DarRetriever
from dar_search.stores.sqlite.store import SQLiteStore
from tests.fakes import FakeEncoder
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import counts, picture, run, stored
from tests.integration.test_source_tar import tar
from tests.query_service import Service, query_settings
from tests.query_service_http import served

BIG = 1746714878034235397
ROW = (
    '{"id64": 1746714878034235397, "least": -9223372036854775808, "year": 2001, "whole": 2001.0, "share": 0.1, '
    '"ids": [1746714878034235397, 9007199254740993], "mixed": [1, 2.5], "free": true, "one": 1, "code": "007", '
    '"digits": "1746714878034235397", "tiny": 1e-300, "huge": 1e300}'
)
KEPT: Metadata = {
    "id64": BIG, "least": -(2**63), "year": 2001, "whole": 2001.0, "share": 0.1, "ids": (BIG, 2**53 + 1),
    "mixed": (1, 2.5), "free": True, "one": 1, "code": "007", "digits": str(BIG), "tiny": 1e-300, "huge": 1e300,
}  # fmt: skip


def same(found: Any, given: Metadata = KEPT) -> bool:
    """Values and their types: 2001 == 2001.0 == True would be equal."""
    return repr(sorted(found.items())) == repr(sorted(given.items()))


def in_sidecar(folder: Path, row: str) -> Path:
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "a.json").write_text(row)
    return folder


def in_jsonl(folder: Path, row: str) -> Path:
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "list.jsonl").write_text('{"path": "a.jpg", ' + row[1:] + "\n")
    return folder / "list.jsonl"


def in_nested_jsonl(folder: Path, row: str) -> Path:
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "list.jsonl").write_text('{"path": "a.jpg", "metadata": ' + row + "}\n")
    return folder / "list.jsonl"


def in_tar(folder: Path, row: str) -> Path:
    return tar(folder / "shard.tar", [("a.jpg", picture(1)), ("a.json", row.encode())])


SOURCES = [in_sidecar, in_jsonl, in_nested_jsonl, in_tar]


@pytest.mark.parametrize("source", SOURCES)
def test_an_ingested_row_comes_back_with_every_digit_and_type(
    tmp_path: Path, source: Callable[[Path, str], Path]
) -> None:
    index = open_index(tmp_path / "store.db")
    folder = tmp_path / "photos"
    folder.mkdir()
    given = source(folder, ROW)
    assert counts(run(given, index)) == (1, 0, 0, 0)
    (record,) = stored(index).values()
    assert same(record.metadata)
    assert index.count(parse_filter({"id64": BIG, "year": 2001.0})) == 1
    assert index.count(parse_filter({"id64": BIG - 1})) == 0
    assert counts(run(given, index)) == (0, 1, 0, 0)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64 - 1, 2**64, 123456789012345678901234567890])
def test_a_whole_number_beyond_64_bits_is_refused_by_name_and_never_rounded(
    tmp_path: Path, source: Callable[[Path, str], Path], number: int
) -> None:
    (item,) = open_source(source(tmp_path, f'{{"phash": {number}}}')).items()
    assert isinstance(item, BadItem) or "phash" not in item.metadata
    with pytest.raises(PictureError, match='"phash" is a whole number of more than 64 bits') as raised:
        parse_metadata({"phash": number})
    assert raised.value.code == "bad_metadata"
    assert "quotes" in raised.value.hint


def test_a_longer_number_in_quotes_is_kept_and_found_by_the_command_lines_form(tmp_path: Path) -> None:
    index = open_index(tmp_path / "store.db")
    text = "123456789012345678901234567890"
    assert counts(run(in_jsonl(tmp_path, f'{{"phash": "{text}", "id": 12345678901234567890123}}'), index))[0] == 1
    assert stored(index)["12345678901234567890123"].metadata == {"phash": text}
    assert index.count(parse_expressions([f"phash={text}"])) == 1


def test_an_index_of_an_older_version_has_its_numbers_mended_without_encoding_again(tmp_path: Path) -> None:
    index = open_index(tmp_path / "store.db")
    given = in_jsonl(tmp_path, '{"year": 2001, "id64": 1746714878034235397}')
    run(given, index)
    (record,) = stored(index).values()
    older = {"year": 2001.0, "id64": float(BIG)}
    digest = f"{record.digest.partition(':')[0]}:{annotation_digest('', older)}"
    index.write([ImageRecord(record.id, record.embedding, record.source, record.origin, digest, metadata=older)])
    encoder = GridEncoder()
    assert counts(run(given, index, encoder)) == (1, 0, 0, 0)
    assert encoder.pictures == 0
    (record,) = stored(index).values()
    assert same(record.metadata, {"year": 2001, "id64": BIG})
    assert index.count(parse_filter({"id64": BIG})) == 1
    assert index.count(parse_filter({"id64": float(BIG)})) == 0


@contextmanager
def serving(path: Path, **limits: Any) -> Iterator[DarClient]:
    encoder = FakeEncoder()
    store = SQLiteStore(path)
    (embedding,) = encoder.encode_texts(["a red house"])
    index = store.create("photos", encoder.provenance)
    records = [
        ImageRecord("kept", embedding, "s", caption="a red house", metadata=KEPT | {"taken": "2024-03-01"}),
        ImageRecord("next", embedding, "s", caption="a red house", metadata=KEPT | {"id64": BIG + 1}),
    ]
    assert index.write(records) == []
    with (
        served(Service(query_settings(served_indices=("photos",), **limits), store)) as url,
        DarClient(url, index="photos", timeout=60) as opened,
    ):
        yield opened


@pytest.fixture
def client(tmp_path: Path) -> Iterator[DarClient]:
    with serving(tmp_path / "served.db") as opened:
        yield opened


def test_the_client_gets_and_asks_for_every_digit(client: DarClient) -> None:
    for filter in ({"id64": BIG}, {"id64": {"lt": BIG + 1}}, {"taken": {"gte": "2024-03", "lte": "2024-03-01"}}):
        (hit,) = client.search("a red house", filter=filter).hits
        assert hit.id == "kept"
        assert same(hit.metadata, KEPT | {"taken": "2024-03-01"})
        (last,) = [answer for answer in client.stream("a red house", filter=filter) if answer.final]
        assert same(last.hits[0].metadata, KEPT | {"taken": "2024-03-01"})


def test_langchain_gets_every_digit(client: DarClient) -> None:
    (document,) = DarRetriever(client=client, options={"filter": {"id64": BIG}}).invoke("a red house")
    found = document.metadata["metadata"]
    assert (found["id64"], found["ids"], repr(found["year"])) == (BIG, [BIG, 2**53 + 1], "2001")


def test_the_service_refuses_a_filter_that_no_store_can_hold(client: DarClient) -> None:
    with pytest.raises(RequestError, match="JSON"):  # the client's own writer takes 64 bits
        client.search("a red house", filter={"id64": 2**64})
    with pytest.raises(FilterError, match="64 bits") as raised:
        client.search("a red house", filter={"id64": 2**64 - 1})
    assert "text" in raised.value.hint
    with pytest.raises(FilterError, match="a number or a date"):
        client.search("a red house", filter={"taken": {"gte": "March"}})


def test_the_service_takes_as_many_long_values_as_a_filter_may_have(client: DarClient) -> None:
    values = [f"{number:060d}" for number in range(65_535)]
    hits = client.search("a red house", filter={"code": [*values, "007"]}).hits
    assert [hit.id for hit in hits] == ["kept", "next"]
    with pytest.raises(FilterError, match="65,536"):
        client.search("a red house", filter={"code": [*values, "007", "8"]})


def test_a_service_with_less_room_says_what_more_values_need(tmp_path: Path) -> None:
    values = [f"{number:060d}" for number in range(65_535)]
    with serving(tmp_path / "served.db", body_bytes=1 << 20) as client, pytest.raises(BodyTooLarge) as raised:
        client.search("a red house", filter={"code": values})
    assert "query.body_bytes" in raised.value.hint


def test_the_service_reads_a_longer_number_exactly_and_says_so(client: DarClient) -> None:
    body = '{"dialogue": ["a red house"], "index": "photos", "filter": {"id64": 18446744073709551617}}'
    request = urllib.request.Request(
        f"{client._url}/_dar/v1/search", body.encode(), {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)
    problem = json.loads(raised.value.read())
    assert (raised.value.code, problem["code"]) == (400, "bad_filter")
    assert "64 bits" in problem["message"]
