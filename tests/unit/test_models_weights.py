"""Weights: safetensors only, one revision on every machine, and errors that say what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dar_search.errors import ModelFailed, UnsafeWeights, WeightsMissing
from dar_search.models import weights


def _saved(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.full((3, 3), value, np.float32)}, path)
    return path


@pytest.mark.parametrize("ending", sorted(weights.PICKLED))
def test_a_folder_with_weights_that_can_run_code_only_is_refused(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"model{ending}").write_bytes(b"\x80\x04anything")
    with pytest.raises(UnsafeWeights, match="could run code") as caught:
        weights.choose(tmp_path, ("model.safetensors",), model="a model")
    assert f"model{ending}" in caught.value.message
    assert "safetensors" in caught.value.hint


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no \.safetensors file") as caught:
        weights.check(tmp_path, model="a model")
    assert str(tmp_path) in caught.value.message


def test_the_first_name_that_is_there_is_chosen(tmp_path: Path) -> None:
    second = _saved(tmp_path / "b.safetensors")
    assert weights.choose(tmp_path, ("a.safetensors", "b.safetensors"), model="m") == second


def test_a_revision_is_the_same_in_another_folder_and_differs_for_other_weights_or_configuration(
    tmp_path: Path,
) -> None:
    here, copy = _saved(tmp_path / "here" / "m.safetensors"), tmp_path / "there" / "m.safetensors"
    copy.parent.mkdir()
    shutil.copy(here, copy)
    other = _saved(tmp_path / "other" / "m.safetensors", 2.0)
    assert weights.revision([here]) == weights.revision([copy])
    assert weights.revision([here]) != weights.revision([other])
    assert weights.revision([here], {"a": 1}) == weights.revision([copy], {"a": 1})
    assert weights.revision([here], {"a": 1}) != weights.revision([here], {"a": 2})


def test_a_digest_follows_the_file_when_it_changes(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.safetensors")
    before = weights.digest(path)
    assert weights.digest(path) == before
    _saved(path, 2.0)
    os.utime(path, ns=(1, 1))
    assert weights.digest(path) != before


def test_the_hub_cache_names_a_file_by_its_digest_and_is_not_read_again(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    blob.write_bytes(b"not hashed")
    link = tmp_path / "snapshots" / "commit" / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert weights.digest(link) == "0" * 64


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no model folder"):
        weights.folder(str(tmp_path / "absent"), patterns=("*",))


@pytest.mark.parametrize("content", ["", "[1]", "{", "\udcff"])
def test_a_configuration_that_is_no_json_object_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsMissing, match=r"config\.json"):
        weights.read_config(path)


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(ModelFailed) as caught:
        weights.require("numpy", "a_package_that_is_not_there")
    assert caught.value.hint == 'Install what is missing with: pip install "dar-search[models]"'
    assert "numpy" not in caught.value.message


@pytest.mark.parametrize(
    ("offline", "ask", "model", "said"),
    [
        ("0", "weights.folder('someone/model', patterns=['*'])", "someone/model", "cannot be fetched"),
        (
            "1",
            "catalogue.encoder('open_clip:ViT-B-32/laion2b_s34b_b79k').provenance",
            "laion/CLIP-ViT-B-32",
            "HF_HUB_OFFLINE is set",
        ),
    ],
    ids=["no network", "offline"],
)
def test_weights_that_are_not_here_and_cannot_be_fetched_say_what_to_do(
    tmp_path: Path, offline: str, ask: str, model: str, said: str
) -> None:
    # A process of its own: the hub client reads these variables when it is imported. Nothing listens on port 9.
    code = (
        "from dar_search.models import weights, catalogue\n"
        "from dar_search.errors import WeightsMissing\n"
        f"try:\n    {ask}\n"
        "except WeightsMissing as error:\n    print(error.message, '|', error.hint)\n"
    )
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": offline,
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert said in done.stdout, done.stderr
    assert model in done.stdout
    assert "dar models fetch" in done.stdout
