"""Captions and metadata: beside a picture, in its row, and as part of a record's digest."""

import json
import os
from pathlib import Path

import pytest

from dar_search.errors import PictureError
from dar_search.ingestion.jobs.data import Remarked
from dar_search.ingestion.sources.annotations import annotation_digest, parse_caption, parse_metadata
from tests.listings import items, remarked, touch, warnings


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
    ("sidecar", "content", "code", "field"),
    [
        ("a.txt", b"caf\xe9", "bad_caption", "caption"),
        ("a.txt", b"a\0b", "bad_caption", "caption"),
        ("a.txt", b"x" * (1 << 20) + b"y", "too_large", "caption"),
        ("a.txt", "\ufeffa".encode("utf-16-be") + b"\xd8", "bad_caption", "caption"),
        ("a.json", b"{not json", "bad_metadata", ""),
        ("a.json", b"[1]", "bad_metadata", ""),
        ("a.json", b'[{"x": 1}, {"x": 2}]', "bad_metadata", ""),
        ("a.json", b"[" * 100_000, "bad_metadata", ""),
        ("a.json", b'{"x": ' + b"9" * 5_000 + b"}", "bad_metadata", ""),
        ("a.json", b"null", "bad_metadata", ""),
        ("a.json", b"{" + b" " * (1 << 20) + b"}", "too_large", ""),
        ("a.json", b'{"x": "caf\xe9"}', "bad_metadata", ""),
        ("a.json", b'{"caption": 5}', "bad_caption", "caption"),
        ("a.json", b'{"caption": ["a", "b"]}', "bad_caption", "caption"),
        ("a.json", b'{"caption": "\\ud800"}', "bad_caption", "caption"),
        ("a.json", b'{"deep": {"er": 1}}', "bad_metadata", "deep"),
        ("a.json", b'{"mixed": [1, "a"]}', "bad_metadata", "mixed"),
        ("a.json", b'{"holes": [1, null]}', "bad_metadata", "holes"),
        ("a.json", b'{"two words": 1}', "bad_metadata", "two words"),
        ("a.json", b'{"$v": 1}', "bad_metadata", "$v"),
        ("a.json", b'{"a.b": 1}', "bad_metadata", "a.b"),
        ("a.json", b'{"": 1}', "bad_metadata", ""),
        ("a.json", b'{"not": 1}', "bad_metadata", "not"),
        ("a.json", b'{"n": NaN}', "bad_metadata", "n"),
        ("a.json", b'{"n": [1, -Infinity]}', "bad_metadata", "n"),
        ("a.json", b'{"half": "\\ud800"}', "bad_metadata", "half"),
    ],
)
def test_a_bad_sidecar_is_a_warning_and_its_picture_goes_in(
    tmp_path: Path, sidecar: str, content: bytes, code: str, field: str
) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / sidecar).write_bytes(content)
    assert [(item.caption, item.metadata) for item in items(tmp_path)] == [("", {}), ("", {})]
    assert warnings(tmp_path) == [(code, field)]
    (noted,) = remarked(tmp_path).warnings.values()
    assert noted.count == 1
    assert noted.examples[0].startswith(f"{(tmp_path / sidecar).as_uri()}: ")
    assert noted.examples[0].isprintable()
    assert noted.examples[0].encode()


def test_what_can_be_used_of_a_sidecar_is_used(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg", tmp_path / "d.jpg")
    (tmp_path / "a.json").write_text('{"caption": "a cat", "similarity": NaN, "face_bboxes": [[0.1]], "width": 3}')
    (tmp_path / "b.json").write_bytes('[{"SourceFile": "x.jpg", "Make": "Canon"}]'.encode("utf-16"))  # exiftool -j
    (tmp_path / "b.txt").write_bytes("\ufeffein M\u00e4dchen\r\n".encode("utf-16-le"))
    (tmp_path / "c.json").write_text(json.dumps({f"f{number:03}": 1 for number in range(203)}))
    (tmp_path / "d.txt").write_text("word " * 2_001)
    found = items(tmp_path)
    assert [(item.caption, item.metadata) for item in found[:2]] == [
        ("a cat", {"width": 3.0}),
        ("ein M\u00e4dchen", {"SourceFile": "x.jpg", "Make": "Canon"}),
    ]
    assert sorted(found[2].metadata) == [f"f{number:03}" for number in range(200)]
    assert found[3].caption == ("word " * 2_001)[:10_000].strip()
    assert warnings(tmp_path) == [
        ("bad_caption", "caption"),
        *(("bad_metadata", field) for field in ("f200", "f201", "f202", "face_bboxes", "similarity")),
    ]


def test_an_empty_sidecar_says_nothing_and_is_no_trouble(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    for name in ("a.txt", "a.json"):
        (tmp_path / name).write_bytes(b"")
    assert [(item.caption, item.metadata) for item in items(tmp_path)] == [("", {})]
    assert remarked(tmp_path) == Remarked()


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
