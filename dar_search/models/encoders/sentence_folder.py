"""A folder of sentence-transformers, read without loading it: its modules, its pictures' preparation, its dimension."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed, WeightsMissing
from dar_search.models import tokenizing, weights
from dar_search.models.encoders import picture_config
from dar_search.preparation import Preparation, Resample

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
MODEL_SETTINGS = "sentence_bert_config.json"
# The classes that are loaded, all of the library itself; whether they have weights.
_LOADED: Mapping[str, bool] = {
    "Transformer": True, "CLIPModel": True, "Pooling": False, "Normalize": False, "Dense": True, "LayerNorm": True,
}  # fmt: skip
_FIRST = ("Transformer", "CLIPModel")
_RESAMPLES: Mapping[int, Resample] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Image processors whose pictures are near their own size; the patch of each, where a folder does not say.
_OF_OWN_SIZE: Mapping[str, int] = {"Qwen2VLImageProcessor": 14, "Qwen3VLImageProcessor": 16}
_LEAST, _MOST = 56 * 56, 28 * 28 * 1280
MOST_PIXELS = 1 << 20
"""Of a picture that keeps its size: these models' own limits (16 million) are for documents, and cost as much."""
_INCIDENTAL = ("transformers_version", "_name_or_path", "__version__")


@dataclass(frozen=True, slots=True)
class Module:
    """One of modules.json: its class in sentence-transformers, and its folder beneath the model's ("" is itself)."""

    kind: str
    path: str


def modules(where: Path, *, model: str) -> list[Module]:
    """What modules.json names, in order. Raises ModelFailed for what is not loaded here, WeightsMissing."""
    try:
        rows = json.loads((where / MODULES).read_text(encoding="utf-8"))
        found = [(str(row["type"]), str(row["path"])) for row in rows]
    except FileNotFoundError as error:
        raise WeightsMissing(
            f"{model} is no folder of sentence-transformers: {where} has no {MODULES}.",
            "Is it one of transformers or open_clip? Then it is called transformers:... or open_clip:...",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMissing(f"{model}: {MODULES} cannot be read: {error!r}.", "Fetch the model again.") from error
    for kind, path in found:
        if not kind.startswith("sentence_transformers."):
            raise ModelFailed(
                f"{model} brings code of its own ({kind} in {MODULES}), which is not run.",
                "Choose a model made of the library's own classes, such as Qwen3-VL-Embedding, or one of open_clip.",
            )
        if kind.rpartition(".")[2] not in _LOADED or ".." in Path(path).parts or Path(path).is_absolute():
            raise ModelFailed(
                f"{model} has a module {kind} in {path!r}, which is not supported.",
                f"Supported are {', '.join(_LOADED)}.",
            )
    made = [Module(kind.rpartition(".")[2], path) for kind, path in found]
    if not made or made[0].kind not in _FIRST:
        raise ModelFailed(f"{model}'s first module is no {' or '.join(_FIRST)}.", "Choose a text and image model.")
    return made


def weights_files(where: Path, parts: Sequence[Module], *, model: str) -> list[Path]:
    """The safetensors files of all modules. Raises UnsafeWeights, WeightsMissing, ModelFailed."""
    return [file for part in parts if _LOADED[part.kind] for file in weights.check(where / part.path, model=model)]


def preparation(where: Path, *, model: str) -> Preparation:
    """How pictures are prepared, of the first module's folder: the library then finds nothing left to resize.

    Raises ModelFailed, WeightsMissing.
    """
    kind = str(weights.read_config(where / "config.json").get("model_type"))
    settings = _settings(where)
    pictures = {
        **picture_config.read(where, model=model),
        **{
            key: value for key, value in _given(settings, "processor_kwargs", "tokenizer_args").items() if key in _SIZES
        },
        **_given(_given(settings, "processing_kwargs"), "image"),
    }
    named = str(pictures.get("image_processor_type") or "")
    family = next((family for family in _OF_OWN_SIZE if named.startswith(family)), "")
    if family:
        return _own_size(pictures, _OF_OWN_SIZE[family], model)
    if not named and kind not in picture_config.USUAL:
        raise ModelFailed(f"{model} is a {kind} model, whose pictures' preparation is not known.", "Choose another.")
    return picture_config.preparation(pictures, kind, model=model)[0]


_SIZES = ("size", "min_pixels", "max_pixels", "patch_size", "merge_size", "resample", "crop_size")


def _own_size(pictures: Mapping[str, Any], patch: int, model: str) -> Preparation:
    size = pictures.get("size") or {}
    least = int(pictures.get("min_pixels") or size.get("shortest_edge") or _LEAST)
    most = int(pictures.get("max_pixels") or size.get("longest_edge") or _MOST)
    step = int(pictures.get("patch_size") or patch) * int(pictures.get("merge_size") or 2)
    resample = _RESAMPLES.get(int(pictures.get("resample") or 3))
    if resample is None or pictures.get("do_resize") is False or least > MOST_PIXELS:
        raise ModelFailed(f"{model}'s picture preparation is not supported: {dict(pictures)}.", "Choose another model.")
    return Preparation.own_ratio("blocks", resample, step=step, least=least, most=min(most, MOST_PIXELS))


def dimension(where: Path, parts: Sequence[Module], *, model: str) -> int:
    """Of the embeddings, as the configurations say. Raises ModelFailed where they do not."""
    cut = _optional(where / SETTINGS).get("truncate_dim")
    if cut:
        return int(cut)
    for part in reversed(parts):
        config = _optional(where / part.path / "config.json")
        if part.kind == "Dense":
            return int(config["out_features"])
        if part.kind == "Pooling":
            width = int(config.get("embedding_dimension") or config["word_embedding_dimension"])
            modes = config.get("pooling_mode")
            return width * (len(modes) if isinstance(modes, list) else 1)
    config = weights.read_config(where / parts[0].path / "config.json")
    text = config.get("text_config") or {}
    found = config.get("projection_dim") or text.get("projection_size") or text.get("hidden_size")
    if config.get("model_type") == "clip":
        found = config.get("projection_dim", 512)
    if not found:
        raise ModelFailed(f"{model} does not say how many dimensions its embeddings have.", "Choose another model.")
    return int(found)


def shaping(where: Path, parts: Sequence[Module]) -> dict[str, Any]:
    """All configuration that shapes an embedding, without the versions that saved it."""
    found = {SETTINGS: _optional(where / SETTINGS), "modules": [[part.kind, part.path] for part in parts]}
    names = ("config.json", MODEL_SETTINGS, picture_config.FILE, picture_config.WITHIN)
    for part in parts:
        for name in names:
            found[f"{part.path}/{name}"] = _optional(where / part.path / name)
    return {
        name: {key: value for key, value in one.items() if key not in _INCIDENTAL} if isinstance(one, dict) else one
        for name, one in found.items()
    }


def texts(where: Path, *, model: str) -> list[str]:
    """Digests of the tokenizer and of the chat templates of the first module's folder. Raises WeightsMissing."""
    tokenizing.require_files(where, model=model)
    template = str(_optional(where / tokenizing.CONFIG).get("chat_template") or "")
    files = sorted([*where.glob("chat_template*"), *where.glob("additional_chat_templates/*")])
    return [
        tokenizing.digest(where),
        hashlib.sha256(template.encode()).hexdigest(),
        *(weights.digest(file) for file in files if file.is_file()),
    ]


def settings(where: Path) -> Mapping[str, Any]:
    """The model's prompts and the like; empty where there are none."""
    return _optional(where / SETTINGS)


def _settings(where: Path) -> Mapping[str, Any]:
    return _optional(where / MODEL_SETTINGS)


def _given(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((value for name in names if isinstance(value := config.get(name), dict)), {})


def _optional(path: Path) -> Mapping[str, Any]:
    return weights.read_config(path) if path.is_file() else {}
