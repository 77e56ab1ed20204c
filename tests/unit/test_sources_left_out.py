"""What a source has and does not list: counted by reason, whatever it is; and how people say what to leave out."""

import os
import tarfile
from pathlib import Path

import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.jobs.data import MAX_EXAMPLES, MAX_KINDS, OTHER_KINDS, Noted, Remarked
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.opening import exclusions, open_source
from dar_search.ingestion.sources.source import SourceItem
from tests.listings import failures, items, names, remarked, skipped, touch
from tests.pictures import jpeg, photograph

JPEG = jpeg(photograph(1, 64, 48))
SYSTEM = [
    "@eaDir/IMG_1.JPG/SYNOPHOTO_THUMB_XL.jpg",
    "#recycle/a.jpg",
    "#Recycle/a.jpg",
    "$RECYCLE.BIN/S-1/$R1.jpg",
    "System Volume Information/a.jpg",
    "lost+found/a.jpg",
    "deep/@Recycle/a.jpg",
    "__MACOSX/a.jpg",
    "Cat Previews.lrdata/0/a.jpg",
    "My.photoslibrary/resources/derivatives/a.jpeg",
    "Old.photolibrary/Thumbnails/a.jpg",
    "web/node_modules/x/logo.png",
]
HIDDEN = [".thumbnails/a.jpg", ".@__thumb/a.jpg", ".Trash-1000/files/a.jpg", ".git/a.png", ".hidden.jpg", "x/.b/c.jpg"]
KEPT = ["a.jpg", "My.photoslibrary/originals/0/x.jpeg", "Old.photolibrary/Masters/m.jpg", "originals/resources/y.jpg"]


def listed(path: Path, **options: object) -> list[str]:
    """Of a folder and of a tar of it, which are to be the same."""
    from urllib.parse import unquote

    shard = path.parent / f"{path.name}.tar"
    with tarfile.open(shard, "w") as archive:
        archive.add(path, ".")
    found = sorted(names(path, **options))
    assert sorted(unquote(item.key.partition("#./")[2]) for item in items(shard, **options)) == found
    assert list(open_source(path, **options).count())[-1] == len(found)
    assert list(open_source(shard, **options).count())[-1] == len(found)
    return found


def test_folders_that_people_do_not_mean_are_left_out_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    touch(*(root / name for name in (*SYSTEM, *HIDDEN, *KEPT, "._a.jpg")))
    assert listed(root) == sorted(KEPT)
    assert skipped(root) == {"system_folder": len(SYSTEM), "hidden": len(HIDDEN) + 1}
    noted = remarked(root).skipped["system_folder"]
    assert noted.kinds["@eaDir"] == 1
    assert noted.examples[0].startswith(f"{root.resolve().as_uri()}/")
    assert len(noted.examples) == MAX_EXAMPLES


def test_they_can_be_taken_all_the_same(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    touch(*(root / name for name in (*SYSTEM, *HIDDEN, *KEPT, "._a.jpg")))
    assert listed(root, include_hidden=True) == sorted([*SYSTEM, *HIDDEN, *KEPT])
    assert skipped(root, include_hidden=True) == {"hidden": 1}  # macOS's attributes are no pictures


def test_a_folder_that_is_named_by_itself_is_meant(tmp_path: Path) -> None:
    touch(
        tmp_path / "lost+found" / "a.jpg", tmp_path / ".hidden" / "b.jpg", tmp_path / "L.photoslibrary/originals/c.jpg"
    )
    touch(tmp_path / "L.photoslibrary/resources/d.jpg")
    assert [names(tmp_path / name) for name in ("lost+found", ".hidden", "L.photoslibrary")] == [
        ["a.jpg"], ["b.jpg"], ["originals/c.jpg"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "left", "counted"),
    [
        (["raw/"], ["a.jpg", "b.gif", "d/x.jpg", "raw.jpg"], 2),
        (["/raw/"], ["a.jpg", "b.gif", "d/raw/y.jpg", "d/x.jpg", "raw.jpg"], 1),
        (["*.gif", "x.*"], ["a.jpg", "d/raw/y.jpg", "raw.jpg", "raw/z.jpg"], 2),
        (["d/**/*.jpg", "!x.jpg"], ["a.jpg", "b.gif", "d/x.jpg", "raw.jpg", "raw/z.jpg"], 1),
        (["*", "!a.jpg"], ["a.jpg"], 4),
    ],
)
def test_what_is_excluded_is_left_out_as_a_gitignore_file_says(
    tmp_path: Path, patterns: list[str], left: list[str], counted: int
) -> None:
    root = tmp_path / "photos"
    touch(*(root / name for name in ("a.jpg", "b.gif", "raw.jpg", "raw/z.jpg", "d/x.jpg", "d/raw/y.jpg")))
    assert listed(root, exclude=patterns) == left
    assert skipped(root, exclude=patterns) == {"excluded": counted}


def test_a_name_with_a_hash_can_be_excluded_and_is_no_comment(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    touch(root / "#old" / "a.jpg", root / "b.jpg")
    assert listed(root, exclude=["#old"]) == ["b.jpg"]


def test_a_pattern_that_is_none_and_an_option_of_another_type_are_refused(tmp_path: Path) -> None:
    for options in (
        {"exclude": ["!"]},
        {"exclude": ["["]},
        {"exclude": ["x", ""]},
        {"exclude": ["*a" * 5]},
        {"exclude": ["[[:alpha:]]*.jpg"]},
        {"exclude": ["x[^a[:digit:]]"]},
        {"exclude": ["x" * 2_000]},
        {"exclude": 5},
        {"exclude": [5]},
        {"include_hidden": "no"},
        {"field": 1},
    ):
        with pytest.raises(SourceError) as raised:
            open_source(tmp_path, **options)
        assert raised.value.hint


def test_the_settings_patterns_come_before_those_given_and_an_index_has_none() -> None:
    assert exclusions("/photos", ("*.gif",), ["!a.gif"]) == ("*.gif", "!a.gif")
    assert exclusions("opensearch:products", ("*.gif",), []) == ()


def test_files_of_other_kinds_are_counted_by_their_suffix(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    touch(*(root / name for name in ("a.jpg", "b.nef", "c.NEF", "d.dng", "e.psd", "f.svg", "v.mp4", "README")))
    assert listed(root) == ["a.jpg"]
    noted = remarked(root).skipped["other_kind"]
    assert noted.kinds == {".nef": 2, ".dng": 1, ".psd": 1, ".svg": 1, ".mp4": 1, "no suffix": 1}
    assert remarked(tmp_path / "photos.tar").skipped["other_kind"].kinds == noted.kinds


def test_a_file_whose_name_says_nothing_is_a_picture_if_it_begins_like_one(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    good = ["noname", "trailing.jpg ", "dot.jpg.", "a.jpg_large", "2021.05.01", "b.jpg~", "At the sea. In May"]
    for name in good:
        (root / name).write_bytes(JPEG)
    (root / "raw.nef").write_bytes(b"II*\0" + bytes(60))  # a TIFF by its signature: the name says more
    (root / "page").write_bytes(b"%PDF-1.7")
    (root / "empty").write_bytes(b"")
    assert listed(root) == sorted(good)
    assert skipped(root) == {"other_kind": 3}


def test_links_and_what_is_no_file_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.jpg")
    (tmp_path / "again").symlink_to("sub")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert skipped(tmp_path) == {"link": 2, "special_file": 1}


def test_what_lies_before_a_cursor_is_not_told_again(tmp_path: Path) -> None:
    touch(
        *(
            tmp_path / name
            for name in ("a/1.jpg", "a/x.nef", "b.jpg", "b.txt", "c.jpg", "c.md", "d/.e", "d/f.jpg", "z.md")
        )
    )
    (tmp_path / "b.txt").write_bytes(b"\xff")
    whole = Remarks()
    everything = list(open_source(tmp_path).items(None, whole))
    expected = whole.take()
    assert {code: noted.count for code, noted in expected.skipped.items()} == {"other_kind": 3, "hidden": 1}
    for number, item in enumerate(everything):
        first, second = Remarks(), Remarks()
        listing = open_source(tmp_path).items(None, first)
        for _ in range(number + 1):
            next(listing)
        assert list(open_source(tmp_path).items(item.cursor, second)) == everything[number + 1 :]
        assert first.take().plus(second.take()) == expected


def test_counts_are_of_bounded_size() -> None:
    remarks = Remarks()
    for number in range(1_000):
        remarks.skip("other_kind", f"file:///{number}", f".s{number}")
    found = Remarked().plus(remarks.take()).skipped["other_kind"]
    assert (found.count, len(found.kinds), len(found.examples)) == (1_000, MAX_KINDS + 1, MAX_EXAMPLES)
    assert found.kinds[OTHER_KINDS] == 1_000 - MAX_KINDS
    again = found.plus(Noted(3, {".new": 2, ".s1": 1}, ("file:///x",)))
    assert (again.count, again.kinds[OTHER_KINDS], again.kinds[".s1"]) == (1_003, 1_000 - MAX_KINDS + 2, 2)
    assert sum(again.kinds.values()) == again.count


def test_a_listing_without_anybody_to_tell_lists_the_same(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.nef")
    assert all(isinstance(item, SourceItem) for item in open_source(tmp_path).items())
    assert failures(tmp_path) == []
