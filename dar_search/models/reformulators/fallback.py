"""A reformulator that never leaves a dialogue without text: where the first fails, the second answers."""

from __future__ import annotations

import logging
from dataclasses import replace

from dar_search.data import Dialogue, Reformulation
from dar_search.errors import ModelError
from dar_search.ports import KeyedReformulator, Reformulator

_log = logging.getLogger(__name__)


class FallbackReformulator:
    """`first`, or where it raises a ModelError, `second`, with a note that says so and why."""

    def __init__(self, first: Reformulator, second: Reformulator) -> None:
        self._first = first
        self._second = second

    @property
    def name(self) -> str:
        return self._first.name

    @property
    def key(self) -> str:
        """See `ports.KeyedReformulator`; of texts without a note, which the first wrote."""
        return self._first.key if isinstance(self._first, KeyedReformulator) else self._first.name

    @property
    def first(self) -> Reformulator:
        return self._first

    def within(self, seconds: float) -> FallbackReformulator:
        """The same, whose first reformulator has at most so much time, where it can be told."""
        limited = getattr(self._first, "within", None)
        return FallbackReformulator(limited(seconds), self._second) if limited else self

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        try:
            return self._first.reformulate(dialogue)
        except ModelError as error:
            _log.warning("%s failed, %s answers: %s", self._first.name, self._second.name, error)
            answer = self._second.reformulate(dialogue)
            return replace(answer, note=f"{self._second.name} instead of {self._first.name}: {error}")
