"""A running worker process and the socket to it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil

from dar_search.errors import DarError, ModelFailed, ModelOutOfMemory, ModelTimeout
from dar_search.models.process.messages import Answer, Batch, Start
from dar_search.models.process.tickets import Ticket

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model process may use.

    Attributes:
        waiting: tickets in the queue; one more is refused with ModelBusy.
        batch_items: items (texts, pictures, prompts) that go to the model together.
        batch_s: seconds a batch may take before the process is killed.
        start_s: seconds that loading and warming up may take.
        memory_bytes: resident memory above which the process is killed; None: no limit.
        attempts: how often a ticket is tried on processes that die under it.
    """

    waiting: int = 256
    batch_items: int = 64
    batch_s: float = 60.0
    start_s: float = 600.0
    memory_bytes: int | None = None
    attempts: int = 2


class ChildLost(Exception):
    """The process is gone. `blameless`: it may not be the batch's fault, so a lone ticket is worth another try."""

    def __init__(self, error: DarError, *, blameless: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.blameless = blameless


class Child:
    """A running worker process and the socket to it; used by the dispatcher's thread, `kill` by any.

    Raises OSError where the process cannot be started.
    """

    def __init__(self, start: Start) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dar_search.models.process.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # What libraries print must not mix with the answers of a command: all of it is log.
                stdout=2,
                start_new_session=True,
            )
            self._connection = Connection(ours.detach())
        self._lost = False
        self._start = start

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def killed_by_signal(self) -> bool:
        """Whether it died before `kill` was called: by somebody else's signal, no fault of the model's."""
        return self._lost and (self._process.returncode or 0) < 0

    def resident_bytes(self) -> int:
        """0 where it cannot be known just now."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except (psutil.Error, OSError):
            return 0

    def wait_ready(self, seconds: float, closing: threading.Event) -> None:
        limit = time.monotonic() + seconds
        try:
            self._connection.send(self._start)
            while not self._connection.poll(POLL_S):
                if closing.is_set():
                    raise shut_down()
                if time.monotonic() > limit:
                    raise ModelTimeout(f"The model did not load within {seconds:.0f} s.", "Raise the start limit.")
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._lost = True
            raise ModelFailed(f"The model process ended while loading ({self._ending()}).", "See its log.") from error
        if isinstance(answer, Answer) and (failure := answer.exception()) is not None:
            raise failure

    def run(self, batch: list[Ticket], limits: Limits) -> list[Answer]:
        limit = time.monotonic() + limits.batch_s
        next_look = 0.0
        try:
            self._connection.send(Batch(batch[0].kind, batch[0].options, tuple(ticket.items for ticket in batch)))
            while not self._connection.poll(POLL_S):
                now = time.monotonic()
                if now > limit:
                    late = ModelTimeout(f"The model took over {limits.batch_s:g} s and was ended.")
                    raise ChildLost(late, blameless=False)
                if limits.memory_bytes is not None and now > next_look:
                    next_look = now + 5 * POLL_S
                    if self.resident_bytes() > limits.memory_bytes:
                        large = ModelOutOfMemory("The model used more memory than it may and was ended.")
                        raise ChildLost(large, blameless=False)
            answers = self._connection.recv()
        except (EOFError, OSError) as error:
            failed = ModelFailed(f"The model process ended ({self._ending()}).", "Try again.")
            raise ChildLost(failed, blameless=True) from error
        if not isinstance(answers, list) or len(answers) != len(batch):
            raise ChildLost(ModelFailed("The model process answered nonsense."), blameless=True)
        return answers

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.kill()

    def _ending(self) -> str:
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "its socket closed"
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


def shut_down() -> ModelFailed:
    return ModelFailed("The model process is shut down.")
