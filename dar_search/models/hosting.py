"""Models that work together: in this process, or each behind the wall of a model process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from dar_search.models import catalogue
from dar_search.models.imaginers.imagination_cache import CachedImaginer
from dar_search.models.process.child import Limits
from dar_search.models.process.hosted import Named, Role
from dar_search.models.process.remote import (
    AnyProcess,
    LocalImaginer,
    RemoteEncoder,
    RemoteImaginer,
    RemoteReformulator,
)
from dar_search.models.process.supervisor import Health, ModelProcess
from dar_search.models.reformulators.fallback import FallbackReformulator
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.ports import Encoder, ImaginationCache, Imaginer, KeyedImaginer, Reformulator

MakeProcess = Callable[[str, Mapping[str, Any], Limits], AnyProcess]
FACTORY = "dar_search.models.process.hosted:load"
AS_NEEDED = "dar_search.models.process.hosted:load_as_needed"


@runtime_checkable
class Limitable(Protocol):
    """What can be told to end in time."""

    def within(self, seconds: float) -> Any: ...


@dataclass(frozen=True)
class Models:
    """An encoder, a reformulator and an imaginer (None: text only) in the encoder's space; a context manager.

    Safe for many threads. The processes start at their first use, or all at once with `warm_up`.

    Attributes:
        processes: the model processes by what they serve; empty where the models run in this process.
    """

    encoder: Encoder
    reformulator: Reformulator
    imaginer: Imaginer | None
    processes: Mapping[str, AnyProcess] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)

    def within(self, seconds: float) -> Models:
        """The same models for one answer, all of whose calls end within `seconds` from now.

        What a model process has not done then raises ModelTimeout, at most 0.2 s late; the process works on for
        others. Models in this process cannot be interrupted and take their time.
        """
        return replace(
            self,
            encoder=_limited(self.encoder, seconds),
            reformulator=_limited(self.reformulator, seconds),
            imaginer=_limited(self.imaginer, seconds),
        )

    def warm_up(self) -> None:
        """Load all models and run each once; returns when the last is ready. Raises what goes wrong with the first.

        Processes load side by side, each for at most its `start_seconds`.
        """
        if not self.processes:
            for model in (self.encoder, self.imaginer, self.reformulator):
                warm_up = getattr(model, "warm_up", None)
                if warm_up is not None:
                    warm_up()
        pending = [
            process.submit("ping", [None], timeout=process.limits.start_s) for process in self.processes.values()
        ]
        for one in pending:
            one.outcome()

    def health(self) -> Mapping[str, Health]:
        """The state of each process, by what it serves. Returns at once, and starts nothing."""
        return {name: process.health() for name, process in self.processes.items()}

    @property
    def ready(self) -> bool:
        """Whether a search can be answered now: the encoder's process is there. An imaginer may be missing."""
        states = [health.state for name, health in self.health().items() if "encoder" in name.split("+")]
        return all(state in ("ready", "busy") for state in states)

    def close(self) -> None:
        """Let each process end the batch in hand, then end it. Safe to repeat."""
        threads = [threading.Thread(target=process.close) for process in self.processes.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._stack.close()

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def local_models(encoder: Named, reformulator: Named, imaginer: Named, cache: ImaginationCache | None = None) -> Models:
    """Models in this process; weights load at first use. Raises UnknownModel, WeightsMissing, SettingsError, ..."""
    encoding = catalogue.encoder(encoder.name, **encoder.arguments)
    writing = catalogue.reformulator(reformulator.name, **reformulator.arguments)
    imagining = catalogue.imaginer(imaginer.name, encoding, **imaginer.arguments)
    return Models(encoding, writing, _cached(imagining, cache), _stack=_closing(cache))


def remote_models(
    encoder: Named,
    reformulator: Named,
    imaginer: Named,
    limits: Limits,
    *,
    shared: bool = False,
    cache: ImaginationCache | None = None,
    gpu_memory_fraction: float | None = None,
    process: MakeProcess = ModelProcess,
    factory: str = FACTORY,
) -> Models:
    """Models in model processes.

    A reformulator that runs no model here (rules, an endpoint with its own time limit) stays in this process, as do
    pregenerated pictures, which the remote encoder encodes.

    shared: one process for all models of a device, rather than one for each model.
    process: makes a process from the factory's name, its arguments and the limits.
    factory: what the process calls, as "module:function".
    Raises UnknownModel at once, and for folders WeightsMissing; what else is wrong comes from `warm_up` or first use.
    """
    catalogue.encoder(encoder.name, **encoder.arguments)
    writing = catalogue.reformulator(reformulator.name, **reformulator.arguments)
    catalogue.require_imaginer(imaginer.name)
    hosted: dict[Role, Named] = {"encoder": encoder}
    if catalogue.is_chat_model(reformulator.name):
        hosted["reformulator"] = reformulator
    if imaginer.name != "none" and not imaginer.name.startswith("pregenerated:"):
        hosted["imaginer"] = imaginer

    parts: dict[Role, AnyProcess] = {}
    processes: dict[str, AnyProcess] = {}
    for roles in _grouped(hosted, shared=shared):
        arguments: dict[str, Any] = {
            **{role: named for role, named in hosted.items() if role in roles},
            "encoder": encoder,
            "serve": tuple(roles),
            "gpu_memory_fraction": gpu_memory_fraction,
        }
        made = process(factory, arguments, limits)
        processes["+".join(roles)] = made
        parts |= dict.fromkeys(roles, made)

    encoding = RemoteEncoder.of(parts["encoder"])
    if "reformulator" in parts:
        remote = RemoteReformulator(process=parts["reformulator"], name=writing.name)
        writing = FallbackReformulator(remote, RulesReformulator())
    imagining: Imaginer | None
    if "imaginer" in parts:
        remote_imaginer = RemoteImaginer(process=parts["imaginer"], local=_once(imaginer, encoding))
        imagining = CachedImaginer(remote_imaginer, cache) if cache is not None else remote_imaginer
    else:
        imagining = _cached(catalogue.imaginer(imaginer.name, encoding, **imaginer.arguments), cache)
    return Models(encoding, writing, imagining, processes, _closing(cache))


def _grouped(hosted: Mapping[Role, Named], *, shared: bool) -> list[list[Role]]:
    if not shared:
        return [[role] for role in hosted]
    by_device: dict[str, list[Role]] = {}
    for role, named in hosted.items():
        by_device.setdefault(str(named.options.get("device", named.device)), []).append(role)
    return list(by_device.values())


def _once(imaginer: Named, encoder: Encoder) -> Callable[[], LocalImaginer]:
    """Makes the imaginer here at the first call: its space is known only when the encoder's process is ready."""
    made: list[Any] = []

    def local() -> LocalImaginer:
        if not made:
            made.append(catalogue.imaginer(imaginer.name, encoder, **imaginer.arguments))
        one: LocalImaginer = made[0]
        return one

    return local


def _cached(imaginer: Imaginer | None, cache: ImaginationCache | None) -> Imaginer | None:
    if cache is None or not isinstance(imaginer, KeyedImaginer):
        return imaginer
    return CachedImaginer(imaginer, cache)


def _closing(cache: ImaginationCache | None) -> ExitStack:
    stack = ExitStack()
    if (close := getattr(cache, "close", None)) is not None:
        stack.callback(close)
    return stack


def _limited(model: Any, seconds: float) -> Any:
    return model.within(seconds) if isinstance(model, Limitable) else model
