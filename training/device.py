"""Where training computes: the CPU, or a GPU once `use` has named it.

Examples and noise are drawn on the CPU from a step's own seed, so that they are the same everywhere.
"""

from __future__ import annotations

from typing import TypeVar

import torch

Placed = TypeVar("Placed", torch.Tensor, torch.nn.Module)
_chosen = torch.device("cpu")


def use(name: str) -> None:
    """Train there from now on: "cpu" or "cuda". Ends the program where torch sees no GPU."""
    global _chosen
    if name == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: leave --device out, or install a build of torch for your GPU.")
    _chosen = torch.device(name)


def on_cpu() -> bool:
    return _chosen.type == "cpu"


def here(what: Placed) -> Placed:
    """A tensor, or a model before its optimiser is made, where training computes."""
    return what.to(_chosen)


def half_precision() -> torch.autocast:
    """bfloat16 in what may be so: on a CPU that has the instructions, faster than float32."""
    return torch.autocast(_chosen.type, torch.bfloat16)
