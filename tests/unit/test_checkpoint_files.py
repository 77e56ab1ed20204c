"""What stands where a model's files should be is named, with the next step, before a library is asked."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dar_search.errors import DarError, ModelFailed, UnsafeWeights, WeightsMissing
from dar_search.models import catalogue, tokenizing, weights

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 605157884\n"
PAGE = "\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def saved(path: Path) -> Path:
    save_file({"weight": np.ones((30, 30), np.float32)}, path)
    return path


@pytest.mark.parametrize(
    ("content", "error", "said", "hint"),
    [
        (POINTER.encode(), WeightsMissing, "git-lfs pointer", "git lfs pull"),
        (POINTER.replace("\n", "\r\n").encode(), WeightsMissing, "605,157,884 bytes", "git lfs pull"),
        (PAGE.encode(), WeightsMissing, "a web page", "Fetch the model again"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", WeightsMissing, "a web page", "Fetch the model again"),
        (b"", WeightsMissing, "is empty", "Fetch the model again"),
        (bytes(5000), WeightsMissing, "nothing but zeros", "Fetch the model again"),
        (b"GGUF\x03\x00\x00\x00" + bytes(5000), WeightsMissing, "GGUF", "endpoint:"),
        (pickle.dumps({"weight": [1.0] * 100}), UnsafeWeights, "could run code", "safetensors"),
        (b"PK\x03\x04" + bytes(5000), UnsafeWeights, "could run code", "safetensors"),
        (b'{"error": "Repository not found"}', ModelFailed, "no safetensors file", "Fetch the model again"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense", ModelFailed, "is damaged", "Fetch the model again"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", WeightsMissing, "holds no weights", "Fetch the model again"),
        (b"\x03\x01", ModelFailed, "cut off", "Fetch the model again"),
    ],
)
def test_what_is_no_safetensors_file_is_said_to_be_what_it_is(
    tmp_path: Path, content: bytes, error: type[DarError], said: str, hint: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    for read in (weights.check, lambda where, model: weights.choose(where, ["model.safetensors"], model=model)):
        with pytest.raises(error) as caught:
            read(tmp_path, model="transformers:mine")
        assert said in caught.value.message
        assert "transformers:mine" in caught.value.message
        assert "model.safetensors" in caught.value.message
        assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_that_was_copied_without_what_it_leads_to_is_said_to_be(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("../../blobs/0123")
    reads: list[Callable[[], object]] = {
        "model.safetensors": [
            lambda: weights.check(tmp_path, model="mine"),
            lambda: weights.choose(tmp_path, [name], model="mine"),
        ],
        "config.json": [lambda: weights.read_config(tmp_path / name)],
        "tokenizer.json": [lambda: tokenizing.require_files(tmp_path, model="mine")],
    }[name]
    for read in reads:
        with pytest.raises(WeightsMissing, match=f"{name} .* is a link to") as caught:
            read()
        assert "cp -rL" in caught.value.hint


@pytest.mark.parametrize("kept", [4, 30, 100, 1000, -1])
def test_a_file_that_is_cut_off_anywhere_is_said_to_be(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFailed, match=r"Loading mine failed: model\.safetensors is cut off"):
        weights.check(tmp_path, model="mine")


def test_a_whole_file_is_let_through(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors")
    assert weights.check(tmp_path, model="mine") == [path]


def test_weights_of_a_name_that_no_library_looks_for_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsMissing, match="another name") as caught:
        weights.check(tmp_path, model="mine")
    assert "model.safetensors" in caught.value.hint


def test_a_folder_of_gguf_alone_says_where_such_files_go(tmp_path: Path) -> None:
    (tmp_path / "model.Q4_K_M.gguf").write_bytes(b"GGUF")
    with pytest.raises(WeightsMissing, match=r"model\.Q4_K_M\.gguf") as caught:
        weights.check(tmp_path, model="mine")
    assert "endpoint:" in caught.value.hint


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model_index.json"])
@pytest.mark.parametrize(("content", "said"), [(POINTER, "git-lfs pointer"), (PAGE, "a web page"), ("", "is empty")])
def test_a_configuration_that_only_stands_in_for_one_is_said_to_be(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(WeightsMissing, match=said):
        weights.read_config(tmp_path / name)


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model", "vocab.txt"])
def test_a_tokenizer_that_only_stands_in_for_one_is_said_to_be(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(WeightsMissing, match=f"{name} .* git-lfs pointer"):
        tokenizing.require_files(tmp_path, model="mine")


def _folder(name: str, content: str = "{}") -> Callable[[Path], None]:
    def make(where: Path) -> None:
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(content)

    return make


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (lambda where: None, "it is empty", "Fetch the model again"),
        (
            _folder("adapter_config.json", '{"base_model_name_or_path": "a/b"}'),
            "adapter (LoRA) for a/b",
            "Merge it",
        ),
        (_folder("pytorch_lora_weights.safetensors"), "adapter (LoRA)", "Merge it"),
        (_folder("model_index.json"), "a folder of diffusers", "diffusers:{}"),
        (_folder("open_clip_config.json"), "a folder of open_clip", "open_clip:{}"),
        (_folder("modules.json", "[]"), "sentence-transformers", "sentence-transformers:{}"),
        (_folder("snapshots/abc/config.json"), "the hub cache's own", "{}/snapshots/abc"),
        (_folder("clip/config.json"), "but clip/ in it has", "{}/clip"),
        (_folder("notes.txt"), "There are notes.txt", "right folder"),
    ],
)
def test_a_folder_without_a_configuration_is_said_to_be_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], said: str, hint: str
) -> None:
    make(tmp_path)
    with pytest.raises(WeightsMissing) as caught:
        catalogue.encoder(f"transformers:{tmp_path}")
    assert said in caught.value.message
    assert "config.json" in caught.value.message
    assert hint.format(tmp_path) in caught.value.hint


def test_the_path_of_a_file_is_answered_with_its_folder(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors")
    with pytest.raises(WeightsMissing, match="is a file") as caught:
        catalogue.encoder(f"transformers:{path}")
    assert str(tmp_path) in caught.value.hint
