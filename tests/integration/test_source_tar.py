"""Tar shards as a source: samples by stem, hostile members, packed shards, damage, and going on in the middle."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.preparation import Preparation
from tests.listings import warnings
from tests.pictures import jpeg, photograph

PREPARATION = Preparation(32, 32, "squash")
Member = tuple[str, bytes]


def tar(path: Path, members: Iterable[Member | tarfile.TarInfo], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def samples(first: int, last: int) -> list[Member]:
    found: list[Member] = []
    for number in range(first, last):
        found.append((f"d/{number:04}.jpg", jpeg(photograph(number, 64, 48))))
        found.append((f"d/{number:04}.txt", f"picture {number}\n".encode()))
        found.append((f"d/{number:04}.json", json.dumps({"number": number, "caption": "unused"}).encode()))
    return found


def listed(target: object, after: str | None = None) -> list[SourceItem | BadItem]:
    return list(open_source(str(target)).items(after))


def good(found: list[SourceItem | BadItem]) -> list[SourceItem]:
    assert all(isinstance(item, SourceItem) for item in found), found
    return [item for item in found if isinstance(item, SourceItem)]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_samples_are_listed_with_captions_and_metadata_and_their_pictures_decoded(tmp_path: Path, mode: str) -> None:
    path = tar(tmp_path / "s.tar", samples(0, 20), mode)
    items = good(listed(path))
    assert [(item.caption, item.metadata) for item in items] == [
        (f"picture {n}", {"number": float(n)}) for n in range(20)
    ]
    assert items[3].key == f"{path.resolve().as_uri()}#d/0003.jpg"
    assert len({item.id for item in items}) == 20
    outcomes = list(Decoders(PREPARATION, processes=2).decode(Job(item) for item in items))
    assert sorted(outcome.job.item.caption for outcome in outcomes if isinstance(outcome, Decoded)) == sorted(
        item.caption for item in items
    )
    assert list(open_source(path).count())[-1] == 20


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_listing_goes_on_after_any_item_in_several_shards(tmp_path: Path, mode: str) -> None:
    for shard in range(3):
        two = [("d/pair.jpg", b"a"), ("d/pair.png", b"b")] if shard == 1 else []
        tar(tmp_path / f"s-{shard:03}.tar", samples(4 * shard, 4 * shard + 4) + two, mode)
    pattern = tmp_path / "s-{000..002}.tar"
    items = good(listed(pattern))
    assert len(items) == 14
    assert open_source(str(pattern)).origin.endswith("s-%7B000..002%7D.tar")
    for number, item in enumerate(items):
        assert listed(pattern, item.cursor) == items[number + 1 :]


def test_pictures_of_one_stem_are_items_and_those_of_two_suffixes_only_alone(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "a.png",
        "a.seg.png",
        "b.left.jpg",
        "b.right.jpg",
        ".c.jpg",
        "d/._e.jpg",
        "notes.md",
        "f.json",
        "g.JPG",
    ]
    path = tar(tmp_path / "s.tar", [(name, b"{}" if name.endswith("json") else b"x") for name in names])
    assert [item.key.partition("#")[2] for item in good(listed(path))] == [
        "a.jpg", "a.png", "b.left.jpg", "b.right.jpg", "g.JPG",
    ]  # fmt: skip


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_hostile_members_are_harmless(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "s.tar",
        [
            ("../../../outside.jpg", b"x"),
            ("/etc/absolute.jpg", b"x"),
            ("a\nb\x1b[31m.jpg", b"x"),
            ("\udcff\udcfe.jpg", b"x"),
            link("symbolic.jpg", tarfile.SYMTYPE),
            link("hard.jpg", tarfile.LNKTYPE),
            link("device.jpg", tarfile.CHRTYPE),
            link("pipe.jpg", tarfile.FIFOTYPE),
            ("long" * 2_000 + ".jpg", b"x"),
            ("empty.jpg", b""),
            ("bad.jpg", b"x"),
            ("bad.json", b"[1]"),
            ("latin.jpg", b"x"),
            ("latin.txt", b"caf\xe9"),
            ("big.jpg", b"x"),
            ("big.txt", b"x" * (2 << 20)),
            ("last.jpg", b"x"),
        ],
    )
    found = listed(path)
    assert [item.failure.code if isinstance(item, BadItem) else "" for item in found] == [
        "", "", "", "", "bad_member", "bad_member", "bad_member", "bad_member", "bad_member", "empty_file",
        "", "", "", "",
    ]  # fmt: skip
    assert warnings(path) == [("bad_caption", "caption"), ("bad_metadata", ""), ("too_large", "caption")]
    for item in found:
        text = item.failure.source + item.failure.message if isinstance(item, BadItem) else item.key
        assert text.isprintable()
        assert text.encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.tar"]
    assert not isinstance(found[0], BadItem)
    assert "#../../../outside.jpg" in found[0].key


def broken(path: Path) -> list[str]:
    """The codes that a damaged shard's listing ends with, the good shard behind it listed all the same."""
    behind = tar(path.parent / "z.tar", samples(0, 2))
    found = listed(path.parent / f"{{{path.name},{behind.name}}}")
    codes = [item.failure.code for item in found if isinstance(item, BadItem)]
    assert set(codes) <= FAILURE_CODES.keys()
    assert [item.caption for item in found if isinstance(item, SourceItem)][-2:] == ["picture 0", "picture 1"]
    assert all(item.id is None for item in found if isinstance(item, BadItem))
    return codes


@pytest.mark.parametrize("packed", [False, True])
def test_a_shard_that_ends_early_is_one_failure_and_the_next_goes_on(tmp_path: Path, packed: bool) -> None:
    whole = tar(tmp_path / "whole", samples(0, 6), "w:gz" if packed else "w").read_bytes()
    for part in (3, 10, 0.3, 0.6, 0.9):
        end = int(part * len(whole)) if isinstance(part, float) else part
        (tmp_path / "s.tar").write_bytes(whole[:end])
        assert broken(tmp_path / "s.tar") == ["broken_shard"], part
    (tmp_path / "s.tar").write_bytes(b"")
    assert broken(tmp_path / "s.tar") == ["broken_shard"]


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    whole = bytearray(tar(tmp_path / "s.tar", samples(0, 6)).read_bytes())
    place = whole.index(b"d/0003.jpg")
    whole[place + 148 : place + 156] = b"99999999"
    (tmp_path / "s.tar").write_bytes(whole)
    found = listed(tmp_path / "s.tar")
    assert len(found) == 4
    assert isinstance(found[-1], BadItem)
    assert found[-1].failure.code == "broken_shard"


def header(size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo("x")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_gigabytes_is_not_read(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(gzip.compress(header(8 << 30, kind) + bytes(8 << 20)))
    assert broken(tmp_path / "s.tar") == ["broken_shard"]


def test_a_chain_of_headers_without_an_end_is_damage(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes((header(4, tarfile.GNUTYPE_LONGNAME) + b"name".ljust(512, b"\0")) * 5_000)
    assert broken(tmp_path / "s.tar") == ["broken_shard"]


def test_a_packed_shard_that_unfolds_without_bounds_is_given_up(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "s.tar", "wb") as file:
        file.write(header(1 << 40, tarfile.REGTYPE))
        for _ in range(140):
            file.write(bytes(1 << 20))
    assert broken(tmp_path / "s.tar") == ["broken_shard"]


def test_shards_that_are_missing_or_packed_otherwise_are_failures(tmp_path: Path) -> None:
    assert broken(tmp_path / "missing.tar") == ["file_missing"]
    (tmp_path / "s.tar").write_bytes(b"\xfd7zXZ\0" + bytes(100))
    assert broken(tmp_path / "s.tar") == ["broken_shard"]
    with pytest.raises(SourceError, match=r"No such file|cannot be read"):
        open_source(str(tmp_path / "none-{000..002}.tar"))
    with pytest.raises(SourceError, match="shards"):
        open_source(str(tmp_path / "s-{000000000..999999999}.tar"))


def test_a_cursor_of_another_source_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "s.tar", samples(0, 1))
    with pytest.raises(SourceError, match="no place"):
        listed(path, "x")
