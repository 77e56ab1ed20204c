"""Resumable training: weights and optimiser state as safetensors, the step beside them. Nothing is pickled."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file


def save(path: Path, modules: Mapping[str, torch.nn.Module], optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write everything that `load` needs, at once or not at all."""
    tensors = {
        f"module.{name}.{key}": value.detach().clone().contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{number}.{key}"] = torch.as_tensor(value).clone().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata={"step": json.dumps(step)})
    unfinished.replace(path)


def load(path: Path, modules: Mapping[str, torch.nn.Module], optimizer: torch.optim.Optimizer | None = None) -> int:
    """Fill the modules (and optimiser) from a checkpoint; returns its step, 0 where there is none."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        step = int(json.loads(file.metadata()["step"]))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
    for name, module in modules.items():
        prefix = f"module.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    if optimizer is not None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, number, field = key.split(".")
                of = parameters[int(number)].detach()
                # The fused step goes through memory as it lies: state in another order than its parameter's is wrong.
                laid_out = torch.empty_like(of).copy_(value) if value.shape == of.shape else value
                states.setdefault(int(number), {})[field] = laid_out
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file at once or not at all."""
    unfinished = path.with_suffix(".part.npy")
    np.save(unfinished, array)
    unfinished.replace(path)


def cosine(step: int, steps: int, peak: float, warm_up: int) -> float:
    """The learning rate at a step: linear warm-up, then half a cosine down to a two-hundredth of the peak."""
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return peak * min(1.0, (step + 1) / warm_up) * (decay + 0.005)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def adamw(
    parameters: Iterator[torch.nn.Parameter], rate: float, decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases, norms and scales alone."""
    listed = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in listed if parameter.ndim >= 2], "weight_decay": decay},
        {"params": [parameter for parameter in listed if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)


def batch_numbers(step: int, batch: int, count: int, seed: int) -> np.ndarray:
    """The examples of a step: a fresh order each epoch, the same for the same step, so that training can resume."""
    per_epoch = count // batch
    epoch, within = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.sort(order[within * batch : (within + 1) * batch])


class Average:
    """Keeps `averaged`, a twin of `module`, at an exponential moving average of its parameters (Polyak averaging)."""

    def __init__(self, module: torch.nn.Module, averaged: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.pairs = list(zip(averaged.parameters(), module.parameters(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for kept, value in self.pairs:
            kept.mul_(decay).add_(value, alpha=1 - decay)
