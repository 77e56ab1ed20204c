"""`dar` as a process: real models from a checkpoint, closed pipes, Ctrl-C, no terminal."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.checkpoints import open_clip_folder, prior_folder
from tests.signals import hears_ctrl_c

DAR = Path(sys.executable).with_name("dar")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
    return kept | {
        "HOME": str(tmp_path),
        "DAR_DATA_FOLDER": str(tmp_path / "data"),
        "CI": "true",
        "OMP_NUM_THREADS": "1",
    }


def test_two_commands_from_a_folder_to_its_pictures_with_real_models(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    encoder, prior = open_clip_folder(tmp_path / "clip"), prior_folder(tmp_path / "prior")
    (tmp_path / "photos").mkdir()
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255)}.items():
        Image.new("RGB", (50, 40), colour).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "red.txt").write_text("a red wall")

    def dar(*arguments: str) -> dict[str, object]:
        models = ("--encoder", f"open_clip:{encoder}", "--device", "cpu")
        command = [DAR, *arguments, *models, "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    assert dar("ingest", "photos", "--index", "photos")["indexed"] == 2
    answer = dar("search", "--index", "photos", "--caption", "a red wall", "--imaginer", f"prior:{prior}", "--explain")
    assert {leg["status"] for leg in answer["legs"].values()} == {"ok"}
    assert len(answer["hits"]) == 2
    red = next(hit for hit in answer["hits"] if hit["source"].endswith("red.png"))
    assert red["caption"] == "a red wall"
    assert red["explanation"]["keyword_rank"] == 1


def test_a_reader_that_goes_away_ends_it_without_a_word(tmp_path: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [DAR, "doctor", "--quick"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    process.stdout.close()
    complaint = process.stderr.read()
    assert process.wait(timeout=300) == 141
    assert complaint == ""
    process.stderr.close()


def test_ctrl_c_ends_it_with_130_and_no_traceback(tmp_path: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [DAR, "search", "--index", "x", "--dialogue", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
    _until_it_reads(process)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in complaint


def _until_it_reads(process: subprocess.Popen[str]) -> None:
    """Waits until the process sleeps in a read of its standard input (a pipe)."""
    wait_channel = Path(f"/proc/{process.pid}/syscall")
    if not wait_channel.exists():
        pytest.skip("needs /proc to see that the process waits")
    while process.poll() is None:
        try:
            number, descriptor, *_ = wait_channel.read_text().split()
        except (OSError, ValueError):
            continue
        if (number, descriptor) == ("0", "0x0"):  # read(0, ...) on x86-64
            return


def test_the_demo_without_a_terminal_serves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    from dar_search.cli.demo import a_person_looks_on

    assert not a_person_looks_on(terminal=True, environment=environment)
    assert not a_person_looks_on(terminal=False, environment={})
    assert a_person_looks_on(terminal=True, environment={})


def test_standard_output_is_one_object_also_where_something_is_tried_again(environment: dict[str, str]) -> None:
    closed = "http://127.0.0.1:9"
    done = subprocess.run(
        [DAR, "index", "list", "--store", closed, "--json"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "store_unavailable"
    assert done.stderr.count("Trying again") == 1
    assert "stamina" not in done.stderr
