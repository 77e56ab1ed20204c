"""What the commands say about wrong input, missing parts and hostile content."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder

pytestmark = pytest.mark.usefixtures("light_models")


def errors_in(dar: Dar, *arguments: str | Path) -> dict[str, str]:
    """The error of a command that must fail with 1 or 2, the same on both streams, one line, no traceback."""
    outcome = dar(*arguments, "--json")
    error = outcome.json["error"]
    assert set(error) == {"code", "message", "hint"}
    assert outcome.status in (1, 2)
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert error["message"] in line
    assert error["hint"] in line
    assert "Traceback" not in outcome.err
    return error | {"status": str(outcome.status)}


def test_a_wrong_index_name_suggests_near_ones(dar: Dar, indexed: Path) -> None:
    error = errors_in(dar, "search", "--index", "photo", "--caption", "a")
    assert (error["code"], error["status"]) == ("index_not_found", "2")
    assert "Did you mean photos?" in error["hint"]


def test_without_any_index_the_hint_says_how_to_make_one(dar: Dar) -> None:
    assert "dar ingest FOLDER --index photos" in errors_in(dar, "search", "--index", "photos", "--caption", "a")["hint"]


def test_an_index_of_another_encoder_is_refused(dar: Dar, indexed: Path, light_models: FakeEncoder) -> None:
    light_models.provenance = FakeEncoder(dimension=32, revision="2").provenance
    error = errors_in(dar, "search", "--index", "photos", "--caption", "a")
    assert error["code"] == "encoder_mismatch"
    assert errors_in(dar, "ingest", "photos", "--index", "photos")["code"] == "encoder_mismatch"


def test_a_wrong_dimension_is_refused(dar: Dar, indexed: Path, light_models: FakeEncoder) -> None:
    # The same name and weights, but vectors of another length: only a broken model does that.
    shorter = FakeEncoder(dimension=8)
    light_models.encode_texts = shorter.encode_texts  # type: ignore[method-assign]
    error = errors_in(dar, "search", "--index", "photos", "--caption", "a", "--text-only")
    assert (error["code"], error["status"]) == ("dimension_mismatch", "2")
    assert "8 dimensions" in error["message"]


@pytest.mark.parametrize("option", ["--encoder", "--imaginer", "--reformulator"])
def test_an_unknown_model_is_named_with_those_that_there_are(dar: Dar, indexed: Path, option: str) -> None:
    error = errors_in(dar, "search", "--index", "photos", "--caption", "a", option, "dmo")
    assert (error["code"], error["status"]) == ("unknown_model", "2")
    assert "demo" in error["hint"] or "rules" in error["hint"]


def test_weights_that_are_not_there_are_said_at_once(dar: Dar, photos: Path) -> None:
    error = errors_in(dar, "ingest", "photos", "--index", "photos", "--encoder", "transformers:./no-such-folder")
    assert (error["code"], error["status"]) == ("weights_missing", "1")


def test_a_store_from_a_newer_version_is_refused(dar: Dar, indexed: Path) -> None:
    with sqlite3.connect(Path("data/images.sqlite")) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    error = errors_in(dar, "search", "--index", "photos", "--caption", "a")
    assert (error["code"], error["status"]) == ("store_too_new", "1")
    assert error["hint"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("search", "--index", "photos"), "bad_dialogue"),
        (("search", "--index", "photos", "--caption", " "), "bad_dialogue"),
        (("search", "--index", "photos", "--dialogue", "nowhere.json"), "bad_dialogue"),
        (("search", "--index", "photos", "--caption", "a", "--dialogue", "x"), "bad_dialogue"),
        (("search", "--index", "photos", "--caption", "a", "--filter", "="), "bad_filter"),
        (("search", "--index", "photos", "--caption", "a", "--schedule", "x"), "bad_settings"),
        (("search", "--index", "photos", "--caption", "a", "--fusion", "x"), "bad_settings"),
        (("search", "--index", "photos", "--caption", "a", "--offset", "500"), "bad_request"),
        (("search", "--index", "photos", "--caption", "a", "--store", "ftp://x"), "bad_settings"),
        (("search", "--caption", "a"), "bad_usage"),
        (("search", "--index", "photos", "--captoin", "a"), "bad_usage"),
        (("search", "--index", "photos", "--size", "none"), "bad_usage"),
        (("ingest", "nowhere", "--index", "photos"), "bad_source"),
        (("ingest", "photos", "--index", "Photos!"), "bad_request"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_to_do(
    dar: Dar, indexed: Path, arguments: tuple[str, ...], code: str
) -> None:
    error = errors_in(dar, *arguments)
    assert (error["code"], error["status"]) == (code, "2")
    assert error["hint"]


def test_a_typo_in_an_option_is_answered_with_the_right_one(dar: Dar) -> None:
    assert "--caption" in errors_in(dar, "search", "--captoin", "a")["message"]


def test_a_cluster_that_is_not_there_is_said(dar: Dar) -> None:
    error = errors_in(dar, "search", "--index", "photos", "--caption", "a", "--store", "http://127.0.0.1:9")
    assert (error["code"], error["status"]) == ("store_unavailable", "1")


def test_a_password_in_an_address_is_never_printed(dar: Dar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_STORE", "http://me:hunter2@127.0.0.1:9")
    outcome = dar("search", "--index", "p", "--caption", "a", "-v", "--debug")
    assert outcome.status == 1
    assert "hunter2" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    "typed",
    [
        ("search", "--index", "p", "--caption", "a", "--store", "http://me:hunter2@127.0.0.1:9"),
        ("ingest", "photos", "--index", "p", "--store", "https://a:1,https://me:hunter2/2@127.0.0.1:9"),
        ("ingest", "opensearch:p", "--field", "f", "--index", "p", "--source-store", "http://me:hunter2@127.0.0.1:9"),
        ("ingest", "photos", "--index", "p", "--moved-from", "https://me:hunter2@127.0.0.1:9/list.jsonl"),
        ("ingest-serve", "--ledger", "http://hunter2@127.0.0.1:9"),
        ("ingest-work", "--broker", "redis://:hunter2@127.0.0.1:9/0"),
    ],
)
def test_a_password_that_is_typed_is_refused_because_others_can_read_it(
    dar: Dar, photos: Path, typed: tuple[str, ...]
) -> None:
    error = errors_in(dar, *typed)
    assert error["status"] == "2"
    assert "password" in error["message"]
    assert "profile:NAME" in error["hint"]
    assert "hunter2" not in str(error)


def test_a_password_in_a_rows_address_is_kept_nowhere(dar: Dar, photos: Path, home: Path) -> None:
    urls = [
        "http://me:hunter2@127.0.0.1:9/pic.jpg", "http://me:hun@ter2:hunter2@h/pic.jpg", "ftp://me:hunter2@h/pic.jpg",
        "http://me:hunter2/x@h/pic.jpg", "http://me:hunter2@h:port/pic.jpg", "http://me:hunter2@[h/pic.jpg",
        "https://hunter2@h/pic.jpg",
    ]  # fmt: skip
    rows = [{"path": "photos/1.png"}, *({"path": url} for url in urls)]
    Path("list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = dar("ingest", "list.jsonl", "--index", "p", "-vv", "--json")
    assert outcome.status == 3, outcome.err
    assert json.loads(outcome.out)["indexed"] == 1
    assert "hunter2" not in outcome.out + outcome.err
    kept = [path for path in home.rglob("*") if path.is_file() and path.name != "list.jsonl"]
    assert [path.name for path in kept if path.suffix == ".sqlite"], kept
    assert [path for path in kept if b"hunter2" in path.read_bytes()] == []


def test_captions_cannot_steer_the_terminal(dar: Dar, photos: Path) -> None:
    Path("evil.jsonl").write_text(
        json.dumps({"path": "photos/1.png", "caption": "a \u009b31m [bold]cat[/bold] \u202e"})
    )
    assert dar("ingest", "evil.jsonl", "--index", "evil").status == 0
    outcome = dar("search", "--index", "evil", "--caption", "cat")
    assert "[bold]cat[/bold]" in outcome.out
    assert "\u009b" not in outcome.out
    assert "\u202e" not in outcome.out


def test_a_broken_thumbnail_or_picture_does_not_break_show(dar: Dar, indexed: Path) -> None:
    assert dar("search", "--index", "photos", "--caption", "a", "--show").status == 0
