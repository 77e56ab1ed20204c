"""Sockets with a budget of time and bytes that holds for every single read.

A server that drips a byte now and then resets a socket's time-out with each one, in the headers too. So each read from
the network asks the budget of the whole request how long it may wait, and tells it what came.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

_LOOK_SECONDS = 0.5  # how often a read that waits looks whether it is to stop


class OverBudget(OSError):
    """A request has used up its time or its bytes; the budget says which."""


@dataclass(slots=True)
class Budget:
    """What a request may still cost.

    Attributes:
        deadline: on `time.monotonic`'s clock.
        bytes_left: that may come over the network, headers and all.
        stopping: set where nobody wants the answer any more.
        exceeded: what was too much, if anything was.
    """

    deadline: float
    bytes_left: int
    stopping: threading.Event
    exceeded: Literal["", "time", "bytes"] = ""

    def seconds_left(self) -> float:
        """Raises OverBudget where there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0 or self.stopping.is_set():
            self.exceeded = "time"
            raise OverBudget
        return left

    def take(self, number: int) -> int:
        self.bytes_left -= number
        if self.bytes_left < 0:
            self.exceeded = "bytes"
            raise OverBudget
        return number


class WatchedSocket(socket.socket):
    budget: Budget | None = None

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if self.budget is None:
            return super().recv_into(buffer, nbytes, flags)
        return _received(self, self.budget, super().recv_into, buffer, nbytes, flags)


class WatchedTlsSocket(ssl.SSLSocket):
    budget: Budget | None = None

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if self.budget is None:
            return super().recv_into(buffer, nbytes, flags)
        return _received(self, self.budget, super().recv_into, buffer, nbytes, flags)


def _received(sock: socket.socket, budget: Budget, receive: Any, *arguments: Any) -> int:
    while True:
        sock.settimeout(min(budget.seconds_left(), _LOOK_SECONDS))
        with contextlib.suppress(TimeoutError):
            return budget.take(int(receive(*arguments)))


def watched(made: socket.socket, budget: Budget | None = None) -> WatchedSocket:
    """A connected socket as one that asks a budget. TLS over it: `WatchedTlsSocket`, of the context."""
    timeout = made.gettimeout()
    found = WatchedSocket(made.family, made.type, made.proto, made.detach())
    found.settimeout(timeout)
    found.budget = budget
    return found
