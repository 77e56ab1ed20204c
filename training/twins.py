"""One batch on several cores: each part of it goes through a twin of the model, in a thread of its own.

Threads that share one small operation wait for each other at its end, thousands of times a step. Twins share the
weights and wait once: on two cores `training.painter` said 67 pictures a second with threads, and 99 with twins.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from training.device import on_cpu


class Twins:
    """`model` and copies of it with the same weights; between `with` and its end torch uses one thread in each.

    Args:
        most: how many models there may be; there are as many of them as divide the batch evenly, and one on a GPU.
        batch: how many examples each call of `backward` has.

    Attributes:
        models: the model itself first.
    """

    def __init__(self, model: torch.nn.Module, most: int, batch: int) -> None:
        most = max(1, most) if on_cpu() else 1
        count = max(number for number in range(1, most + 1) if batch % number == 0)
        self.models = [model]
        for _ in range(count - 1):
            twin = copy.deepcopy(model)
            for own, shared in zip(twin.parameters(), model.parameters(), strict=True):
                own.data = shared.data
            self.models.append(twin)
        self._threads = ThreadPoolExecutor(count)
        self._used_before = torch.get_num_threads()

    def __enter__(self) -> Twins:
        torch.set_num_threads(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown()
        torch.set_num_threads(self._used_before)

    def backward(self, loss_of: Callable[..., torch.Tensor], *batch: torch.Tensor) -> float:
        """The mean of `loss_of(model, *part)` over equal parts of the batch; its gradient is left in the model."""
        parts = zip(*(tensor.chunk(len(self.models)) for tensor in batch), strict=True)

        def one(model: torch.nn.Module, part: Sequence[torch.Tensor]) -> float:
            model.zero_grad()
            loss = loss_of(model, *part) / len(self.models)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        losses = list(self._threads.map(one, self.models, parts))
        for own, *others in zip(*(model.parameters() for model in self.models), strict=True):
            for other in others:
                own.grad.add_(other.grad)
        return sum(losses)
