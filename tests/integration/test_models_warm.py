"""The process that a command leaves behind: the same answers, one load, ended by itself, and nobody else's."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from dar_search.bootstrap import load_encoder, warm_models
from dar_search.data import Dialogue
from dar_search.errors import ModelFailed, ModelTimeout, WeightsMissing
from dar_search.method.rewriting import rewrite
from dar_search.models import catalogue
from dar_search.models.hosting import Models
from dar_search.models.process.child import Limits
from dar_search.models.process.warm import WarmModels, can_be_warm, stop_all
from dar_search.settings import Settings, load_settings

_TEXT = ["a red kite"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("warm")
    yield folder
    stop_all(folder)


def _settings(home: Path, minutes: float = 5) -> Settings:
    return load_settings(data_folder=home, encoder="demo", model_process={"warm_minutes": minutes})


def _pid(models: Models) -> int:
    (process,) = models.processes.values()
    pid = process.health().pid
    assert pid is not None
    return pid


def _ended(pid: int) -> None:
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_next_command_finds_the_models_loaded_and_they_answer_as_in_its_own_process(home: Path) -> None:
    settings = _settings(home)
    own = load_encoder(settings)
    with warm_models(settings) as first:
        assert np.array_equal(first.encoder.encode_texts(_TEXT), own.encode_texts(_TEXT))
        assert first.encoder.provenance == own.provenance
        query = rewrite(Dialogue("a red kite"), first.encoder, first.reformulator, first.imaginer)
        assert query.legs["imagination"].status == "ok"
        pid = _pid(first)
        with warm_models(settings) as beside:  # two commands at once share it
            beside.warm_up()
            assert _pid(beside) == pid
    with warm_models(settings) as second:
        second.warm_up()
        assert _pid(second) == pid
    folder = home / "warm-models"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.iterdir())
    assert psutil.Process(pid).cwd() == "/"
    other = load_settings(data_folder=home, encoder="demo", imaginer="none", model_process={"warm_minutes": 5})
    with warm_models(other) as apart:
        apart.warm_up()
        assert _pid(apart) != pid
    assert stop_all(home) == 2
    _ended(pid)
    assert stop_all(home) == 0


def test_of_many_commands_at_once_one_starts_it(home: Path) -> None:
    pids: list[int] = []

    def command() -> None:
        with warm_models(_settings(home)) as models:
            models.warm_up()
            pids.append(_pid(models))

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 1
    os.kill(pids[0], 9)
    _ended(pids[0])
    with warm_models(_settings(home)) as models:  # its socket is still there, and nobody behind it
        models.warm_up()
        assert _pid(models) != pids[0]
    stop_all(home)


def _process(home: Path, *, seconds: float = 300, fail: str = "") -> WarmModels:
    return WarmModels("tests.hosted_trouble:load", {"fail": fail}, Limits(), data_folder=home, seconds=seconds)


def _pid_of(process: WarmModels) -> int:
    assert process.call("double", [2]) == [4]
    pid = process.health().pid
    assert pid is not None
    return pid


def test_it_ends_by_itself_and_when_its_socket_is_taken_away(home: Path) -> None:
    idle = _process(home, seconds=0.5)
    pid = _pid_of(idle)
    idle.close()
    _ended(pid)
    robbed = _process(home)
    pid = _pid_of(robbed)
    robbed.close()
    (path,) = (home / "warm-models").glob("*.socket")
    path.unlink()
    _ended(pid)
    assert not list((home / "warm-models").glob("*.socket"))


def test_a_model_that_fails_is_late_or_dies_is_an_error_and_the_next_command_begins_anew(home: Path) -> None:
    for fail, error in (("weights", WeightsMissing), ("die", ModelFailed)):
        with pytest.raises(error):
            _process(home, fail=fail).call("double", [2])
    slow = _process(home)
    pid = _pid_of(slow)
    with pytest.raises(ModelTimeout):
        slow.call("double", [2], options=(1.0,), timeout=0.1)
    assert slow.call("double", [3]) == [6]  # not the answer that came too late
    slow.close()
    dying = _process(home)
    assert _pid_of(dying) == pid
    with pytest.raises(ModelFailed, match="ended"):
        dying.call("trouble", [("die", 1)])
    assert dying.call("double", [3]) == [6]
    with pytest.raises(ModelFailed, match="no 1"):
        dying.call("trouble", [("raise", 1)])
    dying.close()
    assert stop_all(home) == 1


def test_many_threads_of_one_program_get_their_own_answers(home: Path) -> None:
    process = _process(home)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: process.call("double", [number]), range(40))) == [
            [2 * n] for n in range(40)
        ]
    process.close()
    stop_all(home)


def test_what_cannot_be_loaded_besides_the_encoder_costs_its_own_part_alone(home: Path) -> None:
    settings = load_settings(
        data_folder=home, encoder="demo", imaginer="prior:no/such", reformulator="chat:no/such",
        model_process={"warm_minutes": 5},
    )  # fmt: skip
    with warm_models(settings) as models:
        query = rewrite(Dialogue("a red kite"), models.encoder, models.reformulator, models.imaginer)
    assert query.legs["imagination"].status == "failed"
    assert query.reformulation.reformulator == "rules"
    stop_all(home)


def test_where_no_socket_can_be_made_the_models_run_in_the_command(tmp_path: Path) -> None:
    assert can_be_warm(tmp_path)
    (tmp_path / "warm-models").rmdir()
    (tmp_path / "warm-models").write_text("a file is in its place")
    assert not can_be_warm(tmp_path)
    with warm_models(_settings(tmp_path)) as models:
        assert not models.processes


def test_a_folder_whose_files_change_is_another_model(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(catalogue.BUNDLE / "encoder", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    settings = load_settings(data_folder=home, encoder="open_clip:mine", model_process={"warm_minutes": 5})
    pids = []
    for _ in range(2):
        with warm_models(settings) as models:
            models.encoder.encode_texts(_TEXT)
            pids.append(_pid(models))
        os.utime(tmp_path / "mine" / "open_clip_config.json", (1, 1))
    assert pids[0] != pids[1]
    stop_all(home)


def test_without_minutes_nothing_is_left_behind(home: Path) -> None:
    with warm_models(_settings(home, 0)) as models:
        assert not models.processes
