"""Who waits for what, and which of it goes to the model together.

A ticket is one caller's request: items of one kind ("encode_texts", "imagine", ...) with the same options. While the
model works, tickets gather; when it is free, those like the oldest go together as one batch. So batches form under
load by themselves, and a lone caller never waits for company.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dar_search.errors import DarError, ModelBusy, ModelTimeout

Key = tuple[Hashable, ...]


@dataclass(eq=False, slots=True)
class Ticket:
    """One request and its outcome.

    Attributes:
        key: requests with the same key share a ticket; None: never shared.
        deadline: `time.monotonic()` after which nobody waits any more: the latest of those who share it.
        cost: what it counts in a batch; room: what a batch with it may count in all, None: as much as any.
        alone: never batched with others: it was part of a batch that the model did not survive.
        attempts: how often it was given to the model.
    """

    kind: str
    items: Sequence[Any]
    options: Key
    key: Key | None
    deadline: float
    cost: int
    room: int | None = None
    alone: bool = False
    attempts: int = 0
    results: Sequence[Any] | None = None
    error: DarError | None = None
    settled: threading.Event = field(default_factory=threading.Event)

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.deadline


@dataclass(frozen=True, slots=True)
class Pending:
    """A caller's hold on a ticket, which it may share with others; its own deadline counts."""

    ticket: Ticket
    deadline: float

    def outcome(self) -> Sequence[Any]:
        """Wait until the deadline, then return the results or raise what went wrong, ModelTimeout if nothing came."""
        if not self.ticket.settled.wait(max(0.0, self.deadline - time.monotonic())):
            raise ModelTimeout("The model did not answer in time.", "Allow more time, or ask for less.")
        error = self.ticket.error
        if error is not None:
            # A fresh one for each waiting thread: an exception object gathers the tracebacks of all who raise it.
            raise type(error)(error.message, error.hint)
        assert self.ticket.results is not None  # noqa: S101  # settled without an error
        return self.ticket.results


class Queue:
    """Tickets that wait, oldest first. Thread-safe; bounded by `capacity` tickets."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[Ticket] = deque()
        self._by_key: dict[Key, Ticket] = {}
        self.changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, ticket: Ticket) -> Ticket:
        """Queue a ticket, or return the one that already asks for the same. Raises ModelBusy if there is no room."""
        with self.changed:
            shared = self._by_key.get(ticket.key) if ticket.key is not None else None
            if shared is not None and not shared.settled.is_set():
                shared.deadline = max(shared.deadline, ticket.deadline)
                return shared
            if len(self._waiting) >= self._capacity:
                raise ModelBusy(f"{self._capacity} requests already wait for the model.", "Try again in a moment.")
            if ticket.key is not None:
                self._by_key[ticket.key] = ticket
            self._waiting.append(ticket)
            self.changed.notify_all()
            return ticket

    def put_back(self, tickets: Sequence[Ticket]) -> None:
        """Ahead of all others, whatever the capacity: they were let in before."""
        with self.changed:
            self._waiting.extendleft(reversed(tickets))
            self.changed.notify_all()

    def take(self, most: int, wait: float) -> list[Ticket]:
        """The oldest ticket and the waiting ones like it, at most `most` in all their costs (one may cost more).

        Waits at most `wait` seconds; [] if nothing came. Tickets that nobody waits for any more are dropped.
        """
        with self.changed:
            if not self._waiting:
                self.changed.wait(wait)
            first = self._next_wanted()
            if first is None:
                return []
            batch = [first]
            if first.alone:
                return batch
            kept: deque[Ticket] = deque()
            room = (most if first.room is None else min(most, first.room)) - first.cost
            while self._waiting and room > 0:
                ticket = self._waiting.popleft()
                alike = (ticket.kind, ticket.options) == (first.kind, first.options) and not ticket.alone
                if alike and ticket.cost <= room:
                    batch.append(ticket)
                    room -= ticket.cost
                else:
                    kept.append(ticket)
            self._waiting.extendleft(reversed(kept))
            return batch

    def settle(self, ticket: Ticket, *, results: Sequence[Any] | None = None, error: DarError | None = None) -> None:
        """Give a ticket its results or its error, and wake who waits."""
        with self.changed:
            ticket.results, ticket.error = results, error
            if ticket.key is not None and self._by_key.get(ticket.key) is ticket:
                del self._by_key[ticket.key]
            ticket.settled.set()

    def settle_waiting(self, error: DarError) -> None:
        """The same error for all that wait."""
        with self.changed:
            while self._waiting:
                self.settle(self._waiting.popleft(), error=error)

    def _next_wanted(self) -> Ticket | None:
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.expired:
                return ticket
            self.settle(ticket, error=ModelTimeout("The model did not come to it in time.", "Try again later."))
        return None
