"""An Imaginer that samples image embeddings with a diffusion prior: no picture is drawn.

A folder in diffusers' layout, as Kandinsky's and UnCLIP's priors have it: model_index.json, prior/ (PriorTransformer),
scheduler/ or prior_scheduler/, text_encoder/ (CLIPTextModelWithProjection), tokenizer/. The denoising loop follows
diffusers' KandinskyPriorPipeline, without its image encoder; each imagination has a noise generator of its own, so
that the first of sixteen is the first of one.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dar_search.data import FloatArray, Imagination
from dar_search.errors import DimensionMismatch, ModelFailed, RequestError, SettingsError
from dar_search.models import weights
from dar_search.models.devices import failures_named, resolve_device, resolve_dtype
from dar_search.models.identity import imagination_id
from dar_search.models.options import read_options
from dar_search.models.quiet import quiet_libraries
from dar_search.models.towers import unit_rows
from dar_search.ports import Encoder

if TYPE_CHECKING:
    import torch

_PARTS = ("prior", "scheduler", "prior_scheduler", "text_encoder", "tokenizer")
PATTERNS = (
    "model_index.json",
    *(f"{part}/*{ending}" for part in _PARTS for ending in (".json", ".txt", ".safetensors")),
)
# What the model's maker recommends may stand in model_index.json under this key, which diffusers ignores.
RECOMMENDED = "_dar_search"
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_ROWS = 64
_MEAN_DRAWS = 4


@dataclass(frozen=True, slots=True)
class PriorOptions:
    """How to sample.

    Attributes:
        mode: "sample" runs the denoising loop; "mean" takes the one-step prediction from pure noise, which is near
            the mean of all samples (averaged over a few draws of noise), and needs a prior that predicts the
            embedding or the velocity.
        steps: where a request names none; the "mean" has no steps.
        guidance: classifier-free guidance scale (Ho and Salimans, 2022), 1: none.
        eta: DDIM's stochasticity, 0: deterministic from the initial noise. Other schedulers ignore it.
    """

    mode: Literal["sample", "mean"] = "sample"
    steps: int = 25
    guidance: float = 4.0
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in ("sample", "mean") or self.steps < 1 or self.guidance < 1 or not 0 <= self.eta <= 1:
            raise SettingsError(f"The prior cannot be sampled so: {self}.", "steps and guidance >= 1, eta from 0 to 1.")


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
        return imagination_id(
            self._revision, prompt, seed, *(getattr(options, field.name) for field in fields(PriorOptions))
        )

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        options = self._for(steps)
        if count < 1:
            raise RequestError(f"{count} imaginations were asked for.", "Ask for at least one.")
        seeds = range(seed, seed + count)
        with self._lock, failures_named(f"Imagining with {self._name}"):
            sample = self._prior.mean if options.mode == "mean" else self._prior.sample
            condition = self._prior.condition(prompt, options.guidance)
            parts = [sample(condition, seeds[at : at + _ROWS], options) for at in range(0, count, _ROWS)]
        embeddings = unit_rows(np.concatenate(parts), self._name)
        return tuple(
            Imagination(self.key(prompt, one, steps), embedding, prompt, one)
            for one, embedding in zip(seeds, embeddings, strict=True)
        )

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
        return str(self._index[_scheduler_part(self._index)][1])

    @cached_property
    def _revision(self) -> str:
        scheduler = _scheduler_part(self._index)
        files = [weights.choose(self._path / part, _WEIGHTS, model=self._name) for part in ("prior", "text_encoder")]
        configs = ("prior/config.json", "text_encoder/config.json", f"{scheduler}/scheduler_config.json")
        return weights.fingerprint(files, [dict(weights.read_config(self._path / config)) for config in configs])

    @cached_property
    def _prior(self) -> _Prior:
        device = resolve_device(self._device_name)
        with failures_named(f"Loading {self._name}"):
            return _loaded(self._path, self._name, self._index, device, resolve_dtype(self._dtype_name, device))


@dataclass(frozen=True, slots=True)
class _Condition:
    """What the prior is told: rows of (unconditional, if guided; the prompt)."""

    embeds: torch.Tensor
    hidden: torch.Tensor
    mask: torch.Tensor
    guidance: float

    @property
    def guided(self) -> bool:
        return len(self.embeds) == 2


@dataclass(frozen=True, slots=True)
class _Prior:
    """The loaded parts."""

    transformer: Any
    scheduler: Any
    text_encoder: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    def condition(self, prompt: str, guidance: float) -> _Condition:
        import torch

        prompts = ["", prompt] if guidance > 1 else [prompt]
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=self.transformer.config.num_embeddings,
            truncation=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            encoded = self.text_encoder(tokens.input_ids.to(self.device))
        mask = tokens.attention_mask.bool().to(self.device)
        return _Condition(encoded.text_embeds, encoded.last_hidden_state, mask, guidance)

    def sample(self, condition: _Condition, seeds: Sequence[int], options: PriorOptions) -> FloatArray:
        """n seeds -> (n, d), before normalisation."""
        import torch

        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        extra = _accepted(self.scheduler.step, {"eta": options.eta, "generator": generators})
        wants_previous = "prev_timestep" in inspect.signature(self.scheduler.step).parameters
        with torch.inference_mode():
            self.scheduler.set_timesteps(options.steps, device=self.device)
            timesteps = list(self.scheduler.timesteps)
            latents = self._noise(generators) * self.scheduler.init_noise_sigma
            for step, timestep in enumerate(timesteps):
                following = timesteps[step + 1] if step + 1 < len(timesteps) else None
                previous = {"prev_timestep": following} if wants_previous else {}
                scaled = self.scheduler.scale_model_input(latents, timestep)
                predicted = self._predict(scaled, timestep, condition)
                latents = self.scheduler.step(predicted, timestep, latents, **extra, **previous).prev_sample
            return self._finished(latents)

    def mean(self, condition: _Condition, seeds: Sequence[int], options: PriorOptions) -> FloatArray:
        """n seeds -> (n, d), before normalisation."""
        import torch

        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        last = self.scheduler.config.num_train_timesteps - 1
        kept = self.scheduler.alphas_cumprod[last].to(self.device)
        with torch.inference_mode():
            total: Any = 0
            for _ in range(_MEAN_DRAWS):
                noise = self._noise(generators)
                predicted = self._predict(noise, torch.tensor(last, device=self.device), condition)
                kind = self.scheduler.config.prediction_type
                if kind == "v_prediction":
                    predicted = kept.sqrt() * noise - (1 - kept).sqrt() * predicted
                elif kind != "sample":
                    raise ModelFailed(f"A prior that predicts {kind} has no one-step mean.", "Use the mode sample.")
                if self.scheduler.config.get("clip_sample"):
                    reach = self.scheduler.config.get("clip_sample_range", 1.0)
                    predicted = predicted.clamp(-reach, reach)
                total = total + predicted
            return self._finished(total / _MEAN_DRAWS)

    def _noise(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        import torch

        width = self.transformer.config.embedding_dim
        # Drawn on the CPU, so that a seed means the same on every device.
        return torch.stack([torch.randn(width, generator=one) for one in generators]).to(self.device)

    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, condition: _Condition) -> torch.Tensor:
        """(n, d) float32 -> (n, d) float32: what the transformer predicts, guided."""
        import torch

        rows = len(latents)
        predicted = self.transformer(
            torch.cat([latents] * len(condition.embeds)).to(self.dtype),
            timestep=timestep,
            proj_embedding=condition.embeds.repeat_interleave(rows, 0),
            encoder_hidden_states=condition.hidden.repeat_interleave(rows, 0),
            attention_mask=condition.mask.repeat_interleave(rows, 0),
        ).predicted_image_embedding.float()
        if not condition.guided:
            return predicted  # type: ignore[no-any-return]
        without, conditional = predicted.chunk(2)
        return without + condition.guidance * (conditional - without)  # type: ignore[no-any-return]

    def _finished(self, latents: torch.Tensor) -> FloatArray:
        return self.transformer.post_process_latents(latents).float().cpu().numpy()  # type: ignore[no-any-return]


def _loaded(path: Path, name: str, index: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> _Prior:
    weights.require("torch", "diffusers", "transformers")
    import diffusers
    import transformers

    for part in ("prior", "text_encoder"):
        weights.choose(path / part, _WEIGHTS, model=name)
    scheduler_part = _scheduler_part(index)
    scheduler = _class_of(index, scheduler_part, diffusers, diffusers.SchedulerMixin)
    tokenizer = _class_of(index, "tokenizer", transformers, transformers.PreTrainedTokenizerBase)
    safely = {"use_safetensors": True, "local_files_only": True}
    with quiet_libraries():
        transformer = diffusers.PriorTransformer.from_pretrained(path / "prior", dtype=dtype, **safely)
        text_encoder = transformers.CLIPTextModelWithProjection.from_pretrained(
            path / "text_encoder", dtype=dtype, **safely
        )
    return _Prior(
        transformer.to(device).eval().requires_grad_(False),
        scheduler.from_pretrained(path / scheduler_part),
        text_encoder.to(device).eval().requires_grad_(False),
        tokenizer.from_pretrained(path / "tokenizer", local_files_only=True),
        device,
        dtype,
    )


def _class_of(index: Mapping[str, Any], part: str, library: Any, base: type) -> Any:
    """A class of the library itself: a model's folder may not name code of its own."""
    named = index.get(part)
    package, name = map(str, named) if isinstance(named, list) and len(named) == 2 else ("", str(named))
    found = getattr(library, name, None) if package == library.__name__ else None
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise ModelFailed(
            f"model_index.json names {named} as {part}, which is no {base.__name__} of {library.__name__}.",
            "Only folders whose parts are the library's own classes can be loaded.",
        )
    return found


def _scheduler_part(index: Mapping[str, Any]) -> str:
    return "prior_scheduler" if "prior_scheduler" in index else "scheduler"


def _accepted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in parameters}
