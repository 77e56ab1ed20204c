"""A diffusion prior's loaded parts, and how embeddings are sampled with them.

The denoising loop follows diffusers' KandinskyPriorPipeline, without its image encoder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dar_search.data import FloatArray
from dar_search.errors import ModelFailed, SettingsError
from dar_search.models import tokenizing, weights
from dar_search.models.completeness import load_part
from dar_search.models.encoders.quiet import quiet_libraries

if TYPE_CHECKING:
    import torch

WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
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
        compile, compile_backend: see `acceleration`.
    """

    mode: Literal["sample", "mean"] = "sample"
    steps: int = 25
    guidance: float = 4.0
    eta: float = 0.0
    compile: bool = False
    compile_backend: str = "inductor"

    def __post_init__(self) -> None:
        if self.mode not in ("sample", "mean") or self.steps < 1 or self.guidance < 1 or not 0 <= self.eta <= 1:
            raise SettingsError(f"The prior cannot be sampled so: {self}.", "steps and guidance >= 1, eta from 0 to 1.")


@dataclass(frozen=True, slots=True)
class Condition:
    """What the prior is told: a row for each embedding to be; if guided, as many unconditional rows before them."""

    embeds: torch.Tensor
    hidden: torch.Tensor
    mask: torch.Tensor
    guidance: float

    @property
    def guided(self) -> bool:
        return self.guidance > 1


@dataclass(frozen=True, slots=True)
class Prior:
    """The loaded parts."""

    transformer: Any
    scheduler: Any
    text_encoder: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    def condition(self, prompts: Sequence[str], guidance: float) -> Condition:
        """n prompts, which may repeat -> the condition of n embeddings; each prompt is encoded once."""
        import torch

        distinct = list(dict.fromkeys(["", *prompts] if guidance > 1 else prompts))
        tokens = self.tokenizer(
            distinct,
            padding="max_length",
            max_length=self.transformer.config.num_embeddings,
            truncation=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            encoded = self.text_encoder(tokens.input_ids.to(self.device))
        mask = tokens.attention_mask.bool().to(self.device)
        unguided = [0] * len(prompts) if guidance > 1 else []
        rows = [*unguided, *(distinct.index(prompt) for prompt in prompts)]
        return Condition(encoded.text_embeds[rows], encoded.last_hidden_state[rows], mask[rows], guidance)

    def sample(self, condition: Condition, seeds: Sequence[int], options: PriorOptions) -> FloatArray:
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

    def mean(self, condition: Condition, seeds: Sequence[int], options: PriorOptions) -> FloatArray:
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

    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        """(n, d) float32 -> (n, d) float32: what the transformer predicts, guided."""
        import torch

        predicted = self.transformer(
            torch.cat([latents, latents] if condition.guided else [latents]).to(self.dtype),
            timestep=timestep,
            proj_embedding=condition.embeds,
            encoder_hidden_states=condition.hidden,
            attention_mask=condition.mask,
        ).predicted_image_embedding.float()
        if not condition.guided:
            return predicted  # type: ignore[no-any-return]
        without, conditional = predicted.chunk(2)
        return without + condition.guidance * (conditional - without)  # type: ignore[no-any-return]

    def _finished(self, latents: torch.Tensor) -> FloatArray:
        return self.transformer.post_process_latents(latents).float().cpu().numpy()  # type: ignore[no-any-return]


def load_prior(path: Path, name: str, index: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Prior:
    weights.require("torch", "diffusers", "transformers")
    import diffusers
    import transformers

    for part in ("prior", "text_encoder"):
        weights.choose(path / part, WEIGHTS, model=name)
    part_name = scheduler_part(index)
    scheduler = _class_of(index, part_name, diffusers, diffusers.SchedulerMixin)
    weights.read_config(path / part_name / "scheduler_config.json")
    tokenizer_class = _class_of(index, "tokenizer", transformers, transformers.PreTrainedTokenizerBase)
    with quiet_libraries():
        transformer = load_part(diffusers.PriorTransformer, path / "prior", dtype, model=name)
        text_encoder = load_part(transformers.CLIPTextModelWithProjection, path / "text_encoder", dtype, model=name)
        tokenizer = tokenizing.load(path / "tokenizer", model=name, kind=tokenizer_class)
    tokenizing.require_fit(tokenizer, text_encoder.get_input_embeddings().num_embeddings, model=name)
    tokenizing.require_clip_end(tokenizer, text_encoder.config.eos_token_id, model=name)
    return Prior(
        transformer.to(device).eval().requires_grad_(False),
        scheduler.from_pretrained(path / part_name),
        text_encoder.to(device).eval().requires_grad_(False),
        tokenizer,
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


def scheduler_part(index: Mapping[str, Any]) -> str:
    return "prior_scheduler" if "prior_scheduler" in index else "scheduler"


def _accepted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in parameters}
