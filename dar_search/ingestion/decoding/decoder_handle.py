"""A decoder process, seen from the process that started it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dar_search.errors import OutOfResources
from dar_search.ingestion.decoding.held_bytes import HeldBytes
from dar_search.ingestion.decoding.jobs import Decoded, Job, Outcome, Same, Undecodable
from dar_search.ingestion.decoding.limits import DecodeLimits
from dar_search.ingestion.decoding.wire import BadMessage, Message, Unpacker
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.preparation import Preparation

COMMAND = (sys.executable, "-P", "-m", "dar_search.ingestion.decoding.decoder_process")
START_SECONDS = 60.0
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_COMMON_PIPE_BYTES = 1 << 16
_THUMBNAIL_BYTES = 1 << 13  # a large one
#: See `DecoderHandle.wanted`: between these, as many as are done in this time.
LEAST_JOBS, MOST_JOBS = 2, 32
_STRETCH_SECONDS = 0.1
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHOME")


class Died(Exception):
    """The process ended, or answered nonsense and was ended."""


class DecoderHandle:
    """One decoder process, and the jobs that it has been given.

    It must be made in a thread that lives as long as the process shall: Linux ends it with that thread.

    Raises OSError where the process cannot be started.

    Attributes:
        jobs: given and not yet answered, oldest first: the process works on the first one.
        wanted: how many jobs it should have, so that it need not wait for ours: some, but none that another process,
            which has nothing to do, could do meanwhile.
        ready: whether it has started and confined itself.
    """

    def __init__(
        self,
        preparation: Preparation,
        limits: DecodeLimits,
        command: Sequence[str] = COMMAND,
        allowance: Allowance = EVERYTHING,
    ) -> None:
        self.jobs: deque[Job] = deque()
        self.ready = False
        self.wanted = LEAST_JOBS
        self._received = time.monotonic()
        self._seconds_each = 0.0
        self._preparation = preparation
        self._limits = limits
        self._unpacker = Unpacker()
        self._piece = memoryview(bytearray(_READ_BYTES))
        self._held: deque[tuple[Job, HeldBytes]] = deque()
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                bufsize=0,
                env=_environment(),
                process_group=0,  # Ctrl-C is for the process that the user started
            )
        except OSError:
            self._complaints.close()
            raise
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018  # for mypy
        self._requests = self._process.stdin.fileno()
        self.answers = self._process.stdout.fileno()
        """The file descriptor to wait on before `receive`."""
        os.set_blocking(self.answers, False)
        os.set_blocking(self._requests, False)
        # Answers that may wait to be read: half of what the pipe holds, so that the process never waits for room.
        answer_bytes = 3 * preparation.width * preparation.height + _THUMBNAIL_BYTES
        self._most_unread = _enlarged(self.answers) // (2 * answer_bytes)
        self._deadline = time.monotonic() + START_SECONDS
        setup = {"preparation": asdict(preparation), "limits": asdict(limits), "allowance": asdict(allowance)}
        self._unsent = bytearray(Message(setup | {"parent": os.getpid()}).pack())

    def give(self, job: Job) -> None:
        """One more job; it goes to the process with the next `send`. Raises OutOfResources: then it was not given."""
        path, start, length = job.item.path, job.item.start, job.item.length
        if job.data:
            try:
                held = HeldBytes(job.data)
            except OSError as error:
                raise OutOfResources.named(error.strerror or str(error)) from error
            self._held.append((job, held))
            path, start, length = held.path, 0, 0
        if self.ready and not self.jobs:
            self._deadline = time.monotonic() + self._limits.seconds
        self.jobs.append(job)
        request = {"path": path.decode("latin-1"), "start": start, "length": length, "held": bool(job.data)}
        self._unsent += Message(request | {"known": job.known_sha256}).pack()

    def send(self) -> None:
        """What was given goes to the process, as far as it fits into the pipe; the rest goes with the next `send`."""
        # A broken pipe shows itself at the next receive().
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            if self._unsent:
                del self._unsent[: os.write(self._requests, self._unsent)]

    def seconds_left(self) -> float:
        """Until it counts as hanging; infinite where it has nothing to do."""
        if self.ready and not self.jobs:
            return float("inf")
        return self._deadline - time.monotonic()

    def spare_seconds(self) -> float:
        """How long it may be left alone, as far as can be told: it has enough to do, and room for its answers."""
        return min(len(self.jobs) - LEAST_JOBS, self._most_unread) * self._seconds_each

    def receive(self) -> list[Outcome]:
        """The answers that have arrived; does not wait. Raises Died; OutOfResources where the process was short."""
        outcomes = self._read()
        if outcomes:
            self._seconds_each = (time.monotonic() - self._received) / len(outcomes)
            self.wanted = min(MOST_JOBS, max(LEAST_JOBS, int(_STRETCH_SECONDS / self._seconds_each)))
            self._received = time.monotonic()
        return outcomes

    def _read(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            while length := os.readv(self.answers, [self._piece]):
                self._deadline = time.monotonic() + self._limits.seconds
                self._unpacker.feed(self._piece[:length])
                while (message := self._unpacker.next()) is not None:
                    self._take(message, outcomes)
                if length < len(self._piece):
                    return outcomes  # the pipe is empty; if it is closed too, the next call sees it
        except BlockingIOError:
            return outcomes
        except (BadMessage, KeyError, TypeError, ValueError, OSError):
            self.kill()
        if outcomes:
            return outcomes  # the end is seen again at the next call
        raise Died

    def kill(self) -> None:
        """Ends the process, from any thread."""
        self._process.kill()
        self._process.wait()

    def end(self) -> str:
        """Ends the process and frees what it held -> how it ended, for people."""
        self._process.kill()
        status = self._process.wait()
        while self._held:
            self._held.popleft()[1].close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").split("\n")
        self._complaints.close()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{_ending(status)}{f', saying: {last[:300]}' if last else ''}"

    def _take(self, message: Message, outcomes: list[Outcome]) -> None:
        if not self.ready:
            if message.fields.get("status") != "ready":
                raise BadMessage("not ready")
            self.ready = True
        elif self.jobs:
            outcomes.append(self._outcome(self.jobs[0], message))
            self._release(self.jobs.popleft())
        else:
            raise BadMessage("an answer that nobody asked for")

    def _release(self, job: Job) -> None:
        while self._held and self._held[0][0] is job:
            self._held.popleft()[1].close()

    def _outcome(self, job: Job, message: Message) -> Outcome:
        fields = message.fields
        if fields["status"] == "same":
            return Same(job)
        if fields["status"] == "short":
            raise OutOfResources(str(fields["message"])[:500], str(fields["hint"])[:500])
        if fields["status"] == "failed" and fields["code"] in FAILURE_CODES:
            return Undecodable(job, fields["code"], " ".join(str(fields["message"])[:500].split()))
        width, height, sha256 = int(fields["width"]), int(fields["height"]), str(fields["sha256"])
        if fields["status"] != "decoded" or min(width, height) < 1 or len(bytes.fromhex(sha256)) != 32:
            raise BadMessage("no outcome")
        return Decoded(job, sha256, self._pixels(message.pixels), message.thumbnail, width, height)

    def _pixels(self, raw: bytes) -> NDArray[np.uint8]:
        return np.frombuffer(raw, np.uint8).reshape(self._preparation.height, self._preparation.width, 3)


def _environment() -> dict[str, str]:
    """Enough to start, one thread for each numeric library, and none of the parent's secrets."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _enlarged(pipe: int) -> int:
    """A pipe that holds a whole answer spares the decoder from waiting for its reader -> the bytes that it holds."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # the system's limit for pipes is lower: slower, not wrong
            return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return _COMMON_PIPE_BYTES


def _ending(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
