"""Folders as sources: what they list, what they leave out, and what they say about bad entries; what no source is."""

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.errors import OutOfResources, SourceError
from dar_search.ingestion.sources.folder import FolderSource
from dar_search.ingestion.sources.locations import file_uri, path_of, printable, record_id
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import SourceItem
from tests.listings import failures, items, names, touch, warnings
from tests.shortages import no_descriptors


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
        (f"{inside.as_uri()}/{name}", "link_outside") for name in ("far.jpg", "folder", "other")
    ]
    assert warnings(inside) == [("link_outside", "caption")]
    by_name = {item.path: item for item in open_source(inside).items() if isinstance(item, SourceItem)}
    assert by_name[os.fsencode(inside / "b.jpg")].caption == ""
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


@pytest.mark.parametrize("target", ["missing", "", "ftp://example.org/x", "file://host/x", "/dev/null", "a\0b"])
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


@pytest.mark.parametrize("target", ["a\0b", b"a\0", "a\ud800"])
def test_what_can_be_no_name_is_refused(target: str | bytes) -> None:
    with pytest.raises(SourceError, match="no path and no address"):
        open_source(target)


@pytest.mark.parametrize("name", ["below/a.jpg", "nameless", "0.txt"])
def test_a_listing_that_lacks_a_descriptor_leaves_nothing_out_and_calls_nothing_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A folder below, a file whose name says nothing, a caption: each is opened on the way."""
    touch(tmp_path / "0.jpg", tmp_path / name)
    source = open_source(tmp_path)
    with no_descriptors(), pytest.raises(OutOfResources, match="Too many open files"):
        open_source(tmp_path)
    with no_descriptors(), pytest.raises(OutOfResources, match="Too many open files"):
        list(source.items())
    entries, root = FolderSource._entries, os.fsencode(tmp_path.resolve())
    listed = entries(source, root)  # type: ignore[arg-type]  # the folder itself could still be listed
    monkeypatch.setattr(FolderSource, "_entries", lambda of, path: listed if path == root else entries(of, path))
    with no_descriptors(), pytest.raises(OutOfResources, match="Too many open files"):
        list(source.items())
