"""Encoders of transformers: CLIP, SigLIP, SigLIP 2 (of fixed resolution, and NaFlex), and BLIP image-text retrieval.

BLIP is what the DAR and ChatIR papers search with: the projected first token of the picture and of the text, as the
contrastive half of `BlipForImageTextRetrieval` has them. Their released evaluation joins all reformulations so far
with the text encoder's separator token; the tokenizer takes "[SEP]" in a text as that token.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar_search.data import Provenance
from dar_search.errors import ModelFailed
from dar_search.models import tokenizing, weights
from dar_search.models.completeness import buffers, require_complete
from dar_search.models.encoders import naflex, picture_config
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.encoders.towers import DEFAULTS, Card, Towers, TowersEncoder, TowersOptions, cut
from dar_search.preparation import Preparation

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")
IGNORED = ("*/*",)
SEPARATOR = "[SEP]"
# model_type of config.json -> the class, and what config.json leaves out where it is the default: the embedding's
# dimension, and the side of its pictures.
_CLASSES: Mapping[str, tuple[str, int, int]] = {
    "clip": ("CLIPModel", 512, 224),
    "siglip": ("SiglipModel", 768, 224),
    "siglip2": ("Siglip2Model", 768, 0),  # pictures of their own shape
    "blip": ("BlipForImageTextRetrieval", 256, 384),
}


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
            "Choose a CLIP, SigLIP or BLIP image-text retrieval model, or an open_clip or sentence-transformers one.",
        )
    pictures = picture_config.read(where, model=name)
    if kind == "siglip2":
        preparation, mean, std = naflex.preparation(pictures, config, model=name)
    else:
        preparation, mean, std = picture_config.preparation(pictures, kind, model=name)
        _require_size(config, kind, preparation, name)
    files = weights.check(where, model=name)
    shape = {"config": {**config, "transformers_version": "", "_name_or_path": ""}, "pictures": dict(pictures)}
    tokenizing.require_files(where, model=name)
    revision = weights.revision(files, shape, tokenizing.digest(where))
    provenance = Provenance(name, revision, _dimension(kind, config), preparation.describe())
    patches = None
    if preparation.keeps_ratio:
        patches = naflex.Patches(preparation.step, preparation.most // preparation.step**2, mean, std)
    load = partial(_load, where, kind, name, patches)
    return Card(provenance, preparation, mean, std, load, whole=patches is not None)


def _dimension(kind: str, config: Mapping[str, Any]) -> int:
    default = _CLASSES[kind][1]
    if kind == "clip":
        return int(config.get("projection_dim", default))
    if kind == "blip":
        return int(config.get("image_text_hidden_size", default))
    text = config.get("text_config") or {}
    return int(text.get("projection_size") or text.get("hidden_size", default))


def _require_size(config: Mapping[str, Any], kind: str, preparation: Preparation, name: str) -> None:
    vision = config.get("vision_config") or config.get("vision_config_dict") or {}
    size = int(vision.get("image_size", _CLASSES[kind][2]))
    if (preparation.height, preparation.width) != (size, size):
        raise ModelFailed(
            f"{name}'s pictures are prepared as {preparation.describe()}, but its weights take {size}x{size}.",
            f"Is {picture_config.FILE} of another model? Fetch it from where the weights are from.",
        )


def _load(
    where: Path, kind: str, name: str, patches: naflex.Patches | None, device: torch.device, dtype: torch.dtype
) -> Towers:
    weights.require("torch", "transformers", "ftfy")
    import transformers

    model_class = getattr(transformers, _CLASSES[kind][0])
    with quiet_libraries():
        # Sizes that differ are in the report then, by name; else there is an error that only points at a log.
        model, report = model_class.from_pretrained(
            where,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        saved_as = model.config.architectures or ()
        require_complete(report, model=name, kind=_CLASSES[kind][0], saved_as=saved_as, buffers=buffers(model))
        tokenizer = tokenizing.load(where, model=name)
    text_config = model.config.text_config
    tokenizing.require_fit(tokenizer, int(text_config.vocab_size), model=name)
    if kind == "clip":
        tokenizing.require_clip_end(tokenizer, text_config.eos_token_id, model=name)
    # All three were trained with texts padded on the right; SigLIP's vector is that of the last place.
    tokenizer.padding_side = "right"
    model.to(device).eval().requires_grad_(False)
    context = min(int(text_config.max_position_embeddings), int(tokenizer.model_max_length))
    if kind == "blip":
        return BlipTowers(model, tokenizer, device, context)
    if kind == "clip":
        return ClipTowers(model, tokenizer, device, context, clean=_mended)
    # SigLIP's own tokenizer lowers, and leaves out punctuation. SigLIP 2 was trained on lower-cased texts, which its
    # tokenizer in transformers does not do. Source: big_vision's SigLIP 2, transformers #43054.
    clean = str if isinstance(tokenizer, transformers.SiglipTokenizer) else str.lower
    if patches:
        return NaflexTowers(model, tokenizer, device, context, padded=True, clean=clean, patches=patches)
    return ClipTowers(model, tokenizer, device, context, padded=True, clean=clean)


def _mended(text: str) -> str:
    """As CLIP's own tokenizer does to a text before all else, and that of transformers does not.

    Typographic quotes become plain ones, and HTML entities letters. Source: openai/CLIP, open_clip.
    """
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


@dataclass(frozen=True, slots=True)
class ClipTowers:
    """CLIP and SigLIP.

    Attributes:
        padded: SigLIP was trained with every text padded to its full context, without a mask.
        clean: what training did to a text before its tokenizer.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    context: int
    padded: bool = False
    clean: Callable[[str], str] = str

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
            [self.clean(cut(text, self.context)) for text in texts],
            padding="max_length" if self.padded else "longest",
            truncation=True,
            max_length=self.context,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.device)


@dataclass(frozen=True, slots=True)
class NaflexTowers(ClipTowers):
    """SigLIP 2 whose pictures are of their own shape.

    Attributes:
        patches: makes patches of pictures.
    """

    patches: naflex.Patches | None = None

    def whole_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """(height, width, 3) of each, in whole patches -> (n, d)."""
        assert self.patches is not None  # noqa: S101  # for mypy
        given = self.patches.of(pictures, self.device, self.model.dtype)
        return _pooled(self.model.get_image_features(**given))


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
