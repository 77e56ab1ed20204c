"""What is wrong with a model's folder, said before a library trips over it: what is there instead of weights.

A safetensors file is eight bytes with the length of its header (little-endian), the header (JSON: each tensor's dtype,
shape and place), and the tensors (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed, UnsafeWeights, WeightsMissing

SAFE = ".safetensors"
# Each of these can run code when it is loaded, or is loaded by code that also accepts such files.
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5", ".npz", ".npy", ".joblib"})
FETCH_AGAIN = "Fetch the model again, or name another folder."
_LARGEST_HEADER = 100_000_000  # the format's own limit
_LFS = b"version https://git-lfs.github.com/spec/"
_SHARD = re.compile(r"-\d+-of-\d+\.")
# What other programs' model files begin with.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x89HDF")
_OTHERS = {b"GGUF": "GGUF weights"}


def stand_in(path: Path) -> tuple[str, str] | None:
    """(what it is, what to do) of a file that holds something else than a model: none where it may be one.

    A link to nowhere, a git-lfs pointer, a web page, or nothing. Raises WeightsMissing for a file that cannot be read.
    """
    if path.is_symlink() and not path.exists():
        return (
            f"a link to {path.readlink()}, which is not there",
            "It was copied without what it leads to, as from a hub cache: copy the folder with cp -rL.",
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise WeightsMissing(
            f"{path} cannot be read: {error.strerror or error}.", "Check the file's rights."
        ) from error
    if head.startswith(_LFS):
        found = re.search(rb"^size (\d+)", head, re.MULTILINE)
        of = f" of a file of {int(found[1]):,} bytes" if found else ""
        return (
            f"only a git-lfs pointer ({size} bytes){of}",
            "In that folder run: git lfs install && git lfs pull. Or fetch the model without git.",
        )
    if not head.strip(b"\0 \t\r\n"):
        return ("empty" if size == 0 else "nothing but zeros or white space"), f"It was not copied. {FETCH_AGAIN}"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page", f"What was fetched was a page about the file, not the file. {FETCH_AGAIN}"
    return None


def require_real(path: Path, *, model: str) -> None:
    """Raises WeightsMissing for a file that only stands in for one of the model's."""
    found = stand_in(path)
    if found:
        raise WeightsMissing(f"{model}: {path.name} in {path.parent} is {found[0]}.", found[1])


def require_whole(path: Path, *, model: str) -> None:
    """Raises WeightsMissing, UnsafeWeights or ModelFailed for what is no whole safetensors file. Reads its header."""
    require_real(path, model=model)
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if first.startswith(_PICKLES):
            raise UnsafeWeights(
                f"{model}: {path.name} is no safetensors file for all its name, and could run code when loaded.",
                "Choose a model with true .safetensors files, or convert it on a machine that may run it.",
            )
        for magic, other in _OTHERS.items():
            if first.startswith(magic):
                raise WeightsMissing(f"{model}: {path.name} holds {other}, not safetensors.", _hint_for(other))
        length = int.from_bytes(first, "little")
        if len(first) == 8 and length > _LARGEST_HEADER:
            raise ModelFailed(
                f"Loading {model} failed: {path.name} is no safetensors file: it begins with {first!r}.", FETCH_AGAIN
            )
        header = file.read(length)
    if len(first) < 8 or len(header) < length:
        raise _cut_off(path, model, size, None)
    try:
        tensors = {name: value for name, value in json.loads(header).items() if name != "__metadata__"}
        end = 8 + length + max((int(value["data_offsets"][1]) for value in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ModelFailed(
            f"Loading {model} failed: the header of {path.name} is damaged: {error!r}.", FETCH_AGAIN
        ) from error
    if not tensors:
        raise WeightsMissing(f"{model}: {path.name} holds no weights.", FETCH_AGAIN)
    if size < end:
        raise _cut_off(path, model, size, end)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> its shape, of a file that `require_whole` let through."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tuple(value["shape"]) for name, value in header.items() if name != "__metadata__"}


def require_shards(where: Path, *, model: str) -> None:
    """Raises WeightsMissing where weights are in several files and some of them are not there."""
    there = {path.name for path in where.glob(f"*{SAFE}")}
    if any(not _SHARD.search(name) for name in there):
        return
    lacking: list[tuple[Path, list[str], int]] = []
    for index in sorted(where.glob(f"*{SAFE}.index*.json")):
        require_real(index, model=model)
        try:
            named = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsMissing(f"{model}: {index.name} cannot be read: {error!r}.", FETCH_AGAIN) from error
        absent = [name for name in named if name not in there]
        if not absent:
            return
        lacking.append((index, absent, len(named)))
    if lacking:
        # A hub folder may name its half-precision files in an index of their own: the nearest to whole is meant.
        index, absent, total = min(lacking, key=lambda one: len(one[1]))
        raise WeightsMissing(
            f"{model} lacks {len(absent)} of its {total} weights files: {absent[0]}, which {index.name} names, "
            f"is not in {where}.",
            FETCH_AGAIN,
        )
    if there:
        raise WeightsMissing(
            f"{model} has weights in several files ({min(there)}), without the index that says what is in which.",
            FETCH_AGAIN,
        )


def refuse_adapter(where: Path, *, model: str) -> None:
    """Raises ModelFailed for an adapter beside whole weights: libraries apply it or not by what else is installed."""
    if (where / "adapter_config.json").is_file():
        raise ModelFailed(
            f"{model} has an adapter (LoRA) beside its weights: {where / 'adapter_config.json'}.",
            "Merge it into the weights and save those, or move it out of the folder.",
        )


def no_weights(where: Path, *, model: str) -> WeightsMissing | UnsafeWeights:
    """Why a folder without safetensors weights has none."""
    for path in where.glob(f"*{SAFE}"):
        require_real(path, model=model)
    files = sorted(path.name for path in where.iterdir() if path.is_file()) if where.is_dir() else []
    if "adapter_config.json" in files:
        return _adapter(where, model)
    pickled = [name for name in files if Path(name).suffix.lower() in PICKLED]
    if pickled:
        return UnsafeWeights(
            f"{model} has no safetensors weights, only {pickled[0]}, which could run code when loaded: refused.",
            "Choose a model with .safetensors files, or convert it on a machine that may run it.",
        )
    return WeightsMissing(f"{model} has no weights: no {SAFE} file in {where}.{_there(files)}", _hint_of(files))


def no_config(path: Path) -> WeightsMissing:
    """Why a folder lacks a model's configuration, as far as what is there instead tells."""
    if path.is_symlink():
        require_real(path, model=f"The model folder {path.parent.name}")
    where, files = path.parent, {found.name for found in path.parent.glob("*")}
    if not where.is_dir():
        return WeightsMissing(f"The model folder {where.parent} has no folder {where.name}/ in it.", FETCH_AGAIN)
    lacks = f"The model folder {where} has no {path.name}"
    if not files:
        return WeightsMissing(f"{lacks}: it is empty.", FETCH_AGAIN)
    if "adapter_config.json" in files or any("lora" in name and name.endswith(SAFE) for name in files):
        return _adapter(where, f"{lacks}: it")
    if "snapshots" in files:
        name = next((found.name for found in sorted((where / "snapshots").glob("*"))), "...")
        return WeightsMissing(
            f"{lacks}: it is the hub cache's own.", f"Name the folder inside: {where / 'snapshots' / name}"
        )
    for told, kind, what_to_do in _KINDS:
        if told in files and told != path.name:
            return WeightsMissing(f"{lacks}: it is {kind}.", what_to_do.format(folder=where))
    inside = sorted(found.parent.name for found in where.glob(f"*/{path.name}"))
    if inside:
        return WeightsMissing(f"{lacks}, but {inside[0]}/ in it has.", f"Name the folder inside: {where / inside[0]}")
    return WeightsMissing(f"{lacks}.{_there(files)}", f"Is it the right folder? {_hint_of(files)}")


_KINDS = (
    ("model_index.json", "a folder of diffusers", "As an imaginer it is called diffusers:{folder} or prior:{folder}"),
    ("open_clip_config.json", "a folder of open_clip", "As an encoder it is called open_clip:{folder}"),
    (
        "modules.json",
        "a folder of sentence-transformers",
        "As an encoder it is called sentence-transformers:{folder}",
    ),
    (
        "config.json",
        "a folder of transformers",
        "It is called transformers:{folder} as an encoder, chat:{folder} as a reformulator.",
    ),
)


def _adapter(where: Path, subject: str) -> WeightsMissing:
    try:
        base = json.loads((where / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = "another model"
    return WeightsMissing(
        f"{subject} is an adapter (LoRA) for {base} alone, not a whole model.",
        "Merge it into that model, save the result with save_pretrained, and name that folder.",
    )


def _cut_off(path: Path, model: str, size: int, whole: int | None) -> ModelFailed:
    of = f" of {whole:,}" if whole else ""
    return ModelFailed(f"Loading {model} failed: {path.name} is cut off: {size:,}{of} bytes are there.", FETCH_AGAIN)


def _there(files: Iterable[str]) -> str:
    named = sorted(files)
    return f" There are {', '.join(named[:5])}{' and others' if len(named) > 5 else ''}." if named else ""


def _hint_of(files: Iterable[str]) -> str:
    return _hint_for("GGUF weights") if any(name.lower().endswith(".gguf") for name in files) else FETCH_AGAIN


def _hint_for(other: str) -> str:
    if other == "GGUF weights":
        return "Serve a GGUF file with llama.cpp or Ollama and use endpoint:MODEL, or fetch the safetensors weights."
    return FETCH_AGAIN
