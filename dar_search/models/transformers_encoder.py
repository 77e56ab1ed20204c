"""Encoders of transformers: CLIP, SigLIP (and SigLIP 2 with fixed resolution), and BLIP image-text retrieval.

BLIP is what the DAR and ChatIR papers search with: the projected first token of the picture and of the text, as the
contrastive half of `BlipForImageTextRetrieval` has them. Their released evaluation joins all reformulations so far
with the text encoder's separator token; the tokenizer takes "[SEP]" in a text as that token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar_search.data import Provenance
from dar_search.errors import ModelFailed
from dar_search.models import weights
from dar_search.models.quiet import quiet_libraries
from dar_search.models.towers import DEFAULTS, Card, Towers, TowersEncoder, TowersOptions, cut
from dar_search.preparation import Preparation, Resample

if TYPE_CHECKING:
    import torch

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")
IGNORED = ("*/*",)
SEPARATOR = "[SEP]"
# model_type of config.json -> the class, and the embedding's dimension where config.json leaves it at the default.
_CLASSES: Mapping[str, tuple[str, int]] = {
    "clip": ("CLIPModel", 512),
    "siglip": ("SiglipModel", 768),
    "blip": ("BlipForImageTextRetrieval", 256),
}
_RESAMPLES: Mapping[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def transformers_encoder(
    source: str,
    *,
    name: str = "",
    device: str = "auto",
    dtype: str = "auto",
    options: TowersOptions = DEFAULTS,
) -> TowersEncoder:
    """An encoder from a folder's path or a hub name; name: what provenance calls it.

    Raises WeightsMissing at once for a path that is no model folder; what else is wrong is raised on first use.
    """
    local = weights.looks_local(source)
    if local:
        where = weights.folder(source, patterns=PATTERNS)
        weights.read_config(where / "config.json")
    label = name or f"transformers:{Path(source).expanduser().resolve().name if local else source}"
    return TowersEncoder(partial(_card, source, label), device=device, dtype=dtype, options=options)


def _card(source: str, name: str) -> Card:
    where = weights.folder(source, patterns=PATTERNS, ignore=IGNORED)
    config = weights.read_config(where / "config.json")
    kind = str(config.get("model_type"))
    if kind not in _CLASSES:
        raise ModelFailed(
            f"{name} is a {kind} model, which is no encoder that is supported.",
            "Choose a CLIP, SigLIP or BLIP image-text retrieval model, or an open_clip one.",
        )
    try:
        pictures = _picture_config(where)
        preparation = _preparation(pictures, name)
        mean, std = (tuple(float(value) for value in pictures[key]) for key in ("image_mean", "image_std"))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelFailed(f"{name}'s picture preparation cannot be read: {error!r}.") from error
    if len(mean) != 3 or len(std) != 3:
        raise ModelFailed(f"{name}'s picture preparation is not for pictures of three channels.")
    files = weights.check(where, model=name)
    shape = {"config": {**config, "transformers_version": "", "_name_or_path": ""}, "pictures": dict(pictures)}
    provenance = Provenance(name, weights.revision(files, shape), _dimension(kind, config), preparation.describe())
    return Card(provenance, preparation, mean, std, partial(_load, where, kind))


def _dimension(kind: str, config: Mapping[str, Any]) -> int:
    default = _CLASSES[kind][1]
    if kind == "clip":
        return int(config.get("projection_dim", default))
    if kind == "blip":
        return int(config.get("image_text_hidden_size", default))
    text = config.get("text_config") or {}
    return int(text.get("projection_size") or text.get("hidden_size", default))


def _picture_config(where: Path) -> Mapping[str, Any]:
    """What an image processor saved: in a file of its own, or inside its processor's."""
    if (where / "preprocessor_config.json").is_file():
        return weights.read_config(where / "preprocessor_config.json")
    found = weights.read_config(where / "processor_config.json")["image_processor"]
    if not isinstance(found, dict):
        raise TypeError("image_processor is no object")
    return found


def _preparation(config: Mapping[str, Any], name: str) -> Preparation:
    size, crop = config["size"], config.get("crop_size")
    resample = _RESAMPLES[int(config.get("resample", 3))]
    if isinstance(size, int):
        size = {"shortest_edge": size} if config.get("do_center_crop") else {"height": size, "width": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    if not config.get("do_resize", True):
        raise ModelFailed(f"{name} takes pictures of any size, which is not supported.")
    if "shortest_edge" not in size:
        return Preparation(int(size["height"]), int(size["width"]), "squash", resample)
    edge = int(size["shortest_edge"])
    if not config.get("do_center_crop") or crop != {"height": edge, "width": edge}:
        raise ModelFailed(f"{name} resizes to {size} and crops to {crop}, which is not supported.")
    return Preparation(edge, edge, "crop-floor", resample)


def _load(where: Path, kind: str, device: torch.device, dtype: torch.dtype) -> Towers:
    weights.require("torch", "transformers")
    import transformers

    with quiet_libraries():
        model = getattr(transformers, _CLASSES[kind][0]).from_pretrained(
            where, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    model.to(device).eval().requires_grad_(False)
    text_config = model.config.text_config
    context = min(int(text_config.max_position_embeddings), int(tokenizer.model_max_length))
    return (BlipTowers if kind == "blip" else ClipTowers)(model, tokenizer, device, context, kind == "siglip")


@dataclass(frozen=True, slots=True)
class ClipTowers:
    """CLIP and SigLIP. `padded`: SigLIP was trained with every text padded to its full context, without a mask."""

    model: Any
    tokenizer: Any
    device: torch.device
    context: int
    padded: bool

    @property
    def parts(self) -> Sequence[Any]:
        return self.model.vision_model, self.model.text_model

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        tokens = self._tokens(texts)
        mask = None if self.padded else tokens["attention_mask"]
        return _pooled(self.model.get_text_features(input_ids=tokens["input_ids"], attention_mask=mask))

    def pictures(self, pixels: torch.Tensor) -> torch.Tensor:
        return _pooled(self.model.get_image_features(pixel_values=pixels))

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self.tokenizer(
            [cut(text, self.context) for text in texts],
            padding="max_length" if self.padded else "longest",
            truncation=True,
            max_length=self.context,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.device)


@dataclass(frozen=True, slots=True)
class BlipTowers(ClipTowers):
    """The contrastive half of BLIP: `BlipForImageTextRetrieval.forward(use_itm_head=False)`, each tower alone."""

    @property
    def parts(self) -> Sequence[Any]:
        return self.model.vision_model, self.model.text_encoder

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        tokens = self._tokens(texts)
        hidden = self.model.text_encoder(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state
        return self.model.text_proj(hidden[:, 0])  # type: ignore[no-any-return]

    def pictures(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden = self.model.vision_model(pixel_values=pixels).last_hidden_state
        return self.model.vision_proj(hidden[:, 0])  # type: ignore[no-any-return]


def _pooled(output: Any) -> torch.Tensor:
    """The features: a tensor in early releases of transformers 5, a field of the output since."""
    return getattr(output, "pooler_output", output)  # type: ignore[no-any-return]
