"""What the supervisor and the model process say to each other.

Pickled by `multiprocessing.connection`: both ends are this program, of the same version, and nothing else can reach
their socket. A module of its own, for the worker's is `__main__` there and pickles by that name.

From the supervisor: a `Start`, then `Batch`es; None or the end of the socket means stop.
To the supervisor: "ready", or an `Answer` with the error, after `Start`; an `Answer` a ticket for each batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dar_search import errors
from dar_search.errors import DarError, ModelFailed

STOP = "stop"
"""Ends a process that a command left behind (`warm_process`)."""


@dataclass(frozen=True, slots=True)
class Start:
    """`factory` ("module:function") is called with `arguments` and returns kind -> function(items, options)."""

    factory: str
    arguments: Mapping[str, Any]
    path: tuple[str, ...]
    parent: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Tickets of one kind with the same options; `requests` holds each ticket's items."""

    kind: str
    options: tuple[Any, ...]
    requests: tuple[Sequence[Any], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One ticket's results, or an error of the tree by its class's name."""

    results: Sequence[Any] | None = None
    error: tuple[str, str, str] | None = None

    def exception(self) -> DarError | None:
        if self.error is None:
            return None
        name, message, hint = self.error
        kind = getattr(errors, name, ModelFailed)
        return kind(message, hint) if issubclass(kind, DarError) else ModelFailed(message, hint)
