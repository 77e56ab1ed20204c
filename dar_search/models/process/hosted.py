"""What a model process loads: the adapters that the settings name, as kinds of batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from dar_search.data import Dialogue, Imagination, Reformulation, Turn
from dar_search.errors import ModelFailed
from dar_search.models import catalogue
from dar_search.models.process.worker import Run
from dar_search.models.reformulators.fallback import FallbackReformulator
from dar_search.ports import ChatModel, Encoder, Imaginer, Reformulator

Role = Literal["encoder", "reformulator", "imaginer"]
#: A chat's messages, as they go to a process: (role, text) of each.
Chat = tuple[tuple[str, str], ...]
WARM_UP_TEXT = "a picture"


@dataclass(frozen=True, slots=True)
class Named:
    """A model by name, with where it runs and its own options, as `catalogue` takes them."""

    name: str
    device: str = "auto"
    dtype: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"device": self.device, "dtype": self.dtype, "options": self.options}


@runtime_checkable
class BatchImaginer(Imaginer, Protocol):
    """An imaginer that imagines several prompts at once."""

    def imagine_all(
        self, requests: Sequence[tuple[str, int, int]], *, steps: int | None = None
    ) -> list[tuple[Imagination, ...]]:
        """(prompt, count, seed) of each -> what `imagine` gives for each."""
        ...


def load(
    encoder: Named,
    imaginer: Named | None = None,
    reformulator: Named | None = None,
    serve: Sequence[Role] = ("encoder", "reformulator", "imaginer"),
    gpu_memory_fraction: float | None = None,
) -> Mapping[str, Run]:
    """Load and warm up the roles to serve.

    An imaginer needs its encoder's space, and one that draws needs the encoder itself: it is loaded here then too.
    Raises what the adapters raise: UnknownModel, WeightsMissing, UnsafeWeights, ...
    """
    if gpu_memory_fraction is not None:
        _bound_gpu_memory(gpu_memory_fraction)
    encoding = catalogue.encoder(encoder.name, **encoder.arguments)
    kinds: dict[str, Run] = {}
    if "encoder" in serve:
        kinds |= _encoding(encoding)
    if "imaginer" in serve and imaginer is not None:
        imagining = catalogue.imaginer(imaginer.name, encoding, **imaginer.arguments)
        kinds |= _imagining(imagining) if imagining is not None else {}
    if "reformulator" in serve and reformulator is not None:
        kinds |= reformulating(catalogue.reformulator(reformulator.name, **reformulator.arguments))
    return kinds


def load_as_needed(
    encoder: Named, imaginer: Named | None = None, reformulator: Named | None = None, **_: Any
) -> Mapping[str, Run]:
    """As `load` for a command, which can do without an imaginer or a language model: each loads at its first use, and
    what is wrong with it is that use's error, and tried again at the next."""
    encoding = catalogue.encoder(encoder.name, **encoder.arguments)
    kinds = _encoding(encoding)
    if imaginer is not None:
        kinds |= _at_first_use(
            ("imagine",), lambda: _imagined(catalogue.imaginer(imaginer.name, encoding, **imaginer.arguments))
        )
    if reformulator is not None:
        kinds |= _at_first_use(
            ("reformulate", "answer_chat"),
            lambda: reformulating(catalogue.reformulator(reformulator.name, **reformulator.arguments)),
        )
    return kinds


def _imagined(imaginer: Imaginer | None) -> dict[str, Run]:
    return {} if imaginer is None else _imagining(imaginer)


def _at_first_use(names: Sequence[str], make: Callable[[], Mapping[str, Run]]) -> dict[str, Run]:
    made: dict[str, Run] = {}

    def run(name: str) -> Run:
        def answer(items: list[Any], options: tuple[Any, ...]) -> Sequence[Any]:
            if not made:
                made.update(make())
            return made[name](items, options)

        return answer

    return {name: run(name) for name in names}


def _encoding(encoder: Encoder) -> dict[str, Run]:
    def encode_texts(items: list[str], options: tuple[Any, ...]) -> Sequence[Any]:
        return list(encoder.encode_texts(items))

    def encode_prepared(items: list[Any], options: tuple[Any, ...]) -> Sequence[Any]:
        return list(encoder.encode_prepared(np.stack(items)))

    def card(items: list[Any], options: tuple[Any, ...]) -> Sequence[Any]:
        return [(encoder.provenance, encoder.preparation)] * len(items)

    shape = encoder.preparation
    encoder.encode_texts([WARM_UP_TEXT])
    encoder.encode_prepared(np.zeros((1, shape.height, shape.width, 3), np.uint8))
    return {"encode_texts": encode_texts, "encode_prepared": encode_prepared, "card": card}


def _imagining(imaginer: Imaginer) -> dict[str, Run]:
    def imagine(items: list[tuple[str, int, int]], options: tuple[Any, ...]) -> Sequence[Any]:
        (steps,) = options
        if isinstance(imaginer, BatchImaginer) and len(items) > 1:
            return imaginer.imagine_all(items, steps=steps)
        return [imaginer.imagine(prompt, count=count, seed=seed, steps=steps) for prompt, count, seed in items]

    warm_up = getattr(imaginer, "warm_up", None)
    if warm_up is not None:
        warm_up()
    return {"imagine": imagine}


def reformulating(reformulator: Reformulator) -> dict[str, Run]:
    def reformulate(items: list[Dialogue], options: tuple[Any, ...]) -> Sequence[Any]:
        return [reformulator.reformulate(dialogue) for dialogue in items]

    answer: Reformulation = reformulator.reformulate(Dialogue(WARM_UP_TEXT, (Turn("of what?", "a kite"),)))
    if answer.note:
        # It answered by its fallback: the model itself cannot be used, and whoever starts it should know.
        raise ModelFailed(answer.note)
    kinds: dict[str, Run] = {"reformulate": reformulate}
    model = reformulator.first if isinstance(reformulator, FallbackReformulator) else reformulator
    if isinstance(model, ChatModel):
        chat = model

        def answer_chat(items: list[Chat], options: tuple[Any, ...]) -> Sequence[Any]:
            return [chat.answer([{"role": role, "content": text} for role, text in item]) for item in items]

        kinds["answer_chat"] = answer_chat
    return kinds


def _bound_gpu_memory(fraction: float) -> None:
    import torch

    for device in range(torch.cuda.device_count()):
        torch.cuda.set_per_process_memory_fraction(fraction, device)
