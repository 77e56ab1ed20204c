"""A diffusion model's folder in diffusers' layout: which files it needs, that they are safe, and which they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dar_search.errors import UnsafeWeights, WeightsMissing
from dar_search.models import hub, tokenizing, weights

INDEX = "model_index.json"
HALF = ".fp16"
_SMALL = (".json", ".txt", ".model", ".jinja")
# What a part without weights has, by the ending of its class's name.
_CONFIGS: Mapping[str, str] = {
    "Scheduler": "scheduler_config.json",
    **dict.fromkeys(("FeatureExtractor", "ImageProcessor", "Processor"), "preprocessor_config.json"),
}


def resolve(source: str, *, model: str, without: Sequence[str] = ()) -> Path:
    """The folder of a model given by path or hub name, fetched where it is not here.

    without: parts that are not needed. Raises WeightsMissing, UnsafeWeights.
    """
    if weights.looks_local(source):
        return weights.folder(source, patterns=())
    try:
        here = hub.cached_folder(source)
        check(here, model=model, without=without)
    except WeightsMissing:
        files = needed(hub.hub_files(source), without=without)
        return weights.folder(source, patterns=(INDEX, *files), fetch=True)
    return here


def needed(files: Sequence[str], *, without: Sequence[str] = ()) -> list[str]:
    """Which of a repository's files to fetch: half-precision weights where a part has them, else all safetensors.

    Raises UnsafeWeights where a part's weights are pickled only.
    """
    wanted: list[str] = []
    parts = sorted({name.split("/")[0] for name in files if name.count("/") == 1} - set(without))
    for part in parts:
        inside = [name for name in files if name.startswith(f"{part}/") and name.count("/") == 1]
        safe = [name for name in inside if name.endswith(weights.SAFE)]
        half = [name for name in safe if HALF in name.rsplit("/", 1)[1]]
        pickled = [name for name in inside if Path(name).suffix in weights.PICKLED]
        if not safe and pickled and f"{part}/config.json" in inside:
            raise _pickled(part, pickled[0])
        small = [name for name in inside if name.endswith(_SMALL)]
        wanted += [*small, *(half or safe)]
    return wanted


def check(folder: Path, *, model: str, without: Sequence[str] = ()) -> None:
    """Raises WeightsMissing for a part without its files, UnsafeWeights for one with pickled weights only.

    ModelFailed for damaged ones. Loads nothing.
    """
    for part, (library, kind) in parts(folder):
        if part in without:
            continue
        if not (folder / part).is_dir():
            raise WeightsMissing(f"{model} has no folder {part}/ in {folder}.", "Fetch the model again.")
        if is_tokenizer(kind):
            tokenizing.require_files(folder / part, model=f"{model}'s {part}")
            continue
        name = next((name for ending, name in _CONFIGS.items() if kind.endswith(ending)), "config.json")
        if library in ("diffusers", "transformers"):
            weights.read_config(folder / part / name)
        if (folder / part / "config.json").is_file():
            weights.check(folder / part, model=f"{model}'s {part}")


def is_tokenizer(kind: str) -> bool:
    """Whether a part of that class is a tokenizer."""
    return "Tokenizer" in kind


def parts(folder: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """(part, (library, class)) of what model_index.json names and does not leave out. Raises WeightsMissing."""
    index: Mapping[str, Any] = weights.read_config(folder / INDEX)
    for part, value in index.items():
        if not part.startswith("_") and isinstance(value, list) and len(value) == 2 and all(value):
            yield part, (str(value[0]), str(value[1]))


def variant(folder: Path, *, half: bool) -> str | None:
    """diffusers' `variant` to load: "fp16" for half precision, or where a part has no other weights; else None.

    folder: the whole model's, or a part's.
    """
    files = [file.relative_to(folder) for file in folder.rglob(f"*{weights.SAFE}")]
    whole = {file.parent for file in files if HALF not in file.name}
    halves = {file.parent for file in files if HALF in file.name}
    return HALF[1:] if halves and (half or halves - whole) else None


def revision(folder: Path, *, model: str) -> str:
    """A fingerprint of all weights, configurations and tokenizers. Raises WeightsMissing."""
    check(folder, model=model, without=("safety_checker",))
    files = sorted(folder.glob(f"*/*{weights.SAFE}"))
    configs = {
        str(path.relative_to(folder)): dict(weights.read_config(path))
        for path in sorted(folder.glob("*/*config.json"))
        if not path.name.startswith("tokenizer")
    }
    texts = {part: tokenizing.digest(folder / part) for part, (_, kind) in parts(folder) if is_tokenizer(kind)}
    return weights.fingerprint(files, [dict(weights.read_config(folder / INDEX)), configs, texts])


def _pickled(part: str, name: str) -> UnsafeWeights:
    return UnsafeWeights(
        f"The part {part} has no safetensors weights, only {name}, which could run code when loaded: refused.",
        "Choose a model with .safetensors files.",
    )
