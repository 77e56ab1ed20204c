"""Captions and metadata: beside a picture, in its row, and as part of a record's digest."""

import os
from pathlib import Path

import pytest

from dar_search.errors import PictureError
from dar_search.ingestion.sources.annotations import annotation_digest, parse_caption, parse_metadata
from dar_search.ingestion.sources.source import SourceItem, open_source
from tests.listings import failures, items, touch


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
    assert [type(value) for value in (metadata["a"], metadata["b"])] == [bool, int]
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
