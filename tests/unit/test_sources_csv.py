"""CSV files as sources: what rows say, what values are, and lines that cannot be read."""

from pathlib import Path

import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem
from tests.listings import items, jsonl, remarked, skipped


def table(folder: Path, *lines: str | bytes, name: str = "list.csv", end: bytes = b"\n") -> Path:
    path = folder / name
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + end for line in lines))
    return path


def listed(path: Path) -> list[SourceItem | BadItem]:
    return list(open_source(path).items())


def codes(path: Path) -> list[tuple[str, str]]:
    bad = [item.failure for item in listed(path) if isinstance(item, BadItem)]
    return [(failure.source.rpartition("#")[2], failure.code) for failure in bad]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_row_says_what_the_same_row_of_a_jsonl_says(tmp_path: Path, end: bytes) -> None:
    path = table(
        tmp_path,
        b"\xef\xbb\xbf" + b'path,caption,id,metadata,city,year,"a, b"',
        'a.jpg," a\n""cat"", asleep",c1,"{""who"": ""me""}",Rome,2001,',
        "https://example.org/b.jpg,,,,Paris,2002,",
        end=end,
    )
    by_row = items(
        jsonl(
            tmp_path,
            '{"path": "a.jpg", "caption": "a \\"cat\\", asleep", "id": "c1", "city": "Rome", "year": 2001,'
            ' "who": "me"}',
            '{"path": "https://example.org/b.jpg", "city": "Paris", "year": 2002}',
        )
    )
    found = items(path)
    said = [(item.id, item.key, item.path, item.at, item.caption, item.metadata) for item in found]
    assert said == [(item.id, item.key, item.path, item.at, item.caption, item.metadata) for item in by_row]
    assert [item.place.rpartition("#")[2] for item in found] == ["L2", "L4"]
    assert list(open_source(path).count())[-1] == 2


def test_a_column_holds_numbers_where_all_its_values_are_plain_numbers(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,zip,year,price,sold,size,big,huge,id,caption,exponent",
        "a.jpg,02139,2001,12.50,true,38,9007199254740993,9223372036854775808,007,42,1e5",
        "b.jpg,90210,,3,False,M,-1,1,8,,2e5",
    )
    first, second = items(path)
    assert first.metadata == {
        "zip": "02139",
        "year": 2001,
        "price": 12.5,
        "sold": True,
        "size": "38",
        "big": 9007199254740993,
        "huge": "9223372036854775808",
        "exponent": "1e5",
    }
    assert second.metadata == {
        "zip": "90210",
        "price": 3,
        "sold": False,
        "size": "M",
        "big": -1,
        "huge": "1",
        "exponent": "2e5",
    }
    assert (first.id, first.caption, second.id) == ("007", "42", "8")


@pytest.mark.parametrize("mark", ["\t", ";"])
def test_tabs_and_semicolons_stand_between_values_too(tmp_path: Path, mark: str) -> None:
    path = table(tmp_path, f"path{mark}caption", f"a.jpg{mark}one, two", name="list.TSV")
    (item,) = items(path)
    assert item.caption == "one, two"


def test_columns_of_others_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "image_url,title,brand,url,note", "http://example.org/a.jpg,a cat,Acme,http://b,x")
    options = {"field": "image_url", "caption_field": "title", "metadata_fields": ["maker=brand", "note"]}
    (item,) = items(path, **options)
    assert (item.at, item.caption) == ("http://example.org/a.jpg", "a cat")
    assert item.metadata == {"maker": "Acme", "note": "x"}
    (whole,) = items(path, field="image_url", caption_field="title")
    assert whole.metadata == {"brand": "Acme", "url": "http://b", "note": "x"}
    row = '{"image_url": "http://example.org/a.jpg", "title": "a cat", "brand": "Acme", "note": "x"}'
    (by_row,) = items(jsonl(tmp_path, row), **options)
    assert (by_row.id, by_row.caption, by_row.metadata) == (item.id, item.caption, item.metadata)
    with pytest.raises(SourceError, match="has no column"):
        open_source(path, field="picture")


def test_a_line_that_cannot_be_read_is_a_failure_and_the_next_goes_on(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,caption",
        'a.jpg,"never closed',
        "b.jpg,fine",
        "c.jpg",
        "d.jpg,x,y",
        b"caf\xe9.jpg,x",
        "",
        "e.jpg," + "x" * (1 << 20),
        'f.jpg,"a"b',
        ",no picture",
        "ftp://example.org/a.jpg,x",
        "g.jpg,last",
    )
    good = [Path(item.path.decode()).name for item in listed(path) if isinstance(item, SourceItem)]
    assert good == ["b.jpg", "g.jpg"]
    assert codes(path) == [
        *((f"L{line}", "bad_line") for line in (2, 4, 5, 6, 8, 9, 10)),
        ("L11", "unsupported_address"),
    ]
    assert skipped(path) == {"blank_line": 1}
    assert list(open_source(path).count())[-1] == len(listed(path))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a.jpg,a cat", "b.jpg,a dog"], "names no pictures"),
        (["path,city,city", "a.jpg,x,y"], "several columns"),
        ([b"\xff\xfep\x00a\x00"], "UTF-8"),
        (['path,"caption'], "not a CSV"),
        (["path,caption\ra.jpg,x"], "not a CSV"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, lines: list[str | bytes], says: str) -> None:
    with pytest.raises(SourceError, match=says):
        open_source(table(tmp_path, *lines))


def test_a_column_without_a_name_is_left_out_with_a_word(tmp_path: Path) -> None:
    path = table(tmp_path, ",path", "0,a.jpg", "1,b.jpg")
    assert [item.metadata for item in items(path)] == [{}, {}]
    assert remarked(path).warnings["bad_metadata"].count == 1


def test_a_listing_goes_on_after_any_row(tmp_path: Path) -> None:
    path = table(tmp_path, "path,caption,n", 'a.jpg,"two\nlines",1', "", "b.jpg", "c.jpg,x,3", "d.jpg,y,07")
    whole = listed(path)
    assert len(whole) == 4
    for number, item in enumerate(whole):
        rest = list(open_source(path).items(item.cursor))
        assert rest == whole[number + 1 :], "what is a number is decided by the whole file, wherever a listing goes on"
    with pytest.raises(SourceError, match="no place"):
        list(open_source(path).items("x"))
    empty = table(tmp_path, name="empty.csv")
    assert listed(empty) == []


def test_excluded_addresses_are_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, "path", "a.gif", "b.jpg")
    assert [item.key.rpartition("/")[2] for item in items(path, exclude=["*.gif"])] == ["b.jpg"]
    assert list(open_source(path, exclude=["*.gif"]).count())[-1] == 1
