"""Which captions and metadata belong to which picture: the same in a folder and in a tar of it, in any order."""

import io
import os
import random
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.pairing import key_of_sidecar, keys_of, role_of
from dar_search.ingestion.sources.source import SourceItem
from tests.listings import items, skipped
from tests.pictures import jpeg, photograph

JPEG = jpeg(photograph(1, 64, 48))
Found = dict[str, tuple[str, dict[str, object]]]


def folder_of(root: Path, names: list[str]) -> Path:
    """Each text and JSON file says its own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {".json": f'{{"said_by": "{name}"}}', ".txt": name, ".caption": name}.get(path.suffix.lower().strip())
        path.write_bytes(JPEG if content is None else content.encode())
    return root


def tar_of(folder: Path, path: Path, names: list[str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in names:
            archive.add(folder / name, name)
    return path


def by_folder(folder: Path) -> Found:
    start = len(os.fsencode(folder.resolve())) + 1
    return {os.fsdecode(item.path[start:]): (item.caption, dict(item.metadata)) for item in items(folder)}


def by_tar(path: Path) -> Found:
    from urllib.parse import unquote

    return {unquote(item.key.partition("#")[2]): (item.caption, dict(item.metadata)) for item in items(path)}


CASES = [
    ("of its stem", ["a.jpg", "a.txt", "a.json"], {"a.jpg": ("a.txt", "a.json")}),
    ("with dots", ["2021.05.01.jpg", "2021.05.01.txt", "2021.05.jpg"], {"2021.05.01.jpg": ("2021.05.01.txt", "")}),
    ("of an edit", ["IMG.jpg", "IMG.edited.jpg", "IMG.txt"], {"IMG.jpg": ("IMG.txt", "")}),
    ("of an edit alone", ["IMG.jpg", "IMG.edited.jpg", "IMG.edited.txt"], {"IMG.edited.jpg": ("IMG.edited.txt", "")}),
    ("of the whole", ["a.jpg", "a.png", "a.jpg.txt", "a.txt"], {"a.jpg": ("a.jpg.txt", ""), "a.png": ("a.txt", "")}),
    ("shared", ["a.jpg", "a.png", "a.json"], {"a.jpg": ("", "a.json"), "a.png": ("", "a.json")}),
    ("of a sample", ["b.0.jpg", "b.1.jpg", "b.txt"], {"b.0.jpg": ("b.txt", ""), "b.1.jpg": ("b.txt", "")}),
    ("kohya", ["a.png", "a.caption"], {"a.png": ("a.caption", "")}),
    ("of two, the later name", ["a.png", "a.caption", "a.TXT", "a.txt"], {"a.png": ("a.txt", "")}),
    ("capital letters", ["A.JPG", "A.Txt", "a.json"], {"A.JPG": ("A.Txt", "")}),
    ("Takeout", ["I.jpg", "I.jpg.supplemental-metadata.json"], {"I.jpg": ("", "I.jpg.supplemental-metadata.json")}),
    ("Takeout, cut off", ["I.jpg", "I.jpg.supplemental-me.json"], {"I.jpg": ("", "I.jpg.supplemental-me.json")}),
    (
        "Takeout, numbered",
        ["I.jpg", "I(1).jpg", "I.jpg.json", "I.jpg(1).json"],
        {"I.jpg": ("", "I.jpg.json"), "I(1).jpg": ("", "I.jpg(1).json")},
    ),
    (
        "Takeout, numbered behind the long word",
        ["I(2).jpg", "I.jpg.supplemental-metadata(2).json"],
        {"I(2).jpg": ("", "I.jpg.supplemental-metadata(2).json")},
    ),
    ("of another folder", ["a/x.jpg", "b/x.txt", "x.json"], {}),
    ("of each folder", ["x.jpg", "b/x.jpg", "b/x.txt"], {"b/x.jpg": ("b/x.txt", "")}),
    ("without a suffix", ["photo", "photo.txt", "2021.05.01", "2021.05.01.txt"], {
        "photo": ("photo.txt", ""), "2021.05.01": ("2021.05.01.txt", ""),
    }),
    ("with a space behind", ["t.jpg ", "t.txt "], {"t.jpg ": ("t.txt", "")}),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize(("names", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_sidecar_is_found_by_its_name_in_a_folder_and_in_a_tar_of_it(
    tmp_path: Path, names: list[str], expected: dict[str, tuple[str, str]], mode: str
) -> None:
    folder = folder_of(tmp_path / "photos", names)
    found = by_folder(folder)
    told = {name: (caption, dict(metadata).get("said_by", "")) for name, (caption, metadata) in found.items()}
    assert {name: said for name, said in told.items() if said != ("", "")} == expected
    for order in (sorted(names), sorted(names, reverse=True)):
        assert by_tar(tar_of(folder, tmp_path / "s.tar", order, mode)) == found


NAMES = st.builds(
    lambda folder, stem, suffix: folder + stem + suffix,
    st.sampled_from(["", "", "d/", "d/e/"]),
    st.sampled_from(["a", "a.b", "a.b.c", "a.jpg", "1", "1.2", "b", "b(1)", "b.jpg(1)", "b.jpg.s"]),
    st.sampled_from([".jpg", ".PNG", ".txt", ".TXT", ".caption", ".json", ".jpg ", "", ".md", ".nef"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_a_folder_and_a_tar_of_it_in_any_order_give_the_same(names: list[str], chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = folder_of(Path(place) / "photos", names)
        shuffled = list(names)
        chance.shuffle(shuffled)
        shard = tar_of(folder, Path(place) / "s.tar", shuffled)
        assert by_tar(shard) == by_folder(folder)
        assert skipped(shard) == skipped(folder)


def test_names_say_what_a_file_is() -> None:
    roles = {
        "picture": ["a.JPG", "a.jpg ", "a.jpg.", "x.y.webp"],
        "caption": ["a.txt", "a.jpg.TXT", "a.caption"],
        "metadata": ["a.json"],
        "nameless": ["a", "2021.05.01", "a.jpg_large", "a.jpg~", "At the sea. In May", "a.jpg?w=10"],
        "other": ["a.nef", "a.mp4", "a.7z", "a.tar.gz"],
    }
    for role, names in roles.items():
        assert {name: role_of(name.encode()) for name in names} == dict.fromkeys(names, role)


def test_keys_are_the_whole_name_the_stem_and_what_stands_before_the_first_dot() -> None:
    assert keys_of(b"a.b.jpg") == (b"a.b.jpg", b"a.b", b"a")
    assert keys_of(b"2021.05.01") == (b"2021.05.01", b"2021.05.01", b"2021")
    # Takeout's long word stands behind a picture's name only.
    assert key_of_sidecar(b"a.s.json") == b"a.s"
    assert key_of_sidecar(b"a(1).json") == b"a(1)"
    assert key_of_sidecar(b"a.jpg.supplement(3).json") == b"a(3).jpg"
    assert key_of_sidecar(b"a.jpg.other.json") == b"a.jpg.other"


def test_a_description_in_a_sidecar_named_after_the_whole_picture_is_its_caption(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.jpg", "b.jpg"])
    for name in ("a.jpg.supplemental-metadata.json", "b.json"):
        (tmp_path / name).write_text('{"title": "x.jpg", "description": "at the sea"}')
    assert [(item.caption, item.metadata) for item in items(tmp_path)] == [
        ("at the sea", {"title": "x.jpg"}),
        ("", {"title": "x.jpg", "description": "at the sea"}),
    ]


def test_sidecars_without_a_picture_and_those_that_another_outranks_are_counted(tmp_path: Path) -> None:
    names = ["a.jpg", "a.txt", "a.jpg.txt", "lost.txt", "info.json", "n/only.json", "a.caption"]
    folder = folder_of(tmp_path / "photos", names)
    shard = tar_of(folder, tmp_path / "s.tar", names)
    assert skipped(folder) == skipped(shard) == {"unmatched_sidecar": 5}


def test_a_folder_named_as_a_sidecar_is_none(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.jpg", "a.txt/b.jpg"])
    assert [(item.caption, type(item)) for item in open_source(tmp_path).items()] == [("", SourceItem)] * 2  # type: ignore[union-attr]
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    assert skipped(tmp_path / "s.tar") == {"other_kind": 1}
