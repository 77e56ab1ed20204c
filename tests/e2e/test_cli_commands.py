"""What each command answers, in its exit status, on standard output and on standard error."""

import dataclasses
import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from dar_search.stores.sqlite.store import SQLiteStore
from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder

pytestmark = pytest.mark.usefixtures("light_models")
INGEST_KEYS = ["indexed", "unchanged", "failed", "moved", "removed", "failures", "skipped", "warnings"]


def test_ingest_makes_the_index_says_so_and_counts(dar: Dar, photos: Path) -> None:
    first = dar("ingest", "photos", "--index", "photos")
    assert first.status == 0
    assert "6 indexed. The index photos holds 6 pictures." in first.out
    assert 'Made the index "photos"' in first.err
    assert "fake, 24 dimensions" in first.err
    again = dar("ingest", "photos", "--index", "photos", "--json")
    assert again.json == dict.fromkeys(INGEST_KEYS, 0) | {"unchanged": 6, "failures": [], "skipped": {}, "warnings": {}}
    assert "Made the index" not in again.err


def test_ingest_lists_failures_and_exits_3(dar: Dar, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    outcome = dar("ingest", "photos", "--index", "photos", "--json")
    assert outcome.status == 3
    assert list(outcome.json) == INGEST_KEYS
    assert (outcome.json["indexed"], outcome.json["failed"]) == (6, 1)
    (failure,) = outcome.json["failures"]
    assert set(failure) == {"source", "code", "message"}
    assert failure["source"].endswith("broken.jpg")
    for_people = dar("ingest", "photos", "--index", "photos")
    assert for_people.status == 3
    assert f"failed: photos/broken.jpg: {failure['message']} ({failure['code']})" in for_people.err


def test_ingest_says_what_it_left_out_and_so_does_the_job(dar: Dar, photos: Path) -> None:
    name = min(path.name for path in photos.glob("*.*"))
    (photos / f"{name}.json").write_text('{"caption": "a cat", "face_bboxes": [[1]]}')
    for left in ("raw.nef", "notes.txt", "@eaDir/thumb.jpg", "old/gone.jpg"):
        (photos / left).parent.mkdir(exist_ok=True)
        (photos / left).write_bytes(b"x")
    command = ("ingest", "photos", "--index", "photos", "--exclude", "old/")
    told = dar(*command)
    assert told.status == 0
    for line in (
        "skipped: files of kinds that are not read as pictures: 1 (.nef), such as photos/raw.nef (other_kind)",
        "skipped: folders that systems and programs make (--include-hidden takes them): 1 (@eaDir)",
        "skipped: excluded names: 1, such as photos/old (excluded)",
        "skipped: captions and metadata without a picture of their name: 1 (.txt), such as photos/notes.txt",
        f'1 (face_bboxes), such as photos/{name}.json: "face_bboxes" holds a list. (bad_metadata)',
    ):
        assert line in told.err
    counted = dar(*command, "--json").json
    assert {code: one["count"] for code, one in counted["skipped"].items()} == {
        "other_kind": 1, "system_folder": 1, "excluded": 1, "unmatched_sidecar": 1,
    }  # fmt: skip
    assert counted["warnings"]["bad_metadata"]["kinds"] == {"face_bboxes": 1}
    job = dar("jobs", "show", "last", "--json").json
    assert (job["skipped"], job["warnings"]) == (counted["skipped"], counted["warnings"])
    assert "skipped: files of kinds that are not read as pictures: 1 (.nef)" in dar("jobs", "show", "last").out
    assert dar("ingest", "photos", "--index", "photos", "--exclude", "!", "--json").status == 2


def test_ingest_leaves_out_what_the_settings_say(dar: Dar, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "old").mkdir()
    (photos / "old" / "gone.jpg").write_bytes(b"x")
    monkeypatch.setenv("DAR_INGEST__EXCLUDE", '["old/"]')
    assert dar("ingest", "photos", "--index", "photos", "--json").json["skipped"]["excluded"]["count"] == 1


def test_ingest_encodes_and_decodes_as_the_settings_say(
    dar: Dar, photos: Path, light_models: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, batches, started = light_models.encode_prepared, [], []
    monkeypatch.setattr(light_models, "encode_prepared", lambda pixels: batches.append(len(pixels)) or encode(pixels))
    start = subprocess.Popen.__init__
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *of, **more: started.append(of[1]) or start(*of, **more))
    monkeypatch.setenv("DAR_INGEST__BATCH_SIZE", "4")
    monkeypatch.setenv("DAR_INGEST__DECODERS", "1")
    assert dar("ingest", "photos", "--index", "photos").status == 0
    assert batches == [4, 2]
    assert len(started) == 1


def test_ingest_decodes_within_the_limits_of_the_settings_and_names_the_one_that_was_met(
    dar: Dar, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (200, 100)).save(photos / "large.png")
    monkeypatch.setenv("DAR_INGEST__DECODE__MAX_MEGAPIXELS", "0.015")
    (failure,) = dar("ingest", "photos", "--index", "photos", "--json").json["failures"]
    assert failure["code"] == "too_many_pixels"
    assert "ingest.decode.max_megapixels" in failure["message"]
    monkeypatch.setenv("DAR_INGEST__DECODE__MAX_MEGAPIXELS", "0.02")
    assert dar("ingest", "photos", "--index", "photos", "--json").json["indexed"] == 1


def test_prune_removes_what_is_gone(dar: Dar, photos: Path) -> None:
    dar("ingest", "photos", "--index", "photos")
    (photos / "0.png").unlink()
    assert dar("ingest", "photos", "--index", "photos", "--prune", "--json").json["removed"] == 1


def test_a_bad_jsonl_line_is_a_failure_that_names_it(dar: Dar, photos: Path) -> None:
    with Path("photos.jsonl").open("a") as file:
        file.write("\n{this is no JSON}\n")
    outcome = dar("ingest", "photos.jsonl", "--index", "photos", "--json")
    assert outcome.status == 3
    (failure,) = outcome.json["failures"]
    assert failure["code"] == "bad_line"
    assert "Line 7" in failure["message"]


def test_search_answers_one_object(dar: Dar, indexed: Path) -> None:
    outcome = dar("search", "--index", "photos", "--caption", "number 3", "--json")
    assert outcome.status == 0
    assert list(outcome.json) == ["hits", "legs"]
    assert set(outcome.json["legs"]) == {"reformulation", "imagination", "knn", "keyword"}
    assert {leg["status"] for leg in outcome.json["legs"].values()} == {"ok"}
    hits = outcome.json["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert all({"id", "rank", "score", "source", "caption", "metadata"} <= set(hit) for hit in hits)


def test_search_for_people_is_a_table_with_the_text_that_was_searched(dar: Dar, indexed: Path) -> None:
    outcome = dar("search", "--index", "photos", "--caption", "number 3", "--explain")
    assert "photos/3.png" in outcome.out
    assert "picture number 3" in outcome.out
    assert "where the scores come from" in outcome.out
    assert "searched for: number 3" in outcome.err


def test_pages_follow_each_other(dar: Dar, indexed: Path) -> None:
    ask = ("search", "--index", "photos", "--caption", "picture", "--json", "--size", "2")
    pages = [dar(*ask, "--offset", str(offset)).json["hits"] for offset in (0, 2, 4)]
    assert [hit["rank"] for page in pages for hit in page] == [1, 2, 3, 4, 5, 6]
    assert len({hit["id"] for page in pages for hit in page}) == 6


@pytest.mark.parametrize(
    "how", [(), ("--fusion", "rrf"), ("--keyword-weight", "0"), ("--keyword-weight", "0.9")], ids=str
)
def test_pages_of_one_depth_are_parts_of_one_order_explained_or_not(
    dar: Dar, indexed: Path, how: tuple[str, ...]
) -> None:
    ask = ("search", "--index", "photos", "--caption", "picture", "--json", "--depth", "6", *how)
    one_by_one = [dar(*ask, "--size", "1", "--offset", str(offset)).json["hits"] for offset in range(6)]
    hits = [hit for page in one_by_one for hit in page]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert len({hit["id"] for hit in hits}) == 6
    for more in ((), ("--explain",)):
        whole = dar(*ask, "--size", "6", *more).json["hits"]
        assert [hit["id"] for hit in whole] == [hit["id"] for hit in hits]


def test_filters_hold(dar: Dar, indexed: Path) -> None:
    ask = ("search", "--index", "photos", "--caption", "picture", "--json")
    cities = dar(*ask, "--filter", "city=Paris").json["hits"]
    assert {hit["metadata"]["city"] for hit in cities} == {"Paris"}
    both = dar(*ask, "--filter", "city=Paris", "--filter", "year>=2003").json["hits"]
    assert sorted(hit["metadata"]["year"] for hit in both) == [2003, 2005]


@pytest.mark.parametrize(
    ("content", "from_file"),
    [
        ("picture\nwhich number? three\n", False),
        ('["picture", "which number? three"]', True),
        ('{"caption": "picture", "turns": [{"question": "which number?", "answer": "three"}]}', False),
    ],
)
def test_a_dialogue_comes_from_options_a_file_or_standard_input(
    dar: Dar, indexed: Path, content: str, from_file: bool
) -> None:
    base = ("search", "--index", "photos", "--json")
    expected = dar(*base, "--caption", "picture", "--turn", "which number? three").json["hits"]
    Path("talk.txt").write_text(content)
    given = dar(*base, "--dialogue", "talk.txt" if from_file else "-", typed="" if from_file else content)
    assert [hit["id"] for hit in given.json["hits"]] == [hit["id"] for hit in expected]


def test_text_only_and_imagine_zero_imagine_nothing(dar: Dar, indexed: Path) -> None:
    for option in (("--text-only",), ("--imagine", "0")):
        legs = dar("search", "--index", "photos", "--caption", "a", "--json", *option).json["legs"]
        assert legs["imagination"]["status"] == "off"


def test_an_explanation_adds_up_to_the_score(dar: Dar, indexed: Path) -> None:
    ask = ("search", "--index", "photos", "--caption", "number 3", "--json", "--explain", "--imagine", "3")
    for hit in dar(*ask).json["hits"]:
        parts = hit["explanation"]
        total = parts["text"] + sum(parts["images"].values()) + parts["keyword"] + parts["offset"]
        assert len(parts["images"]) == 3
        assert total == pytest.approx(hit["score"], abs=1e-6)


def test_rewrite_shows_all_and_searches_nothing(dar: Dar) -> None:
    arguments = ("rewrite", "--caption", "a dog", "--turn", "what colour is it? brown", "--imagine", "2")
    shown = dar(*arguments, "--json").json
    assert shown["round"] == 1
    assert "brown" in shown["reformulation"]["text"]
    assert len(shown["imaginations"]) == 2
    assert shown["weights"] == {"text": 0.8, "image": 0.2}
    assert len(shown["request"]["vector"]) == 24
    assert shown["request"]["text"] == shown["reformulation"]["text"]
    for_people = dar(*arguments)
    assert "24 numbers" in for_people.out
    assert "brown" in for_people.out


def test_rewrite_for_opensearch_shows_the_body_it_would_send(dar: Dar) -> None:
    shown = dar(
        *("rewrite", "--caption", "a dog", "--store", "http://127.0.0.1:1", "--index", "photos", "--json"),
        *("--filter", "city=Paris", "--keyword-weight", "0.25"),
    ).json["request"]
    assert (shown["method"], shown["path"]) == ("POST", "/photos/_msearch")
    knn, keyword = (search["query"] for search in shown["body"])
    assert len(knn["knn"]["vector"]["vector"]) == 24
    assert "metadata.city" in json.dumps(knn)
    assert "metadata.city" in json.dumps(keyword)
    assert (shown["fusion"]["knn"], shown["fusion"]["keyword"]) == (0.75, 0.25)


def test_index_lists_shows_and_drops(dar: Dar, indexed: Path) -> None:
    (listed,) = dar("index", "list", "--json").json["indices"]
    assert (listed["name"], listed["pictures"], listed["encoder"], listed["dimension"]) == ("photos", 6, "fake", 24)
    assert "photos" in dar("index", "list").out
    assert "preparation" in dar("index", "show", "photos").out
    refused = dar("index", "drop", "photos")
    assert refused.status == 2
    assert "--yes" in refused.err
    assert dar("index", "drop", "photos", "--yes", "--json").json == {"dropped": "photos", "pictures": 6}
    assert dar("index", "list", "--json").json["indices"] == []


def test_chat_refines_goes_back_and_explains(dar: Dar, indexed: Path) -> None:
    lines = [
        "number 3",
        "what else? 5",
        "/said",
        "/undo",
        "/explain 1",
        "/explain 99",
        "/nonsense",
        "/help",
        "/quit",
        "x",
    ]
    outcome = dar("chat", "--index", "photos", "--size", "3", typed="\n".join(lines))
    assert outcome.status == 0
    assert outcome.out.count("searched for:") == 4
    assert "1: what else? 5" in outcome.out
    assert "where the scores come from" in outcome.out
    assert "Give the rank of a picture that is shown: 1 to 3." in outcome.out
    assert "There is no command /nonsense" in outcome.out
    assert "/undo" in outcome.out
    assert "searched for: x" not in outcome.out


def test_chat_survives_a_line_that_is_no_turn(dar: Dar, indexed: Path) -> None:
    outcome = dar("chat", "--index", "photos", typed="number 3\n" + "a" * 9000 + "\nnumber 4\n")
    assert outcome.status == 0
    assert "characters; at most" in outcome.out
    assert "searched for: number 3, number 4" in outcome.out


def test_chat_opens_no_address_of_an_unknown_kind(dar: Dar, indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", lambda target: opened.append(target))
    with closing(SQLiteStore(Path("data/images.sqlite"))) as store:
        index = store.open("photos")
        (record,) = (one for one in index.get(list(index.ids())).values() if one.caption.endswith("number 3"))
        index.write([dataclasses.replace(record, source="smb://evil/share")])
    dar("chat", "--index", "photos", "--size", "6", typed="number 3\n" + "".join(f"/open {n}\n" for n in range(1, 7)))
    assert len(opened) == 5
    assert all(Path(target).exists() for target in opened)


@pytest.mark.parametrize("line", ["/more", "/undo", "/explain 1", "/open 1", "/said"])
def test_chat_commands_before_anything_was_said_are_answered(dar: Dar, indexed: Path, line: str) -> None:
    assert dar("chat", "--index", "photos", typed=f"{line}\n").status == 0


def test_the_keyword_leg_can_be_left_out(dar: Dar, indexed: Path) -> None:
    legs = dar("search", "--index", "photos", "--caption", "a", "--keyword-weight", "0", "--json").json["legs"]
    assert legs["keyword"]["status"] == "off"


def test_doctor_says_what_works_and_exits_by_it(dar: Dar, indexed: Path) -> None:
    outcome = dar("doctor", "--quick", "--json")
    report = outcome.json
    assert outcome.status == (0 if report["ok"] else 3)
    checks = {check["check"]: check for check in report["checks"]}
    assert checks["store"]["status"] == "ok"
    assert "photos" in checks["  indices"]["detail"]
    assert report["ok"] == all(check["status"] != "fail" for check in report["checks"])


def test_doctor_names_what_is_broken_and_the_fix(dar: Dar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_ENCODR", "demo")
    outcome = dar("doctor", "--quick", "--json", "--store", "http://127.0.0.1:9")
    assert outcome.status == 3
    checks = {check["check"]: check for check in outcome.json["checks"]}
    assert checks["store"]["status"] == "fail"
    assert checks["store"]["fix"]
    misspelt = [check for check in outcome.json["checks"] if "DAR_ENCODR" in check["detail"]]
    assert "DAR_ENCODER" in misspelt[0]["fix"]
    for_people = dar("doctor", "--quick", "--store", "http://127.0.0.1:9")
    assert "FAIL" in for_people.out


def test_a_new_picture_is_found_by_what_it_shows(dar: Dar, home: Path) -> None:
    folder = home / "two"
    folder.mkdir()
    Image.new("RGB", (8, 8), (8, 8, 8)).save(folder / "dark.png")
    Image.new("RGB", (8, 8), (200, 200, 200)).save(folder / "light.png")
    dar("ingest", "two", "--index", "two")
    hits = dar("search", "--index", "two", "--caption", "grey25", "--json", "--text-only").json["hits"]
    assert hits[0]["source"].endswith("light.png")


def test_a_picture_finds_itself_alone_and_beside_words(dar: Dar, indexed: Path, home: Path) -> None:
    """Upright, and through ingestion's own decoding: also where the file lies on its side."""
    picture = indexed / "3.png"
    alone = dar("search", "--index", "photos", "--image", picture, "--explain", "--json")
    assert alone.status == 0, alone.err
    first = alone.json["hits"][0]
    assert (Path(first["source"].removeprefix("file://")).name, alone.json["legs"]["keyword"]["status"]) == (
        "3.png",
        "off",
    )
    assert first["score"] == pytest.approx(1, abs=1e-3)
    both = dar("search", "--index", "photos", "--image", picture, "--caption", "picture number 3", "--json")
    assert Path(both.json["hits"][0]["source"]).name == "3.png"
    shown = dar("search", "--index", "photos", "--image", picture)
    assert "what looks like 1 picture" in shown.err
    broken = home / "broken.png"
    broken.write_bytes(picture.read_bytes()[:40])
    for wrong, said in (
        (broken, "broken.png"),
        (home / "none.png", "none.png"),
        (home / "photos.jsonl", "photos.jsonl"),
    ):
        refused = dar("search", "--index", "photos", "--image", wrong)
        assert refused.status == 2
        assert said in refused.err
