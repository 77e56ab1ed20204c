"""The model ports on top of a model process: what services and ingestion use in place of the adapters themselves.

Each has `within(seconds)`: the same adapter, whose calls all end before that much time from now has passed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import Dialogue, FloatArray, Imagination, Provenance, Reformulation
from dar_search.models.process.child import Limits
from dar_search.models.process.supervisor import Health
from dar_search.models.process.tickets import Key
from dar_search.ports import KeyedImaginer
from dar_search.preparation import Preparation

# So many batches are on their way at once: the model never waits for the next, and a long list fills no queue.
_IN_FLIGHT = 4


class Pending(Protocol):
    """What was asked for."""

    def outcome(self) -> Sequence[Any]:
        """Waits for it. Raises ModelError."""
        ...


class AnyProcess(Protocol):
    """A process that models run in: `supervisor.ModelProcess`, or `warm.WarmModels`."""

    limits: Limits

    def call(
        self,
        kind: str,
        items: Sequence[Any],
        *,
        options: Key = (),
        key: Hashable | None = None,
        timeout: float | None = None,
    ) -> Sequence[Any]: ...

    def submit(
        self,
        kind: str,
        items: Sequence[Any],
        *,
        options: Key = (),
        key: Hashable | None = None,
        timeout: float | None = None,
        cost: int | None = None,
        room: int | None = None,
    ) -> Pending: ...

    def health(self) -> Health: ...

    def close(self) -> None: ...


class LocalImaginer(KeyedImaginer, Protocol):
    """What `RemoteImaginer` asks on its own side: all of it loads no weights."""

    @property
    def batch(self) -> int:
        """Imaginations that the model makes at once."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Remote:
    """deadline: `time.monotonic()` when every call has to be over; None: the process's own limits."""

    process: AnyProcess
    deadline: float | None = None

    def within(self, seconds: float) -> Self:
        """The same, whose calls end within `seconds` from now: what is not done then is a ModelTimeout."""
        limit = time.monotonic() + seconds
        return replace(self, deadline=limit if self.deadline is None else min(limit, self.deadline))

    @property
    def _timeout(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def _submit(self, kind: str, items: Sequence[Any], **more: Any) -> Pending:
        return self.process.submit(kind, items, timeout=self._timeout, **more)


class Card:
    """Provenance and preparation, asked once: reading them here would load a model library or hash its weights."""

    def __init__(self, process: AnyProcess) -> None:
        self._process = process
        self._known: tuple[Provenance, Preparation] | None = None

    def read(self, timeout: float | None) -> tuple[Provenance, Preparation]:
        if self._known is None:
            allowed = self._process.limits.start_s if timeout is None else timeout
            (self._known,) = self._process.call("card", [None], key="card", timeout=allowed)
        known: tuple[Provenance, Preparation] = self._known
        return known


@dataclass(frozen=True, kw_only=True)
class RemoteEncoder(_Remote):
    """An Encoder whose work is done in a model process. Its first use waits for the process to start."""

    card: Card

    @classmethod
    def of(cls, process: AnyProcess) -> RemoteEncoder:
        return cls(process=process, card=Card(process))

    @property
    def provenance(self) -> Provenance:
        return self.card.read(self._timeout)[0]

    @property
    def preparation(self) -> Preparation:
        return self.card.read(self._timeout)[1]

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return self._encode("encode_texts", texts, shared=True)

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        prepare = self.preparation.prepare
        return self._encode("encode_prepared", images, prepare=prepare)

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        # Pictures are not shared by content: hashing the pixels costs more than two equal ones at once are worth.
        return self._encode("encode_prepared", pixels)

    def _encode(
        self,
        kind: str,
        items: Sequence[Any] | NDArray[np.uint8],
        *,
        shared: bool = False,
        prepare: Callable[[Any], Any] | None = None,
    ) -> FloatArray:
        size = self.process.limits.batch_items

        def submitted() -> Iterator[Pending]:
            for start in range(0, len(items), size):
                chunk = list(items[start : start + size])
                ready = [prepare(item) for item in chunk] if prepare else chunk
                yield self._submit(kind, ready, key=tuple(ready) if shared else None)

        rows = [row for results in _in_order(submitted(), _IN_FLIGHT) for row in results]
        if not rows:
            return np.empty((0, self.provenance.dimension), np.float32)
        return np.stack(rows).astype(np.float32, copy=False)


@dataclass(frozen=True, kw_only=True)
class RemoteImaginer(_Remote):
    """An Imaginer whose work is done in a model process.

    local: makes, once, the same imaginer here, which is asked only for its name, its keys and its batch size.
    """

    local: Callable[[], LocalImaginer]

    @property
    def name(self) -> str:
        return self.local().name

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        return self.local().key(prompt, seed, steps)

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        """As the port says. A large count is several requests: each is one batch of the model, with its time limit."""
        most = self.local().batch

        def submitted() -> Iterator[Pending]:
            for first in range(seed, seed + count, most):
                request = (prompt, min(most, seed + count - first), first)
                yield self._submit("imagine", [request], options=(steps,), key=request, cost=request[1], room=most)

        return tuple(one for (made,) in _in_order(submitted(), _IN_FLIGHT) for one in made)


@dataclass(frozen=True, kw_only=True)
class RemoteReformulator(_Remote):
    """A Reformulator whose work is done in a model process, one dialogue at a time."""

    name: str

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        (answer,) = self._submit("reformulate", [dialogue], key=dialogue, cost=1, room=1).outcome()
        reformulation: Reformulation = answer
        return reformulation

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See `ports.ChatModel`: the process's own chat model answers."""
        chat = tuple((message["role"], message["content"]) for message in messages)
        (answer,) = self._submit("answer_chat", [chat], key=chat, cost=1, room=1).outcome()
        return str(answer)


def _in_order(submitted: Iterator[Pending], most: int) -> Iterator[Sequence[Any]]:
    """The outcomes, in order, with at most `most` requests under way."""
    under_way: deque[Pending] = deque()
    for pending in submitted:
        under_way.append(pending)
        if len(under_way) == most:
            yield under_way.popleft().outcome()
    while under_way:
        yield under_way.popleft().outcome()
