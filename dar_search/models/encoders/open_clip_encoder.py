"""Encoders of open_clip: any architecture with any of its pretrained tags, or a folder that open_clip can load.

The picture geometry follows open_clip's `image_transform` (open_clip 3, transform.py) and the model's own
configuration; the demo's encoder is such a folder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar_search.data import Provenance
from dar_search.errors import ModelFailed, UnknownModel, UnsafeWeights
from dar_search.models import checkpoint_files, hub, tokenizing, weights
from dar_search.models.completeness import buffers, require_complete
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.encoders.towers import DEFAULTS, Card, Towers, TowersEncoder, TowersOptions, cut
from dar_search.models.reformulators.spelling import nearest
from dar_search.preparation import Fit, Preparation

if TYPE_CHECKING:
    import torch

CONFIG = "open_clip_config.json"
HUB_PREFIX = "hf-hub:"
# The names on the hub where open_clip's table says only the repository.
HUB_WEIGHTS = ("open_clip_pytorch_model.safetensors", "open_clip_model.safetensors")
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
# open_clip prefers these names to model.safetensors; its loader must not get to choose one.
_PREFERRED_PICKLES = ("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth")
_DEFAULTS: Mapping[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
# "random" is for training; at other times open_clip takes it for bicubic.
_KNOWN: Mapping[str, Sequence[str]] = {
    "mode": ("RGB",),
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
}
_FITS: Mapping[str, Fit] = {"shortest": "crop", "longest": "pad", "squash": "squash"}
_CACHED_WORDS = 50_000
# Tokenizers of SigLIP 2 that leave capital letters to their caller.
_UNLOWERED = ("GemmaTokenizer", "GemmaTokenizerFast")


def open_clip_encoder(
    source: str,
    *,
    name: str = "",
    device: str = "auto",
    dtype: str = "auto",
    options: TowersOptions = DEFAULTS,
) -> TowersEncoder:
    """An encoder from ARCH/PRETRAINED (as `open_clip.list_pretrained` has them), hf-hub:ORG/NAME, or a folder's path.

    name: what provenance calls it; by default `open_clip:` and the source, without the path of this machine.
    Raises UnknownModel at once for an architecture that open_clip does not have; WeightsMissing at once for a
    folder without configuration; what else is wrong is raised on first use.
    """
    path = Path(source).expanduser()
    if path.exists():
        weights.read_config(weights.folder(source, patterns=()) / CONFIG)
        card = partial(_card_of_folder, path, name or f"open_clip:{path.resolve().name}")
    elif source.startswith(HUB_PREFIX):
        card = partial(_card_of_hub, source.removeprefix(HUB_PREFIX), name or f"open_clip:{source}")
    else:
        architecture, _, tag = source.rpartition("/")
        _require_architecture(architecture, source)
        card = partial(_card_of_tag, architecture, tag, name or f"open_clip:{source}")
    return TowersEncoder(card, device=device, dtype=dtype, options=options)


def _card_of_folder(path: Path, name: str) -> Card:
    config = weights.read_config(path / CONFIG)
    try:
        model, preprocessing = config["model_cfg"], config.get("preprocess_cfg", {})
        preparation, mean, std = _geometry(model, preprocessing)
        dimension = int(model["embed_dim"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFailed(f"{path / CONFIG} is no open_clip configuration: {error!r}.") from error
    file = weights.choose(path, _WEIGHTS, model=name)
    beside = [other for other in _PREFERRED_PICKLES if (path / other).exists()]
    if file.name == "model.safetensors" and beside:
        raise UnsafeWeights(
            f"{path} has pickled weights ({beside[0]}), which open_clip would prefer.", "Remove the pickled file."
        )
    shape = {"model_cfg": model, "preprocess_cfg": preprocessing}
    if model.get("text_cfg", {}).get("hf_tokenizer_name"):
        # open_clip takes it from this folder then, whatever the name.
        tokenizing.require_files(path, model=name)
    # Without a tokenizer of its own, a model has the one that comes with open_clip.
    revision = weights.revision([file], shape, tokenizing.digest(path))
    provenance = Provenance(name, revision, dimension, preparation.describe())
    return Card(provenance, preparation, mean, std, partial(_load, f"local-dir:{path}", file, False, name))


def _card_of_hub(repository: str, name: str) -> Card:
    patterns = ("*.json", "*.txt", "*.model", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
    return _card_of_folder(weights.folder(repository, patterns=patterns, ignore=("*/*",)), name)


def _card_of_tag(architecture: str, tag: str, name: str) -> Card:
    weights.require("torch", "open_clip")
    with quiet_libraries():
        import open_clip

        model = open_clip.get_model_config(architecture)
        pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    if not pretrained:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise UnknownModel(
            f"open_clip has no pretrained weights {tag!r} for {architecture}.", nearest(tag, tags, "Known tags")
        )
    file = _fetched(pretrained, f"open_clip:{architecture}/{tag}")
    preparation, mean, std = _geometry(model, pretrained)
    # Both are open_clip's own tables, which a release of it may mend.
    prepared = {"text_cfg": model.get("text_cfg"), "mean": mean, "std": std}
    revision = weights.revision([file], texts=prepared)
    provenance = Provenance(name, revision, int(model["embed_dim"]), preparation.describe())
    # The tag says how its weights were trained; the architecture's own setting is only a default.
    quick_gelu = bool(pretrained.get("quick_gelu", False))
    return Card(provenance, preparation, mean, std, partial(_load, architecture, file, quick_gelu, name))


def _fetched(pretrained: Mapping[str, Any], name: str) -> Path:
    """The safetensors file of a pretrained tag, from the hub."""
    repository, filenames = _on_the_hub(pretrained)
    if not repository:
        raise UnsafeWeights(
            f"{name} is published as a pickled file only, which could run code when loaded: refused.",
            "Choose a tag whose weights are on the Hugging Face hub, such as open_clip:ViT-B-32/laion2b_s34b_b79k.",
        )
    try:
        return hub.hub_file(repository, filenames)
    except UnsafeWeights as error:
        raise UnsafeWeights(f"{name}: its weights on the hub are pickled only: refused.", error.hint) from error


def place_on_hub(source: str) -> tuple[str, Sequence[str]]:
    """Of ARCH/PRETRAINED the hub's repository, "" where it has none, and the names that its weights may have there.

    Raises ModelFailed where open_clip is not installed.
    """
    weights.require("torch", "open_clip")
    with quiet_libraries():
        import open_clip

        architecture, _, tag = source.rpartition("/")
        return _on_the_hub(open_clip.get_pretrained_cfg(architecture, tag))


def _on_the_hub(pretrained: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    repository, _, filename = str(pretrained.get("hf_hub", "")).rpartition("/")
    names = (f"{Path(filename).stem}{weights.SAFE}",) if filename else ()
    return repository, (*names, *(name for name in HUB_WEIGHTS if name not in names))


def _require_architecture(architecture: str, source: str) -> None:
    weights.require("open_clip")
    package = importlib.util.find_spec("open_clip")
    places = (package.submodule_search_locations if package else None) or []
    known = [file.stem for place in places for file in Path(place, "model_configs").glob("*.json")]
    if architecture not in known:
        hint = nearest(architecture or source, known, "Known architectures")
        raise UnknownModel(
            f"{source!r} is neither a folder nor an ARCHITECTURE/PRETRAINED of open_clip.",
            f"{hint} A folder needs {CONFIG}.",
        )


def _geometry(
    model: Mapping[str, Any], preprocessing: Mapping[str, Any]
) -> tuple[Preparation, tuple[float, float, float], tuple[float, float, float]]:
    given = {**_DEFAULTS, **{key: value for key, value in preprocessing.items() if value is not None}}
    size = model["vision_cfg"].get("image_size", 224)
    height, width = (int(size), int(size)) if isinstance(size, int | float) else (int(size[0]), int(size[1]))
    for key, known in _KNOWN.items():
        if given.get(key, known[0]) not in known:
            raise ModelFailed(
                f"The picture preparation has {key} = {given[key]!r}, which open_clip does not have.",
                f"Known: {', '.join(map(str, known))}. See preprocess_cfg in {CONFIG}.",
            )
    preparation = Preparation(
        height=height,
        width=width,
        fit=_FITS[given["resize_mode"]],
        resample="bilinear" if given["interpolation"] == "bilinear" else "bicubic",
        fill=int(given["fill_color"]),
    )
    return preparation, _channels(given["mean"]), _channels(given["std"])


def _channels(value: float | Sequence[float]) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return (float(value),) * 3
    red, green, blue = value
    return (float(red), float(green), float(blue))


def _load(model_name: str, file: Path, quick_gelu: bool, name: str, device: torch.device, dtype: torch.dtype) -> Towers:
    weights.require("torch", "open_clip")
    import torch

    with quiet_libraries():
        import open_clip

        precision = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
        # Only whole checkpoints: no tower may fetch weights of its own.
        model = open_clip.create_model(
            model_name,
            load_weights=False,
            precision=precision,
            device=device,
            force_quick_gelu=quick_gelu,
            pretrained_image=False,
            pretrained_text=False,
        )
        _fill(model, file, name)
        tokenizer = open_clip.get_tokenizer(model_name)
    own = getattr(tokenizer, "tokenizer", None)
    if own is not None:
        own.padding_side = "right"
        tokenizing.require_fit(own, _rows(model), model=name)
        _require_end(model, own, name)
    elif not tokenizing.fits(tokenizer.vocab_size, _rows(model)):
        raise ModelFailed(
            f"{name} has no tokenizer of its own; that of open_clip has {tokenizer.vocab_size:,} tokens, its weights "
            f"{_rows(model):,}.",
            f"Copy the model's tokenizer files there, and set text_cfg.hf_tokenizer_name in {CONFIG}.",
        )
    lowered = type(own).__name__ in _UNLOWERED
    return OpenClipTowers(model.eval().requires_grad_(False), tokenizer, device, lowered)


def _fill(model: Any, file: Path, name: str) -> None:
    """Loads the weights. Raises WeightsMissing, ModelFailed where they are not the model's, all and alone."""
    import open_clip

    there = checkpoint_files.shapes(file)
    # open_clip stretches position embeddings of another size to fit, without a word.
    others = [
        (key, there[key], tuple(value.shape))
        for key, value in model.state_dict().items()
        if key in there and there[key] != tuple(value.shape) and not key.startswith("logit_")
    ]
    kind = type(model).__name__
    report = {"missing_keys": (), "unexpected_keys": (), "mismatched_keys": others}
    require_complete(report, model=name, kind=kind)
    found = open_clip.load_checkpoint(model, str(file), strict=False)
    report = {"missing_keys": found.missing_keys, "unexpected_keys": found.unexpected_keys, "mismatched_keys": ()}
    require_complete(report, model=name, kind=kind, buffers=buffers(model))


def _rows(model: Any) -> int:
    """The rows of the text embedding: of the model itself (CLIP), its text tower, or that tower's own library."""
    text = getattr(model, "text", None) or model
    if hasattr(text, "token_embedding"):
        return int(text.token_embedding.num_embeddings)
    return int(text.transformer.get_input_embeddings().num_embeddings)


def _require_end(model: Any, tokenizer: Any, name: str) -> None:
    """A text's vector may be that of its largest token, which its end must be then."""
    text = getattr(model, "text", None) or model
    pooled = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", None)
    if pooled == "argmax" and not tokenizing.ends_with_largest(tokenizer):
        raise ModelFailed(
            f"{name}'s tokenizer ends a text with token {tokenizer.eos_token_id}, which is not its largest, where its "
            "weights look for the end: it is another model's tokenizer.",
            "Copy the tokenizer files from where the weights are from.",
        )


@dataclass(frozen=True, slots=True)
class OpenClipTowers:
    """A model of open_clip with its tokenizer. lowered: texts are lower-cased, as in training."""

    model: Any
    tokenizer: Any
    device: torch.device
    lowered: bool = False

    @property
    def parts(self) -> Sequence[Any]:
        # A text tower is a module of its own (CustomTextCLIP), or the model's own transformer (CLIP).
        return self.model.visual, getattr(self.model, "text", None) or self.model.transformer

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        length = self.tokenizer.context_length or 77
        tokens = self.tokenizer([cut(text.lower() if self.lowered else text, length) for text in texts])
        cache = getattr(self.tokenizer, "cache", None)
        if isinstance(cache, dict) and len(cache) > _CACHED_WORDS:
            # open_clip remembers every word that it ever saw; a service must not grow with what it is asked.
            for word in list(cache)[2 : len(cache) // 2]:
                del cache[word]
        return self.model.encode_text(tokens.to(self.device))  # type: ignore[no-any-return]

    def pictures(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(pixels)  # type: ignore[no-any-return]
