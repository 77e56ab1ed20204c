"""Lists with URLs, and lists from the web: through the whole of an ingest run, from real servers on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dar_search.bootstrap import open_store
from dar_search.errors import SourceError
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.settings import load_settings
from dar_search.settings.fetch import FetchSettings
from tests.grid_encoder import GridEncoder
from tests.pictures import jpeg, photograph
from tests.web_servers import Site, answer, site


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        for number in range(40):
            running.answers[f"/p/{number}.jpg"] = [answer(jpeg(photograph(number, 64, 48)))]
        yield running


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside(FetchSettings(allowed_hosts=("127.0.0.1",), tries=1)) as reach:
        yield reach


def rows(*listed: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in listed).encode()


def test_a_list_of_paths_and_urls_becomes_records_and_failures(server: Site, outside: Outside, tmp_path: Path) -> None:
    (tmp_path / "here.jpg").write_bytes(jpeg(photograph(50, 64, 48)))
    listing = tmp_path / "list.jsonl"
    web = [{"path": f"{server.url}/p/{number}.jpg", "caption": f"number {number}"} for number in range(40)]
    listing.write_bytes(
        rows(
            *web,
            {"url": f"{server.url}/p/0.jpg", "id": "by-url", "year": 2001},
            {"path": "here.jpg", "url": "https://example.org/only-metadata", "id": "here"},
            {"path": f"{server.url}/missing.jpg"},
            {"path": "http://169.254.169.254/latest/meta-data/"},
        )
    )
    settings = load_settings(store=f"sqlite:{tmp_path / 'store.sqlite'}")
    store = open_store(settings.store, settings)
    encoder = GridEncoder()
    index = store.create("photos", encoder.provenance)
    report = ingest(open_source(listing, outside=outside), index, encoder, IngestRequest(outside=outside))
    assert report.indexed == 42
    assert {failure.source: failure.code for failure in report.failures} == {
        f"{server.url}/missing.jpg": "url_not_found",
        "http://169.254.169.254/latest/meta-data/": "address_refused",
    }
    found = index.get(["by-url", "here"])
    assert found["by-url"].source == f"{server.url}/p/0.jpg"
    assert found["here"].metadata == {"url": "https://example.org/only-metadata"}
    again = ingest(open_source(listing, outside=outside), index, encoder, IngestRequest(outside=outside))
    assert (again.indexed, again.unchanged, len(again.failures)) == (0, 42, 2)
    store.close()


def test_a_list_from_the_web_names_pictures_on_the_web_alone(server: Site, outside: Outside) -> None:
    paths = ["../p/1.jpg", f"{server.url}/p/2.jpg", "file:///etc/passwd", "/p/3.jpg"]
    server.answers["/lists/list.jsonl"] = [answer(rows(*({"path": path} for path in paths)))]
    source = open_source(f"{server.url}/lists/list.jsonl", outside=outside)
    listed = list(source.items())
    assert source.origin == f"{server.url}/lists/list.jsonl"
    assert [item.at for item in listed if isinstance(item, SourceItem)] == [
        f"{server.url}/p/{number}.jpg" for number in (1, 2, 3)
    ]
    (bad,) = [item for item in listed if isinstance(item, BadItem)]
    assert bad.failure.code == "unsupported_address"
    assert list(source.items(listed[1].cursor)) == listed[2:]
    assert list(source.count())[-1] == 4


def test_a_list_that_cannot_be_fetched_says_why(server: Site, outside: Outside) -> None:
    server.answers["/page.jsonl"] = [answer(b"<html>no list</html>")]
    for url, says in (
        (f"{server.url}/none.jsonl", "url_not_found"),
        ("http://127.0.0.9/a.jsonl", "address_refused"),
        (f"{server.url}/page.jsonl", "JSONL"),
    ):
        with pytest.raises(SourceError, match=says):
            open_source(url, outside=outside)


def test_tables_from_the_web_say_what_the_jsonl_says(server: Site, outside: Outside, tmp_path: Path) -> None:
    paths = ["../p/1.jpg", f"{server.url}/p/2.jpg", "/etc/passwd.jpg", "file:///etc/passwd"]
    pq.write_table(pa.table({"url": paths}), tmp_path / "list.parquet")
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "held.parquet")
    server.answers["/lists/list.jsonl"] = [answer(rows(*({"url": path} for path in paths)))]
    server.answers["/lists/list.csv?v=2"] = [answer("\n".join(["url", *paths]).encode())]
    server.answers["/lists/download"] = [answer((tmp_path / "list.parquet").read_bytes())]
    server.answers["/lists/held.parquet"] = [answer((tmp_path / "held.parquet").read_bytes())]
    found = []
    for name in ("list.jsonl", "list.csv?v=2", "download"):
        source = open_source(f"{server.url}/lists/{name}", outside=outside)
        assert source.origin == f"{server.url}/lists/{name}"
        found.append([one.at if isinstance(one, SourceItem) else one.failure.code for one in source.items()])
    assert found[0] == [f"{server.url}{path}" for path in ("/p/1.jpg", "/p/2.jpg", "/etc/passwd.jpg")] + [
        "unsupported_address"
    ]
    assert found[1] == found[2] == found[0]
    with pytest.raises(SourceError, match="read from files"):
        open_source(f"{server.url}/lists/held.parquet", outside=outside)
