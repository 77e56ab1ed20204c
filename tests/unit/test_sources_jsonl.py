"""JSONL files as sources: rows, bad lines, and files that are none."""

import gzip
from pathlib import Path

import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.sources.locations import record_id
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem
from tests.listings import items, jsonl, remarked, skipped, touch, warnings


def test_rows_give_path_id_caption_and_metadata(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        b'\xef\xbb\xbf{"path": "a.jpg", "caption": " a\\ncat", "id": "c1", "metadata": {"city": "Rome"}, "year": 1}',
        "",
        '{"image": "sub/../b c.jpg", "text": "dog", "id": 7}\r',
        '{"file_name": "/elsewhere/d.jpg", "caption": null, "id": null}',
        '{"path": "file:///elsewhere/%D1%8F.jpg"}',
    )
    found = items(path)
    folder = tmp_path.resolve()
    assert [(item.id, item.key, item.caption, item.metadata) for item in found] == [
        ("c1", f"{folder.as_uri()}/a.jpg", "a cat", {"city": "Rome", "year": 1.0}),
        ("7", f"{folder.as_uri()}/b%20c.jpg", "dog", {}),
        (record_id("file:///elsewhere/d.jpg"), "file:///elsewhere/d.jpg", "", {}),
        (record_id("file:///elsewhere/%D1%8F.jpg"), "file:///elsewhere/%D1%8F.jpg", "", {}),
    ]
    assert found[1].place == f"{folder.as_uri()}/list.jsonl#L3"
    assert open_source(path).origin == f"{folder.as_uri()}/list.jsonl"


def test_a_row_and_a_folder_give_the_same_picture_the_same_id(tmp_path: Path) -> None:
    touch(tmp_path / "я" / "a b.jpg")
    (by_folder,) = items(tmp_path)
    (by_row,) = items(jsonl(tmp_path, '{"path": "./я/a b.jpg"}'))
    assert by_row.id == by_folder.id


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("not json", "bad_line", "not JSON"),
        ("[1, 2]", "bad_line", "not a JSON object"),
        ('{"caption": "no path"}', "bad_line", '"path"'),
        ('{"path": ""}', "bad_line", '"path"'),
        ('{"path": {"bytes": "x"}}', "bad_line", '"path"'),
        ('{"path": "a\\u0000.jpg"}', "bad_line", '"path"'),
        ('{"path": "a.jpg", "image": "b.jpg"}', "bad_line", "both"),
        ('{"path": "a.jpg", "id": true}', "bad_line", '"id"'),
        ('{"path": "a.jpg", "id": ""}', "bad_line", '"id"'),
        ('{"path": "a.jpg", "id": "' + "é" * 257 + '"}', "bad_line", '"id"'),
        (b'{"path": "caf\xe9.jpg"}', "bad_line", "not JSON"),
        ('{"path": "\\ud800.jpg"}', "bad_line", '"path"'),
        ('{"img": "a.jpg", "prompt": "x"}', "bad_line", '"img", "prompt"'),
        ("[" * 100_000, "bad_line", "not JSON"),
        ('{"path": "' + "x" * (1 << 20) + '"}', "bad_line", "1,048,576"),
        ('{"path": "ftp://example.org/a.jpg"}', "unsupported_address", "ftp://example.org/a.jpg"),
    ],
)
def test_a_bad_line_is_a_failure_that_names_it_and_the_rest_goes_on(
    tmp_path: Path, line: str | bytes, code: str, says: str
) -> None:
    path = jsonl(tmp_path, '{"path": "1.jpg"}', line, '{"path": "3.jpg"}')
    listed = list(open_source(path).items())
    assert [type(item) for item in listed] == [SourceItem, BadItem, SourceItem]
    bad = listed[1]
    assert isinstance(bad, BadItem)
    assert (bad.failure.source, bad.failure.code) == (f"{path.resolve().as_uri()}#L2", code)
    assert bad.failure.message.startswith("Line 2: ")
    assert says in bad.failure.message
    assert "\n" not in bad.failure.message
    assert list(open_source(path).count())[-1] == 3


@pytest.mark.parametrize(
    ("line", "code", "field", "caption", "metadata"),
    [
        ('{"path": "a.jpg", "caption": 5, "x": 1}', "bad_caption", "caption", "", {"x": 1.0}),
        ('{"path": "a.jpg", "caption": "\\ud800", "x": 1}', "bad_caption", "caption", "", {"x": 1.0}),
        ('{"path": "a.jpg", "caption": "a", "text": "b"}', "bad_caption", "text", "a", {}),
        ('{"path": "a.jpg", "caption": "a", "n": NaN}', "bad_metadata", "n", "a", {}),
        ('{"path": "a.jpg", "caption": "a", "boxes": [{"x": 1}]}', "bad_metadata", "boxes", "a", {}),
        ('{"path": "a.jpg", "text": "a", "File Name": "x"}', "bad_metadata", "File Name", "a", {}),
        ('{"path": "a.jpg", "metadata": [], "x": 1}', "bad_metadata", "metadata", "", {"x": 1.0}),
        ('{"path": "a.jpg", "x": 1, "metadata": {"x": 2}}', "bad_metadata", "x", "", {"x": 2.0}),
    ],
)
def test_a_bad_annotation_of_a_row_is_a_warning_and_its_picture_goes_in(
    tmp_path: Path, line: str, code: str, field: str, caption: str, metadata: dict[str, float]
) -> None:
    path = jsonl(tmp_path, '{"path": "1.jpg"}', line)
    found = items(path)
    assert [(item.caption, item.metadata) for item in found] == [("", {}), (caption, metadata)]
    assert warnings(path) == [(code, field)]
    (noted,) = remarked(path).warnings.values()
    assert noted.examples[0].startswith(f"{path.resolve().as_uri()}#L2: ")


def test_blank_lines_and_excluded_rows_are_counted(tmp_path: Path) -> None:
    rows = [f'{{"path": "{name}"}}' for name in ("a.jpg", "raw/b.jpg", "https://example.org/raw/c.jpg", "d.gif")]
    path = jsonl(tmp_path, "", *rows, " ")
    options = {"exclude": ["raw/", "*.gif"]}
    assert [item.key.rpartition("/")[2] for item in items(path, **options)] == ["a.jpg"]
    assert skipped(path, **options) == {"blank_line": 2, "excluded": 3}
    assert list(open_source(path, **options).count())[-1] == 1
    assert skipped(path) == {"blank_line": 2}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[\n {"path": "a.jpg"}\n]', r"JSON array"),
        (b'"image_name"\t"text"\na.jpg\tb\n', r'columns "image_name", "text"'),
        (gzip.compress(b'{"path": "a.jpg"}'), r"packed with gzip"),
        (b"PAR1\x15\x04", r"Parquet"),
        (b"PK\x03\x04\x14\0", r"a zip"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"is one picture, no list of pictures\. Give the folder"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", r"is one picture"),
        ('\ufeff{"path": "a.jpg"}'.encode("utf-16-le"), r"UTF-16"),
        (b'{"img": "a.jpg", "prompt": "a cat"}\n{"img": "b.jpg"}', r'names no pictures: .* "img", "prompt", and none'),
    ],
)
def test_a_list_of_another_form_is_told_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says) as raised:
        open_source(path)
    assert "\n" not in str(raised.value)


def test_a_line_whose_record_is_not_known_says_so_for_pruning(tmp_path: Path) -> None:
    path = jsonl(tmp_path, '{"path": "a.jpg"}', '{"path": "b.jpg", "caption": 1}', '{"id": "c", "path": ""}', "?")
    listed = list(open_source(path).items())
    uri = tmp_path.resolve().as_uri()
    assert [item.id for item in listed] == [record_id(f"{uri}/a.jpg"), record_id(f"{uri}/b.jpg"), None, None]


@pytest.mark.parametrize("content", [b"caption,path\na,b\n", b'[{"path": "a.jpg"},\n{"path": "b.jpg"}]', b"?"])
def test_a_file_that_is_no_jsonl_at_all_is_refused_as_a_whole(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"not a JSONL file. Line 1: .* A row is one line") as raised:
        open_source(path)
    assert "\n" not in str(raised.value)


def test_an_empty_jsonl_file_lists_nothing(tmp_path: Path) -> None:
    assert items(jsonl(tmp_path, "", "  ")) == []
