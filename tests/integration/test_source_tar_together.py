"""Tar shards whose files lie in any order: what belongs together, what is left out, links, and what they may cost."""

import gzip
import io
import itertools
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.ingestion.sources.tar import index
from dar_search.preparation import Preparation
from tests.integration.test_source_tar import good, listed, samples, tar
from tests.listings import items, remarked, skipped, warnings
from tests.pictures import jpeg, photograph

MODES = ["w", "w:gz", "w:bz2"]


@pytest.mark.parametrize("mode", MODES)
def test_captions_far_from_their_pictures_are_found(tmp_path: Path, mode: str) -> None:
    members = samples(0, 40)
    orders = {
        "pictures first": sorted(members, key=lambda member: member[0][::-1]),
        "captions first": sorted(members, key=lambda member: member[0][::-1], reverse=True),
        "backwards": members[::-1],
    }
    for order in orders.values():
        path = tar(tmp_path / "s.tar", order, mode)
        found = sorted(good(listed(path)), key=lambda item: item.key)
        assert [(item.caption, item.metadata) for item in found] == [
            (f"picture {n}", {"number": float(n)}) for n in range(40)
        ]
        assert remarked(path).skipped == {}
    outcomes = list(Decoders(Preparation(32, 32, "squash"), processes=1).decode(Job(item) for item in found))
    assert sum(isinstance(outcome, Decoded) for outcome in outcomes) == 40


def test_a_tar_made_by_the_readmes_command_gives_what_the_folder_gives(tmp_path: Path) -> None:
    """In the order of the disk's folder, whatever that is."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.v2.jpg").write_bytes(jpeg(photograph(number, 64, 48)))
        (folder / f"{number}.v2.txt").write_text(f"picture {number}")
    subprocess.run([shutil.which("tar") or "tar", "cf", tmp_path / "s.tar", "-C", folder, "."], check=True)
    assert sorted(item.caption for item in items(tmp_path / "s.tar")) == sorted(item.caption for item in items(folder))
    assert skipped(tmp_path / "s.tar") == {}


def test_what_webdataset_writes_is_read_as_before(tmp_path: Path) -> None:
    """Samples as its writer lays them out: a part after the other, named by what stands behind the first dot."""
    members = []
    for number in range(3):
        key = f"d/{number:06}"
        members += [(f"{key}.cls", b"1"), (f"{key}.jpg", b"x"), (f"{key}.json", b'{"w": 1}'), (f"{key}.seg.png", b"y")]
        members += [(f"{key}.txt", f"sample {number}".encode())]
    members += [("p/1.left.jpg", b"l"), ("p/1.right.jpg", b"r"), ("p/1.txt", b"a pair"), ("p/2.seg.png", b"alone")]
    path = tar(tmp_path / "s.tar", members)
    assert [(item.key.partition("#")[2], item.caption, item.metadata) for item in good(listed(path))] == [
        *((f"d/{number:06}.jpg", f"sample {number}", {"w": 1.0}) for number in range(3)),
        ("p/1.left.jpg", "a pair", {}),
        ("p/1.right.jpg", "a pair", {}),
        ("p/2.seg.png", "", {}),
    ]
    assert skipped(path) == {"sample_part": 3, "other_kind": 3}
    assert remarked(path).skipped["other_kind"].kinds == {".cls": 3}


@pytest.mark.parametrize("mode", MODES)
def test_of_two_members_with_one_name_the_later_counts(tmp_path: Path, mode: str) -> None:
    members = [("a.jpg", b"old"), ("a.txt", b"old"), ("b.jpg", b"b"), ("./a.txt", b"new"), ("a.jpg", b"newer")]
    path = tar(tmp_path / "s.tar", members, mode)
    found = good(listed(path))
    assert [(item.key.partition("#")[2], item.caption, item.length) for item in found] == [
        ("b.jpg", "", 1),
        ("a.jpg", "new", 5),
    ]
    assert skipped(path) == {"replaced_member": 2}


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("mode", MODES)
def test_links_are_followed_within_the_shard_and_never_out_of_it(tmp_path: Path, mode: str) -> None:
    members: list[tuple[str, bytes] | tarfile.TarInfo] = [
        link("d/before.jpg", "../a.jpg"),
        ("a.jpg", b"picture"),
        ("a.txt", b"a caption"),
        link("hard.jpg", "./a.jpg", tarfile.LNKTYPE),
        link("d/before.txt", "/a.txt"),
        link("chain.jpg", "hard.jpg"),
        link("chain.txt", "a.txt"),
        link("loop.jpg", "pool.jpg"),
        link("pool.jpg", "loop.jpg"),
        link("out.jpg", "../../../etc/passwd"),
        link("caption.jpg", "a.txt"),
        link("hard.txt", "a.jpg", tarfile.LNKTYPE),
        link("folder", "d"),
    ]
    path = tar(tmp_path / "s.tar", members, mode)
    found = listed(path)
    told = {}
    for item in found:
        if isinstance(item, SourceItem):
            told[item.key.partition("#")[2]] = (item.length, item.caption)
        else:
            assert item.failure.code == "bad_member"
            told[item.failure.source.partition("#")[2]] = (0, "failed")
    assert told == {
        "d/before.jpg": (7, ""),  # its caption's link leads to another name
        "a.jpg": (7, "a caption"),
        "hard.jpg": (7, ""),
        "chain.jpg": (7, "a caption"),
        **dict.fromkeys(("loop.jpg", "pool.jpg", "out.jpg", "caption.jpg"), (0, "failed")),
    }
    assert warnings(path) == [("bad_member", "caption")]
    assert remarked(path).warnings["bad_member"].count == 2
    assert skipped(path) == {"link": 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_link_leads_to_a_member_that_is_left_out_as_it_does_in_a_folder(tmp_path: Path, mode: str) -> None:
    members: list[tuple[str, bytes] | tarfile.TarInfo] = [
        link("a.jpg", ".store/1.jpg"),
        (".store/1.jpg", b"picture"),
        link("b.jpg", "old/2.jpg", tarfile.LNKTYPE),
        ("old/2.jpg", b"another one"),
        ("b.txt", b"a caption"),
    ]
    path = tar(tmp_path / "s.tar", members, mode)
    found = list(open_source(path, exclude=("old/",)).items())
    assert all(isinstance(item, SourceItem) for item in found), found
    told = [(item.length, item.caption) for item in found if isinstance(item, SourceItem)]
    assert told == [(7, ""), (11, "a caption")]
    assert skipped(path, exclude=("old/",)) == {"hidden": 1, "excluded": 1}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", MODES)
def test_long_names_find_their_captions(tmp_path: Path, form: int, mode: str) -> None:
    stem = "/".join(["folder" * 12] * 5) + "/p\N{LATIN SMALL LETTER A WITH DIAERESIS}.v1"
    with tarfile.open(tmp_path / "s.tar", mode, format=form) as archive:  # type: ignore[call-overload]
        for name, content in ((f"{stem}.txt", b"far"), ("x.jpg", b"x"), (f"{stem}.jpg", b"y")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert [item.caption for item in good(listed(tmp_path / "s.tar"))] == ["", "far"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_a_shard_holds_besides_is_told_once_wherever_the_listing_stopped(tmp_path: Path, mode: str) -> None:
    for shard in range(3):
        more = [("x.nef", b"x"), (f"{shard}.jpg", b"p"), (f"{shard}.json", b'{"$bad": 1}'), ("lost.txt", b"x")]
        tar(tmp_path / f"s-{shard}.tar", samples(0, 2 * (shard != 1)) + (more if shard != 1 else more[:1]), mode)
    pattern = str(tmp_path / "s-{0..2}.tar")
    expected = remarked(pattern)
    assert {code: noted.count for code, noted in expected.skipped.items()} == {"other_kind": 3, "unmatched_sidecar": 2}
    assert expected.warnings["bad_metadata"].count == 2
    everything = listed(pattern)
    for number, item in enumerate(everything):
        first, second = Remarks(), Remarks()
        assert len(list(itertools.islice(open_source(pattern).items(None, first), number + 1))) == number + 1
        assert list(open_source(pattern).items(item.cursor, second)) == everything[number + 1 :]
        assert first.take().plus(second.take()) == expected


def test_a_cursor_of_an_earlier_version_goes_on_behind_it(tmp_path: Path) -> None:
    """It was: the shard, where a sample's first file is, how many of the sample's pictures are done."""
    path = tar(tmp_path / "s.tar", [("a.txt", b"t"), ("a.jpg", b"1"), ("a.png", b"2"), ("b.jpg", b"3")])
    keys = [item.key for item in good(listed(path))]
    assert [item.key for item in good(listed(path, "0:0:0"))] == keys
    assert [item.key for item in good(listed(path, "0:0:1"))] == keys[1:]
    assert [item.key for item in good(listed(path, "0:0:2"))] == keys[2:]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize(("limit", "most"), [("MAX_MEMBERS", 12), ("MAX_NAMES_BYTES", 12 * len("d/0000.jpg") + 10)])
def test_a_shard_of_more_members_than_may_be_is_listed_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, limit: str, most: int
) -> None:
    path = tar(tmp_path / "s.tar", samples(0, 10), mode)
    monkeypatch.setattr(index, limit, most)
    found = listed(path)
    assert [item.caption for item in found if isinstance(item, SourceItem)] == [f"picture {n}" for n in range(4)]
    assert isinstance(found[-1], BadItem)
    assert (found[-1].failure.code, found[-1].id) == ("broken_shard", None)
    assert "Split it" in found[-1].failure.message
    assert list(open_source(path).count())[-1] == len(found) == 5


def test_captions_of_a_packed_shard_beyond_what_may_be_copied_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_COPIED_BYTES", 100)
    members = [(f"{n}.{kind}", b"x" * 40) for n in range(4) for kind in ("txt", "jpg")]
    path = tar(tmp_path / "s.tar", members, "w:gz")
    assert [bool(item.caption) for item in good(listed(path))] == [True, True, False, False]
    assert warnings(path) == [("too_large", "caption")]


def test_a_sidecar_with_holes_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(1 << 18)
        file.write(b"end")
    subprocess.run(["tar", "--sparse", "-cf", "s.tar", "a.jpg", "a.txt"], cwd=tmp_path, check=True)
    assert [item.caption for item in items(tmp_path / "s.tar")] == [""]
    assert warnings(tmp_path / "s.tar") == [("bad_member", "caption")]


@pytest.mark.parametrize("packed", [False, True])
def test_a_shard_that_breaks_off_gives_the_captions_that_it_still_has(tmp_path: Path, packed: bool) -> None:
    pictures, rest = samples(0, 6)[::3], [one for one in samples(0, 6) if not one[0].endswith(".jpg")]
    path = tar(tmp_path / "s.tar", [*pictures, *rest])
    whole = path.read_bytes()
    left = whole[: whole.index(b"d/0003.txt") + 700]
    path.write_bytes(gzip.compress(left) if packed else left)
    found = listed(path)
    assert [type(item) for item in found] == [SourceItem] * 6 + [BadItem]
    captions = [item.caption for item in found if isinstance(item, SourceItem)]
    assert captions[0] == "picture 0"
    assert captions[-1] == ""
    assert list(open_source(path).count())[-1] == 7


def test_metadata_that_others_wrote_is_used_as_far_as_it_can_be(tmp_path: Path) -> None:
    fields = {"caption": "two people", "key": "000", "face_bboxes": [[0.1, 0.2]], "exif": {"a": 1}, "status": "success"}
    text = json.dumps(fields)[:-1] + ', "similarity": NaN}'
    path = tar(tmp_path / "s.tar", [("000.jpg", b"x"), ("000.json", text.encode())])
    (item,) = good(listed(path))
    assert (item.caption, item.metadata) == ("two people", {"key": "000", "status": "success"})
    assert warnings(path) == [("bad_metadata", field) for field in ("exif", "face_bboxes", "similarity")]


@pytest.mark.parametrize("what", ["names", "captions"])
def test_a_temporary_folder_that_takes_no_more_ends_the_listing_with_a_reason(tmp_path: Path, what: str) -> None:
    """Really so: the process may write no file of more than 64 KiB."""
    if what == "names":
        path = tar(tmp_path / "s.tar", [(f"{'long' * 40}/{number}.jpg", b"x") for number in range(6_000)])
    else:
        path = tar(tmp_path / "s.tar", [(f"{number}.txt", b"x" * 5_000) for number in range(30)], "w:gz")
    program = (
        "import resource, sys; from dar_search.ingestion.sources.opening import open_source;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)); list(open_source(sys.argv[1]).items())"
    )
    ended = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "SourceError" in ended.stderr.splitlines()[-1]
    assert "Make room there" in ended.stderr.splitlines()[-1]
