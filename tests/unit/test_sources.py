"""Folders and JSONL files as sources: what they list, what they leave out, and what they say about bad entries."""

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.annotations import annotation_digest, parse_caption, parse_metadata
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.locations import file_uri, path_of, printable, record_id
from dar_search.ingestion.sources import BadItem, SourceItem, open_source


def items(target: str | Path, **options: bool) -> list[SourceItem]:
    listed = list(open_source(target, **options).items())
    assert all(isinstance(item, SourceItem) for item in listed), listed
    return [item for item in listed if isinstance(item, SourceItem)]


def names(target: Path, **options: bool) -> list[str]:
    return [os.fsdecode(os.path.relpath(item.path, os.fsencode(target))) for item in items(target, **options)]


def failures(target: str | Path) -> list[tuple[str, str]]:
    bad = [item for item in open_source(target).items() if isinstance(item, BadItem)]
    assert all(item.failure.code in FAILURE_CODES for item in bad)
    return [(item.failure.source, item.failure.code) for item in bad]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# folders


def test_a_folder_lists_its_pictures_in_order_with_subfolders_and_nothing_else(tmp_path: Path) -> None:
    touch(
        *(tmp_path / name for name in ("b.PNG", "a.jpg", "c/d.webp", "c/e/f.TIFF", "z.bmp", "notes.txt", "x", "v.mp4"))
    )
    assert names(tmp_path) == ["a.jpg", "b.PNG", "c/d.webp", "c/e/f.TIFF", "z.bmp"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path / ".a.jpg", tmp_path / ".b" / "c.jpg", tmp_path / "._d.jpg", tmp_path / "e.jpg")
    assert names(tmp_path) == ["e.jpg"]


def test_formats_that_cannot_be_decoded_are_listed_so_that_they_show_as_failures(tmp_path: Path) -> None:
    touch(tmp_path / "a.heic", tmp_path / "b.jxl")
    assert names(tmp_path) == ["a.heic", "b.jxl"]


def test_keys_are_percent_encoded_file_uris_also_of_names_that_are_no_text(tmp_path: Path) -> None:
    raw = b"50% caf\xe9 \xd1\x8f?#.jpg"
    touch(tmp_path / os.fsdecode(raw))
    (item,) = items(tmp_path)
    assert item.key == f"{tmp_path.resolve().as_uri()}/50%25%20caf%E9%20%D1%8F%3F%23.jpg"
    assert path_of(item.key) == item.path == os.fsencode(tmp_path.resolve()) + b"/" + raw
    assert item.id == record_id(item.key)
    assert len(item.id) == 32


@given(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw))
def test_every_path_survives_its_uri_and_can_be_printed(raw: bytes) -> None:
    uri = file_uri(b"/" + raw)
    assert uri.isascii()
    assert path_of(uri) == b"/" + raw
    assert unquote_to_bytes(uri) == b"file:///" + raw
    assert printable(raw).isprintable()
    printable(raw).encode()


@pytest.mark.parametrize("uri", ["http://a/b.jpg", "file://elsewhere/b.jpg", "file:b.jpg", "file:///a%00b", "b.jpg"])
def test_what_is_no_file_uri_of_this_machine_has_no_path(uri: str) -> None:
    with pytest.raises(ValueError, match="no file: URI"):
        path_of(uri)


def test_a_folder_has_the_same_keys_however_it_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "photos" / "a.jpg")
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "photos").as_uri()
    keys = {items(way)[0].key for way in ("photos", "./photos/../photos/", "link", str(tmp_path / "photos"), uri)}
    assert len(keys) == 1
    assert {open_source(way).origin for way in ("photos/", "link", uri)} == {uri}


def test_links_inside_the_folder_add_no_picture_twice_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "sub" / "b.jpg")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "again").symlink_to("sub")
    (tmp_path / "me").symlink_to("me")
    assert names(tmp_path) == ["a.jpg", "sub/b.jpg"]


def test_a_link_to_a_picture_inside_is_a_picture_of_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "cover.jpg").symlink_to("a.jpg")
    assert names(tmp_path) == ["a.jpg", "cover.jpg"]


def test_links_out_of_the_folder_are_failures_unless_they_are_allowed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    touch(inside / "a.jpg", inside / "b.jpg", outside / "c.jpg", outside / "deep" / "d.jpg")
    (outside / "secret.txt").write_text("not for captions")
    (inside / "b.txt").symlink_to(outside / "secret.txt")
    (inside / "far.jpg").symlink_to(outside / "c.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "other").symlink_to(outside / "deep")
    (outside / "back").symlink_to(inside)
    assert failures(inside) == [
        (f"{inside.as_uri()}/{name}", "link_outside") for name in ("b.jpg", "far.jpg", "folder", "other")
    ]
    followed = names(inside, follow_links=True)
    assert followed == ["a.jpg", "b.jpg", "far.jpg", "folder/c.jpg", "folder/deep/d.jpg"]


def test_links_to_nothing_and_things_that_are_no_files_are_failures_if_named_as_pictures(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    touch(tmp_path / "folder.jpg" / "a.jpg")
    assert [code for _, code in failures(tmp_path)] == ["file_missing", "not_a_file", "symlink_loop"]
    assert len([item for item in open_source(tmp_path).items() if isinstance(item, SourceItem)]) == 1


def test_a_tree_deeper_than_pythons_recursion_limit_is_listed(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        assert names(tmp_path) == ["d/" * 1_200 + "a.jpg"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # too deep for shutil, and so for pytest


def test_counting_agrees_with_listing(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{number // 100}" / f"{number}.jpg" for number in range(2_300)))
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    source = open_source(tmp_path)
    counts = list(source.count())
    assert counts == sorted(counts)
    assert counts[-1] == len(list(source.items())) == 2_301


# sidecars


def test_sidecars_give_caption_and_metadata(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg", tmp_path / "sub" / "a.jpg")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf  A cat\r\n on a\tmat. \n")
    (tmp_path / "a.json").write_text('{"caption": "ignored", "year": 1999, "tags": ["x", "y"], "none": null}')
    (tmp_path / "b.JSON").write_text('{"caption": "from the object", "ok": true}')
    (tmp_path / "c.txt").write_text("")
    found = {Path(os.fsdecode(item.path)).name: (item.caption, item.metadata) for item in items(tmp_path)[:3]}
    assert found == {
        "a.jpg": ("A cat on a mat.", {"year": 1999.0, "tags": ("x", "y")}),
        "b.jpg": ("from the object", {"ok": True}),
        "c.jpg": ("", {}),
    }
    assert items(tmp_path)[3].caption == ""


@pytest.mark.parametrize(
    ("sidecar", "content", "code"),
    [
        ("a.txt", b"caf\xe9", "bad_caption"),
        ("a.txt", b"x" * 10_001, "bad_caption"),
        ("a.txt", b"a\0b", "bad_caption"),
        ("a.txt", b"x" * (1 << 20) + b"y", "too_large"),
        ("a.json", b"{not json", "bad_metadata"),
        ("a.json", b"[1]", "bad_metadata"),
        ("a.json", b'{"caption": 5}', "bad_caption"),
        ("a.json", b'{"deep": {"er": 1}}', "bad_metadata"),
        ("a.json", b'{"mixed": [1, "a"]}', "bad_metadata"),
        ("a.json", b'{"two words": 1}', "bad_metadata"),
        ("a.json", b'{"not": 1}', "bad_metadata"),
    ],
)
def test_a_bad_sidecar_is_a_failure_of_its_picture_and_of_no_other(
    tmp_path: Path, sidecar: str, content: bytes, code: str
) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / sidecar).write_bytes(content)
    assert failures(tmp_path) == [((tmp_path / "a.jpg").as_uri(), code)]
    good = [item for item in open_source(tmp_path).items() if isinstance(item, SourceItem)]
    assert [item.path.rpartition(b"/")[2] for item in good] == [b"b.jpg"]


# JSONL files


def jsonl(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "list.jsonl"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return path


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
        ('{"path": "a.jpg", "metadata": []}', "bad_line", '"metadata"'),
        ('{"path": "a.jpg", "x": 1, "metadata": {"x": 2}}', "bad_line", "twice"),
        (b'{"path": "caf\xe9.jpg"}', "bad_line", "not JSON"),
        ('{"path": "a.jpg", "caption": "\\ud800"}', "bad_line", "not JSON"),
        ('{"path": "a.jpg", "n": NaN}', "bad_line", "not JSON"),
        ("[" * 100_000, "bad_line", "not JSON"),
        ('{"path": "' + "x" * (1 << 20) + '"}', "bad_line", "1,048,576"),
        ('{"path": "ftp://example.org/a.jpg"}', "unsupported_address", "ftp://example.org/a.jpg"),
        ('{"path": "a.jpg", "caption": 5}', "bad_caption", "a number"),
        ('{"path": "a.jpg", "boxes": [{"x": 1}]}', "bad_metadata", '"boxes" holds an object'),
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


def test_a_line_whose_record_is_known_says_so_for_pruning(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, '{"path": "a.jpg"}', '{"path": "b.jpg", "caption": 1}', '{"id": "c", "path": "c", "x": {}}', "?"
    )
    bad = [item for item in open_source(path).items() if isinstance(item, BadItem)]
    assert [item.id for item in bad] == [record_id(f"{tmp_path.resolve().as_uri()}/b.jpg"), "c", None]


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0", b"caption,path\na,b\n", b'[{"path": "a.jpg"},\n{"path": "b.jpg"}]', b"?"]
)
def test_a_file_that_is_no_jsonl_at_all_is_refused_as_a_whole(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"not a JSONL file. Line 1: .* A row is one line") as raised:
        open_source(path)
    assert "\n" not in str(raised.value)


def test_an_empty_jsonl_file_lists_nothing(tmp_path: Path) -> None:
    assert items(jsonl(tmp_path, "", "  ")) == []


# any source


@pytest.mark.parametrize("target", ["missing", "", "https://example.org/x", "file://host/x", "/dev/null", "a\0b"])
def test_what_is_no_source_is_refused_in_one_line_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as raised:
        open_source(target)
    assert raised.value.hint
    assert "\n" not in str(raised.value)


def test_a_source_that_vanishes_raises_rather_than_listing_nothing(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    source = open_source(tmp_path / "photos")
    (tmp_path / "photos").rmdir()
    with pytest.raises(SourceError, match="cannot be listed"):
        list(source.items())


# captions and metadata


def test_the_annotation_digest_depends_on_content_and_not_on_the_order_of_fields() -> None:
    digest = annotation_digest("a", {"x": 1.0, "y": ("b",)})
    assert digest == annotation_digest("a", {"y": ("b",), "x": 1.0})
    others = [
        annotation_digest("b", {"x": 1.0, "y": ("b",)}),
        annotation_digest("a", {"x": 2.0}),
        annotation_digest("a", {}),
    ]
    assert len({digest, *others}) == 4


def test_empty_and_null_metadata_mean_no_field() -> None:
    assert parse_metadata({"a": None, "b": [], "c": 0}) == {"c": 0.0}


def test_true_and_one_are_kept_apart() -> None:
    metadata = parse_metadata({"a": True, "b": 1, "c": [True, False], "d": [1, 2.5]})
    assert [type(value) for value in (metadata["a"], metadata["b"])] == [bool, float]
    assert metadata["c"] == (True, False)
    with pytest.raises(PictureError, match="mixes kinds"):
        parse_metadata({"a": [True, 1]})


@pytest.mark.parametrize(
    "raw", [{"x": "y" * 32_767}, {"x": float("inf")}, {"x": list(range(1_001))}, {f"f{n}": 1 for n in range(201)}]
)
def test_metadata_beyond_what_an_index_keeps_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(PictureError) as raised:
        parse_metadata(raw)
    assert raised.value.code == "bad_metadata"


def test_a_caption_is_one_line() -> None:
    assert parse_caption(" a\n\n b\u00a0c\t") == "a b c"
    assert parse_caption(None) == ""
