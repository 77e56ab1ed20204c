"""The search log: whole lines from threads and processes, rotation that loses nothing, and measures from it by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dar_search.answering.search_log import LoggedSearch, SearchLog, log_files, read_rows
from dar_search.data import Dialogue, Leg, Turn
from dar_search.errors import RequestError, SourceError
from dar_search.evaluation import online
from dar_search.evaluation.online import evaluate_log

DIALOGUE = Dialogue("a dog", (Turn("what color?", "brown"), Turn("where?", "on a beach")))
LEGS = {"knn": Leg("ok", 6.25), "imagination": Leg("late", 300.0, "not there in time"), "keyword": Leg("off")}


def logged(id: str, round: int = 0, hits: int = 10, **changes: Any) -> LoggedSearch:
    values: dict[str, Any] = {
        "id": id, "index": "photos", "dialogue": DIALOGUE.at_round(round), "legs": LEGS,
        "hits": [f"hit{number}" for number in range(1, hits + 1)], "imagined": False, "took_ms": 40.0,
    }  # fmt: skip
    return LoggedSearch(**{**values, **changes})


def rows(path: Path) -> list[dict[str, Any] | None]:
    return [row for file in log_files(path) for row in read_rows(file)]


def test_a_row_says_what_was_asked_and_answered(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    log = SearchLog(path)
    log.search(logged("one", 2, hits=2, conversation="c1", imagined=True))
    log.choice("one", "hit2")
    search, choice = rows(path)
    assert search is not None
    assert choice is not None
    assert search["dialogue"]["turns"][1] == {"question": "where?", "answer": "on a beach"}
    assert (search["round"], search["first"], search["hits"]) == (2, 1, ["hit1", "hit2"])
    assert search["legs"]["imagination"] == {"status": "late", "took_ms": 300.0, "reason": "not there in time"}
    assert (choice["kind"], choice["search"], choice["hit"]) == ("choice", "one", "hit2")
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_dialogues_nothing_that_was_said_is_written(tmp_path: Path) -> None:
    log = SearchLog(tmp_path / "log.jsonl", dialogues=False)
    log.search(logged("one", 2))
    content = (tmp_path / "log.jsonl").read_text()
    assert "dog" not in content
    assert "beach" not in content
    assert json.loads(content)["round"] == 2


def test_a_full_file_is_renamed_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = SearchLog(path, max_bytes=2_000, keep=3)
    for number in range(60):
        log.search(logged(f"{number}"))
    files = log_files(path)
    assert [file.name for file in files] == ["log.jsonl.3", "log.jsonl.2", "log.jsonl.1", "log.jsonl"]
    assert all(file.stat().st_size <= 2_000 for file in files)
    ids = [int(row["id"]) for row in rows(path) if row is not None]
    assert ids == list(range(ids[0], 60))
    assert log.failures == 0


def test_a_line_larger_than_a_file_is_still_kept_whole(tmp_path: Path) -> None:
    log = SearchLog(tmp_path / "log.jsonl", max_bytes=100)
    log.search(logged("one", hits=100))
    log.search(logged("two", hits=100))
    assert [row and row["id"] for row in rows(tmp_path / "log.jsonl")] == ["one", "two"]


WRITER = """
import sys, threading
from pathlib import Path
from dar_search.answering.search_log import SearchLog
from tests.unit.test_search_log import logged
log = SearchLog(Path(sys.argv[1]), max_bytes=20_000, keep=1000)
def write(thread):
    for number in range(60):
        log.search(logged(f"{sys.argv[2]}-{thread}-{number}"))
        log.choice(f"{sys.argv[2]}-{thread}-{number}", "hit1")
threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(log.failures)
"""


def test_processes_and_threads_share_a_file_through_rotations_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    root = Path(__file__).parent.parent.parent
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(name)], cwd=root) for name in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert len(log_files(path)) > 10
    found = rows(path)
    assert None not in found
    searches = [row["id"] for row in found if row and row["kind"] == "search"]
    assert len(searches) == len(set(searches)) == 3 * 4 * 60
    results = evaluate_log(path)
    assert results["all"]["chosen_share"]["mean"] == 1.0
    assert results["choices"] == 720
    assert set(results["left_out"].values()) == {0}


def test_a_line_torn_by_a_crash_is_closed_and_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    SearchLog(path).search(logged("one"))
    with path.open("ab") as file:
        file.write(b'{"kind": "search", "id": "torn')
    SearchLog(path).search(logged("two"))
    assert [row and row["id"] for row in rows(path)] == ["one", None, "two"]
    assert evaluate_log(path)["left_out"]["lines_unread"] == 1


def test_a_log_that_cannot_be_opened_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(SourceError, match="cannot be written"):
        SearchLog(tmp_path / "log.jsonl")


def test_what_cannot_be_written_is_counted_and_never_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log.jsonl"
    log = SearchLog(path)
    path.unlink()
    path.mkdir()
    log.search(logged("one"))
    log.search(logged("two"))
    log.search(logged("\ud800"))
    assert log.failures == 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("search", "hit"), [("", "x"), ("x", ""), ("x" * 513, "x"), ("x", "ü" * 300)])
def test_a_choice_names_a_search_and_a_hit(tmp_path: Path, search: str, hit: str) -> None:
    with pytest.raises(RequestError, match="1 to 512"):
        SearchLog(tmp_path / "log.jsonl").choice(search, hit)


def used(path: Path) -> None:
    log = SearchLog(path)
    log.search(logged("a0", 0, conversation="a"))
    log.search(logged("a1", 1, conversation="a", imagined=True, legs={"knn": Leg("ok", 10.0)}))
    log.choice("a1", "hit4")
    log.choice("a1", "hit1")  # the first choice counts
    log.search(logged("b0", 0, conversation="b", first=11))
    log.choice("b0", "hit2")  # rank 12, on the second page
    log.search(logged("c0", 0))
    log.choice("c0", "elsewhere")
    log.choice("unknown", "hit1")
    with path.open("ab") as file:
        file.write(b'[]\n{"kind": "other", "format": 1}\n{"kind": "search", "format": 1, "id": "x"}\n\n')


def test_the_measures_by_hand(tmp_path: Path) -> None:
    used(tmp_path / "log.jsonl")
    results = evaluate_log(tmp_path / "log.jsonl")
    assert (results["searches"], results["choices"]) == (4, 5)
    assert results["left_out"] == {
        "lines_unread": 4, "choices_of_unknown_searches": 1, "choices_of_hits_not_shown": 1,
    }  # fmt: skip
    zero, one = results["by_round"]
    assert (zero["round"], zero["searches"], one["round"], one["searches"]) == (0, 3, 1, 1)
    assert zero["chosen_share"]["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert zero["mrr"]["mean"] == pytest.approx(1 / 12 / 3, abs=1e-6)
    assert (zero["median_rank"], zero["chosen_in_top_10"]) == (12.0, 0.0)
    assert one["chosen_share"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert (one["mrr"]["mean"], one["median_rank"], one["chosen_in_top_1"], one["chosen_in_top_10"]) == (0.25, 4, 0, 1)
    assert results["with_imagination"]["searches"] == 1
    assert results["text_alone"]["searches"] == 3
    assert results["conversations"] == {"conversations": 2, "chosen_share": 1.0, "mean_rounds_to_choice": 0.5}
    assert results["degraded_share"] == 0.75
    legs = results["legs"]
    assert (legs["imagination"]["late"], legs["imagination"]["ok"]) == (3, 0)
    assert legs["imagination"]["reasons"] == {"not there in time": 3}
    assert legs["knn"]["took_ms"]["mean"] == pytest.approx((3 * 6.25 + 10) / 4)
    assert (legs["keyword"]["off"], legs["keyword"]["took_ms"]) == (3, None)
    assert legs["answer"]["took_ms"]["p50"] == 40.0
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_intervals_of_many_searches_agree_with_the_bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SearchLog(tmp_path / "log.jsonl")
    for number in range(900):
        log.search(logged(f"{number}", hits=3))
        if number % 3 == 0:
            log.choice(f"{number}", f"hit{1 + number % 2}")
    by_bootstrap = evaluate_log(tmp_path / "log.jsonl")["all"]
    monkeypatch.setattr(online, "BOOTSTRAP_MOST", 100)
    by_normal = evaluate_log(tmp_path / "log.jsonl")["all"]
    for measure in ("chosen_share", "mrr"):
        assert by_normal[measure] == pytest.approx(by_bootstrap[measure], abs=0.005)


def test_no_log_and_an_empty_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is no search log"):
        evaluate_log(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("nonsense\n")
    with pytest.raises(SourceError, match="holds no searches"):
        evaluate_log(tmp_path / "empty.jsonl")


def test_the_command_prints_and_writes_the_measures(tmp_path: Path) -> None:
    from dar_search.cli.main import app

    used(tmp_path / "log.jsonl")
    arguments = ["evaluate", "--search-log", str(tmp_path / "log.jsonl"), "--output", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "what was chosen, by round" in shown.output
    assert "75.0% of the searches had one late or failed" in shown.output
    written = json.loads((tmp_path / "out" / "online.json").read_text())
    assert written == evaluate_log(tmp_path / "log.jsonl")
    as_json = CliRunner().invoke(app, [*arguments[:3], "--json"])
    assert json.loads(as_json.stdout) == written


def test_the_command_wants_a_run_or_a_log(tmp_path: Path) -> None:
    from dar_search.cli.main import app

    for arguments in ([], ["run.toml", "--search-log", "x"]):
        result = CliRunner().invoke(app, ["evaluate", *arguments])
        assert result.exit_code != 0
        assert result.exception is not None
