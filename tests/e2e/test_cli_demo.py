"""The demo's run: picture files that are drawn once, a table of rounds, Recall@10, and a page that shows it."""

import base64
import io
import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from dar_search.cli.running.serving import serve_folder
from dar_search.data import Dialogue
from dar_search.demo.picture_files import draw_gallery
from dar_search.demo.replay import held_out
from dar_search.errors import SourceError
from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder

SMALL = ("demo", "--size", "100", "--dialogues", "3", "--data", "gallery")


@pytest.mark.usefixtures("light_models")
def test_the_demo_replays_a_dialogue_measures_recall_and_keeps_its_pictures(dar: Dar) -> None:
    first = dar(*SMALL, "--json")
    assert first.status == 0
    report = first.json
    assert [row["round"] for row in report["rounds"]] == list(range(11))
    for row in report["rounds"]:
        for way in ("text_only", "dar"):
            assert 1 <= row[way]["rank"] <= 100
            assert row[way]["in_top_10"] == (row[way]["rank"] <= 10)
    recall = report["recall_at_10"]
    assert recall["dialogues"] == 3
    assert [row["round"] for row in recall["rounds"]] == [0, 2, 4, 6, 8, 10]
    assert all(row["gain"][0] == pytest.approx(row["dar"] - row["text_only"]) for row in recall["rounds"])
    assert report["gallery"] == {"folder": str(Path("gallery/pictures").absolute()), "size": 100, "drawn": 100}
    with Image.open(report["target"]) as target:
        assert target.format == "JPEG"

    again = dar(*SMALL)
    assert again.status == 0
    assert "Recall@10 over 3 held-out dialogues" in again.out
    assert "0 drawn now" in again.out
    assert report["rounds"][0]["said"] in again.out

    page = Path(report["report"]).read_text()
    pictures = set(page.split("src='")[1:])
    shown = {part.partition("'")[0] for part in pictures}
    assert shown
    assert all(name.startswith("data:") or (Path("gallery") / name).is_file() for name in shown)
    assert "http" not in "".join(shown)


@pytest.mark.usefixtures("light_models")
def test_the_page_shows_what_is_imagined_and_names_sketches_that_nothing_was_searched_with(dar: Dar) -> None:
    def strips(*arguments: str) -> dict[str, list[str]]:
        """Label -> the pictures of each round's strip."""
        page = Path(dar(*SMALL, "--json", *arguments).json["report"]).read_text()
        found: dict[str, list[str]] = {}
        for label, shown in re.findall(r"<div class='strip drawn'><p>([\w ,]+)</p>(.*?)</div>", page):
            found.setdefault(label, []).append(shown)
        return found

    sketched = strips()
    assert list(sketched) == ["drawn from the same words, not searched with"]
    (rounds,) = sketched.values()
    assert [shown.count("<img") for shown in rounds] == [2] * 11
    encoded = re.findall(r"base64,([^']+)'", rounds[10])
    with Image.open(io.BytesIO(base64.b64decode(encoded[0]))) as first:
        assert first.size == (64, 64)
    imagined = strips("--imaginer", "demo-pictures")
    assert list(imagined) == ["imagined"]
    assert [shown.count("<img") for shown in imagined["imagined"]] == [1] * 11
    assert strips("--imaginer", "none") == {}


@pytest.mark.usefixtures("light_models")
def test_a_replayed_rank_is_the_rank_that_the_scores_give(dar: Dar) -> None:
    """Ranks of the report against an independent computation over all records."""
    from dar_search.stores.sqlite.store import SQLiteStore

    report = dar(*SMALL, "--json").json
    store = SQLiteStore(Path("gallery/demo.sqlite"))
    index = store.open("dar-demo")
    records = index.get(list(index.ids()))
    store.close()
    (target,) = [id for id, record in records.items() if record.source.endswith(Path(report["target"]).name)]
    encoder = FakeEncoder(dimension=24)
    for row in report["rounds"]:
        text = encoder.encode_texts([row["reformulation"]])[0]
        scores = {id: float(text @ record.embedding) for id, record in records.items()}
        better = sum(score > scores[target] + 1e-6 for score in scores.values())
        no_worse = sum(score >= scores[target] - 1e-6 for score in scores.values())
        assert better + 1 <= row["text_only"]["rank"] <= no_worse


@pytest.mark.usefixtures("light_models")
def test_the_demo_leaves_ones_own_store_alone(dar: Dar, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_STORE", f"sqlite:{home / 'mine.sqlite'}")
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")
    report = dar(*SMALL, "--json").json
    assert report["store"] == f"sqlite:{home / 'gallery/demo.sqlite'}"
    assert not (home / "mine.sqlite").exists()


@pytest.mark.parametrize(
    "arguments", [("--dialogues", "3", "--number", "4"), ("--size", "100", "--dialogues", "200"), ("--size", "5")]
)
def test_a_demo_that_cannot_be_is_refused(dar: Dar, arguments: tuple[str, ...]) -> None:
    outcome = dar("demo", "--json", *arguments)
    assert outcome.status == 2
    assert outcome.json["error"]["message"]


def test_a_gallery_is_drawn_once_and_a_killed_drawing_goes_on(tmp_path: Path) -> None:
    first = draw_gallery(tmp_path, 40)
    contents = {path.name: path.read_bytes() for path in first.pictures.iterdir()}
    assert (first.drawn, len(contents)) == (40, 40)
    (first.pictures / "00007.jpg").unlink()
    (first.pictures / "00008.jpg").unlink()
    steps: list[int] = []
    again = draw_gallery(tmp_path, 40, progress=steps.append)
    assert (again.drawn, steps[-1]) == (2, 40)
    assert {path.name: path.read_bytes() for path in again.pictures.iterdir()} == contents
    rows = [json.loads(line) for line in again.manifest.read_text().splitlines()]
    assert [row["path"] for row in rows] == [f"pictures/{number:05d}.jpg" for number in range(40)]


def test_a_gallery_that_other_code_drew_is_drawn_again(tmp_path: Path) -> None:
    draw_gallery(tmp_path, 4)
    (tmp_path / "drawn-by.txt").write_text("an earlier version")
    assert draw_gallery(tmp_path, 4).drawn == 4


def test_a_folder_with_other_pictures_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "pictures" / "00001.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(SourceError, match="did not draw"):
        draw_gallery(tmp_path, 4)
    assert mine.read_bytes() == b"mine"


def test_held_out_dialogues_are_about_pictures_of_the_gallery(tmp_path: Path) -> None:
    files = draw_gallery(tmp_path, 12)
    subjects = list(held_out(files, 5))
    assert len({subject.target for subject in subjects}) == 5
    assert all((tmp_path / subject.picture).is_file() for subject in subjects)
    assert all(isinstance(subject.dialogue, Dialogue) and subject.dialogue.round == 10 for subject in subjects)


def test_the_page_is_served_on_loopback_and_nothing_else_in_the_folder_is(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "pictures/00001.jpg").write_bytes(b"a picture")
    (tmp_path / "demo.sqlite").write_text("private")
    addresses: list[str] = []
    ready = threading.Event()

    def on_ready(address: str) -> None:
        addresses.append(address)
        ready.set()

    threading.Thread(target=serve_folder, args=(tmp_path, 0, on_ready), daemon=True).start()
    assert ready.wait(30)
    address = addresses[0]

    def status(path: str, **headers: str) -> int:
        request = urllib.request.Request(address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert address.startswith("http://127.0.0.1:")
    assert [status(path) for path in ("", "index.html", "pictures/00001.jpg")] == [200, 200, 200]
    private = ("demo.sqlite", "pictures/", "pictures/../demo.sqlite", "pictures/%2e%2e/demo.sqlite", "../etc/passwd")
    assert {status(path) for path in private} == {404}
    assert status("", Host="evil.example") == 421
