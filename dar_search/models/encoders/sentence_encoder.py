"""Encoders of sentence-transformers: any model of texts and pictures that is made of the library's own classes.

CLIP and SigLIP in its layout, and vision-language models such as Qwen3-VL-Embedding. Texts are queries and pictures are
documents, so each has the prompt that the model's makers chose for it (`encode_query`, `encode_document`). Embeddings
are at unit length, whatever the model's own similarity. Code that comes with a model (jina-clip's) is not run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dar_search.data import Provenance
from dar_search.models import weights
from dar_search.models.completeness import buffers, require_complete
from dar_search.models.encoders import sentence_folder
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.encoders.towers import DEFAULTS, Card, TowersEncoder, TowersOptions, cut

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
IGNORED = ("onnx/*", "openvino/*")
_MOST_TOKENS = 8192
# Weights for writing text, which an embedding has no use for.
_WRITING = "lm_head."


def sentence_encoder(
    source: str, *, device: str = "auto", dtype: str = "auto", options: TowersOptions = DEFAULTS
) -> TowersEncoder:
    """An encoder from a folder's path or a hub name.

    Raises WeightsMissing and ModelFailed at once for a path that cannot be loaded; what else is wrong on first use.
    """
    local = weights.looks_local(source)
    if local:
        where = weights.folder(source, patterns=PATTERNS)
        sentence_folder.modules(where, model=source)
    label = f"sentence-transformers:{Path(source).expanduser().resolve().name if local else source}"
    return TowersEncoder(partial(_card, source, label), device=device, dtype=dtype, options=options)


def _card(source: str, name: str) -> Card:
    where = weights.folder(source, patterns=PATTERNS, ignore=IGNORED)
    parts = sentence_folder.modules(where, model=name)
    first = where / parts[0].path
    preparation = sentence_folder.preparation(first, model=name)
    files = sentence_folder.weights_files(where, parts, model=name)
    revision = weights.revision(files, sentence_folder.shaping(where, parts), sentence_folder.texts(first, model=name))
    dimension = sentence_folder.dimension(where, parts, model=name)
    provenance = Provenance(name, revision, dimension, preparation.describe())
    unused = (0.0, 0.0, 0.0)  # the library normalises
    return Card(provenance, preparation, unused, unused, partial(_load, where, parts, name), whole=True)


def _load(
    where: Path, parts: Sequence[sentence_folder.Module], name: str, device: torch.device, dtype: torch.dtype
) -> SentenceTowers:
    weights.require("torch", "transformers")
    weights.require("sentence_transformers", extra="sentence-transformers")
    with quiet_libraries():
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer import modules as kinds

    class Checked(Transformer):  # type: ignore[misc]
        """The library's, which says what the checkpoint lacked."""

        def _load_model(self, *args: Any, **kwargs: Any) -> Any:
            model, report = super()._load_model(*args, **kwargs, output_loading_info=True, ignore_mismatched_sizes=True)
            over = [key for key in report["unexpected_keys"] if not str(key).startswith(_WRITING)]
            saved_as = model.config.architectures or ()
            require_complete(
                {**report, "unexpected_keys": over}, model=name, kind=type(model).__name__, saved_as=saved_as,
                buffers=buffers(model),
            )  # fmt: skip
            return model

    with quiet_libraries():
        settings = sentence_folder.settings(where)
        first = {"model_kwargs": {"dtype": dtype, "use_safetensors": True}}
        loaded = [
            (Checked if number == 0 else getattr(kinds, part.kind)).load(
                str(where), subfolder=part.path, local_files_only=True, trust_remote_code=False,
                **(first if number == 0 else {}),
            )
            for number, part in enumerate(parts)
        ]  # fmt: skip
        model = SentenceTransformer(
            modules=loaded,
            prompts=settings.get("prompts") or None,
            default_prompt_name=settings.get("default_prompt_name"),
            truncate_dim=settings.get("truncate_dim"),
            device=str(device),
            local_files_only=True,
        )
    model.to(dtype).eval().requires_grad_(False)
    return SentenceTowers(model, min(int(model.max_seq_length or _MOST_TOKENS), _MOST_TOKENS))


@dataclass(frozen=True, slots=True)
class SentenceTowers:
    """A loaded model; encodes one call at a time, for its tokenizer is not to be shared."""

    model: Any
    context: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def parts(self) -> Sequence[Any]:
        return (self.model[0].auto_model,)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """n texts -> (n, d)."""
        # As a dictionary: a text alone that is an address or a path would be fetched or opened as a picture.
        return self._encoded(self.model.encode_query, [{"text": cut(text, self.context)} for text in texts])

    def whole_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """(height, width, 3) of each -> (n, d)."""
        return self._encoded(self.model.encode_document, [{"image": Image.fromarray(one)} for one in pictures])

    def _encoded(self, encode: Any, given: list[dict[str, Any]]) -> torch.Tensor:
        with self.lock:
            made: torch.Tensor = encode(given, convert_to_tensor=True, batch_size=len(given), show_progress_bar=False)
            return made
