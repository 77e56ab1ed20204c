"""An Imaginer that samples image embeddings with a diffusion prior: no picture is drawn.

A folder in diffusers' layout, as Kandinsky's and UnCLIP's priors have it: model_index.json, prior/ (PriorTransformer),
scheduler/ or prior_scheduler/, text_encoder/ (CLIPTextModelWithProjection), tokenizer/. Each imagination
has a noise generator of its own, so that the first of sixteen is the first of one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dar_search.data import Imagination
from dar_search.errors import DimensionMismatch, ModelFailed, RequestError
from dar_search.models import tokenizing, weights
from dar_search.models.acceleration import accelerate
from dar_search.models.devices import failures_named, resolve_device, resolve_dtype
from dar_search.models.encoders.towers import unit_rows
from dar_search.models.identity import imagination_id
from dar_search.models.imaginers.prior_model import WEIGHTS, Prior, PriorOptions, load_prior, scheduler_part
from dar_search.models.options import read_options
from dar_search.ports import Encoder

_PARTS = ("prior", "scheduler", "prior_scheduler", "text_encoder", "tokenizer")
PATTERNS = (
    "model_index.json",
    *(f"{part}/*{ending}" for part in _PARTS for ending in (".json", ".txt", ".model", ".safetensors")),
)
# What the model's maker recommends may stand in model_index.json under this key, which diffusers ignores.
RECOMMENDED = "_dar_search"
_ROWS = 64


def prior_imaginer(
    source: str,
    encoder: Encoder,
    *,
    name: str = "",
    device: str = "auto",
    dtype: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> PriorImaginer:
    """An imaginer from a folder's path or a hub name.

    options: values for some of PriorOptions' fields; the others are as the model recommends.
    Raises WeightsMissing, UnsafeWeights, SettingsError, and DimensionMismatch for a prior of another space.
    """
    path = weights.folder(source, patterns=PATTERNS)
    label = name or f"prior:{path.resolve().name if weights.looks_local(source) else source}"
    index = weights.read_config(path / "model_index.json")
    if not isinstance(index.get("prior"), list):
        raise ModelFailed(
            f"{label} is a {index.get('_class_name')} of diffusers, which has no prior.",
            "A text-to-image model is called diffusers:FOLDER or diffusers:ORG/NAME.",
        )
    config = weights.read_config(path / "prior" / "config.json")
    dimension = int(config.get("clip_embed_dim") or config.get("embedding_dim") or 768)
    if dimension != encoder.provenance.dimension:
        raise DimensionMismatch(
            f"The imaginer {label} makes embeddings of dimension {dimension}, "
            f"the encoder {encoder.provenance.encoder} of {encoder.provenance.dimension}.",
            "A prior works only with the encoder that it was trained for: choose that encoder, or another imaginer.",
        )
    recommended = index.get(RECOMMENDED)
    values = {**(recommended if isinstance(recommended, dict) else {}), **(options or {})}
    chosen = read_options(PriorOptions, values, model=label)
    return PriorImaginer(path, label, index, chosen, device=device, dtype=dtype)


class PriorImaginer:
    """See the module. Its weights load at the first imagination; safe to call from several threads."""

    def __init__(
        self, path: Path, name: str, index: Mapping[str, Any], options: PriorOptions, *, device: str, dtype: str
    ) -> None:
        self._path = path
        self._name = name
        self._index = index
        self.options = options
        self._device_name = device
        self._dtype_name = dtype
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        return self._name

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        """The id of the imagination that `imagine` would give: what a cache looks up. Loads nothing but digests."""
        options = self._for(steps)
        shaping = [getattr(options, field.name) for field in fields(PriorOptions) if "compile" not in field.name]
        return imagination_id(self._revision, prompt, seed, *shaping)

    @property
    def batch(self) -> int:
        """Imaginations that are sampled at once."""
        return _ROWS

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        return self.imagine_all([(prompt, count, seed)], steps=steps)[0]

    def imagine_all(
        self, requests: Sequence[tuple[str, int, int]], *, steps: int | None = None
    ) -> list[tuple[Imagination, ...]]:
        """(prompt, count, seed) of each -> what `imagine` gives for each, sampled together."""
        options = self._for(steps)
        if any(count < 1 for _, count, _ in requests):
            raise RequestError("No imaginations were asked for.", "Ask for at least one.")
        wanted = [(prompt, one) for prompt, count, seed in requests for one in range(seed, seed + count)]
        with self._lock, failures_named(f"Imagining with {self._name}"):
            sample = self._prior.mean if options.mode == "mean" else self._prior.sample
            parts = []
            for at in range(0, len(wanted), _ROWS):
                prompts, seeds = zip(*wanted[at : at + _ROWS], strict=True)
                parts.append(sample(self._prior.condition(prompts, options.guidance), seeds, options))
        embeddings = unit_rows(np.concatenate(parts), self._name)
        made = iter(
            Imagination(self.key(prompt, one, steps), embedding, prompt, one)
            for (prompt, one), embedding in zip(wanted, embeddings, strict=True)
        )
        return [tuple(islice(made, count)) for _, count, _ in requests]

    def warm_up(self) -> None:
        """Load now what would otherwise be loaded at the first imagination."""
        self.imagine("warm up", count=1, seed=0)

    def _for(self, steps: int | None) -> PriorOptions:
        if self.options.mode == "mean":
            return replace(self.options, steps=1)
        chosen = self.options if steps is None else replace(self.options, steps=steps)
        if chosen.steps == 1 and self._scheduler_class == "UnCLIPScheduler":
            raise RequestError(f"The imaginer {self._name} needs at least 2 steps.", "Ask for more steps.")
        return chosen

    @cached_property
    def _scheduler_class(self) -> str:
        return str(self._index[scheduler_part(self._index)][1])

    @cached_property
    def _revision(self) -> str:
        scheduler = scheduler_part(self._index)
        files = [weights.choose(self._path / part, WEIGHTS, model=self._name) for part in ("prior", "text_encoder")]
        configs = ("prior/config.json", "text_encoder/config.json", f"{scheduler}/scheduler_config.json")
        shape = [dict(weights.read_config(self._path / config)) for config in configs]
        return weights.fingerprint(files, [*shape, tokenizing.digest(self._path / "tokenizer")])

    @cached_property
    def _prior(self) -> Prior:
        device = resolve_device(self._device_name)
        with failures_named(f"Loading {self._name}"):
            dtype = resolve_dtype(self._dtype_name, device)
            prior = load_prior(self._path, self._name, self._index, device, dtype)
            accelerate(
                [prior.transformer],
                channels_last=False,
                compile=self.options.compile,
                backend=self.options.compile_backend,
            )
            return prior
