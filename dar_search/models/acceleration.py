"""What may make a loaded model faster, each by option: memory in channels-last order, and compilation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dar_search.errors import SettingsError


def accelerate(modules: Iterable[Any], *, channels_last: bool, compile: bool, backend: str) -> None:
    """Change torch modules in place; results stay the same but for rounding.

    channels_last: convolutions find their channels side by side, as GPUs and some CPUs like them.
    compile: `torch.compile`: the first calls take from seconds to minutes, those after are faster. What it compiled
        for is the input's shape; a second batch size compiles once more, for any.
    backend: torch's, "inductor" as a rule, which needs a C++ compiler on a CPU. Raises SettingsError.
    """
    import torch

    if compile and backend not in torch.compiler.list_backends(exclude_tags=()):
        raise SettingsError(
            f"torch has no compiler backend {backend!r}.", f"Choose of: {', '.join(torch.compiler.list_backends())}."
        )
    for module in modules:
        if channels_last:
            module.to(memory_format=torch.channels_last)
        if compile:
            module.compile(backend=backend)
