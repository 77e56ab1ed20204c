"""Model folders at the command line: refused before an index is made of them, and known wherever they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests import checkpoints
from tests.checkpoints import rewritten
from tests.e2e.conftest import Dar


@pytest.fixture
def pictures(home: Path) -> Path:
    folder = home / "pictures"
    folder.mkdir()
    for number, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)]):
        Image.new("RGB", (60, 60), colour).save(folder / f"{number}.png")
    return folder


def test_a_broken_model_leaves_no_index_that_would_refuse_the_mended_one(dar: Dar, pictures: Path, home: Path) -> None:
    whole = checkpoints.clip_folder(home / "whole")
    folder = shutil.copytree(whole, home / "clip")
    rewritten(folder / "model.safetensors", lambda tensors: tensors.pop("visual_projection.weight"))
    ingest = ("ingest", pictures, "--index", "photos", "--encoder", f"transformers:{folder}", "--json")
    refused = dar(*ingest)
    assert refused.json["error"]["code"] == "weights_missing"
    assert "visual_projection.weight" in refused.json["error"]["message"]
    assert dar("index", "list", "--json").json["indices"] == []
    shutil.copy(whole / "model.safetensors", folder / "model.safetensors")
    assert dar(*ingest).json["indexed"] == 3


def test_an_index_is_searched_and_ingested_into_with_its_model_under_another_name(
    dar: Dar, pictures: Path, home: Path
) -> None:
    here = checkpoints.clip_folder(home / "models" / "clip")
    there = shutil.copytree(here, home / "elsewhere" / "clip-renamed")
    search = ("search", "--index", "photos", "--caption", "a red card", "--text-only", "--json")
    dar("ingest", pictures, "--index", "photos", "--encoder", f"transformers:{here}", "--json")
    first = dar(*search, "--encoder", f"transformers:{here}").json["hits"]
    shutil.rmtree(here)
    assert dar(*search, "--encoder", f"transformers:{there}").json["hits"] == first
    again = dar("ingest", pictures, "--index", "photos", "--encoder", f"transformers:{there}", "--json").json
    assert (again["indexed"], again["unchanged"]) == (0, 3)
    other = checkpoints.open_clip_folder(home / "other" / "clip-renamed")
    refused = dar(*search, "--encoder", f"open_clip:{other}").json["error"]
    assert refused["code"] == "encoder_mismatch"
    assert "transformers:clip" in refused["message"]
