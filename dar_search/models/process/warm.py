"""Models in a process that outlives the command: what `remote` asks in place of a `ModelProcess` of its own.

`dar search` spends nearly all its time importing torch and loading weights; the second one finds them loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed, ModelTimeout
from dar_search.models.process.child import Limits
from dar_search.models.process.hosted import Named
from dar_search.models.process.messages import STOP, Answer, Batch, Start
from dar_search.models.process.supervisor import Health
from dar_search.models.process.tickets import Key
from dar_search.settings import model_environment

_FOLDER = "warm-models"
_LONGEST_PATH = 100  # of a Unix socket: 108 bytes on Linux, 104 elsewhere, with the null at its end


def can_be_warm(data_folder: Path) -> bool:
    """Whether such a socket can be made in the data folder, by this user and on this file system."""
    path = _socket_path(data_folder, "0" * 16)
    if not hasattr(socket, "AF_UNIX") or len(os.fsencode(path)) > _LONGEST_PATH:
        return False
    trial = path.with_suffix(f".{secrets.token_hex(3)}")  # of several callers at once each has its own
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(str(trial))
        trial.unlink()
    except OSError:
        return False
    return True


def stop_all(data_folder: Path) -> int:
    """Ends the processes that commands left behind -> how many there were."""
    stopped = 0
    for path in sorted((data_folder / _FOLDER).glob("*.socket")):
        with contextlib.suppress(OSError, EOFError):
            with _connected(path) as connection:
                connection.recv()
                connection.send(STOP)
                connection.recv()
            stopped += 1
            continue
        path.unlink(missing_ok=True)  # nobody listens any more
    return stopped


class WarmModels:
    """One conversation with a warm process, which is started where there is none. One call after the other, whoever
    calls; each takes the time that it takes, as it would in this process.

    Args:
        factory, arguments: as of `ModelProcess`; with the program's own state they are what tells processes apart.
        seconds: how long the process stays after its last command.
    """

    def __init__(
        self, factory: str, arguments: Mapping[str, Any], limits: Limits, *, data_folder: Path, seconds: float
    ) -> None:
        self.limits = limits
        self._start = Start(factory, dict(arguments), tuple(sys.path), 0)
        self._path = _socket_path(data_folder, _key(factory, arguments))
        self._seconds = seconds
        self._connection: Connection | None = None
        self._one_at_a_time = threading.Lock()
        self._pid = 0

    def call(
        self,
        kind: str,
        items: Sequence[Any],
        *,
        options: Key = (),
        key: Hashable | None = None,
        timeout: float | None = None,
    ) -> Sequence[Any]:
        """As `ModelProcess.call`. Raises ModelTimeout, ModelFailed, and what the model raised of the error tree."""
        return self.submit(kind, items, options=options, timeout=timeout).outcome()

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
    ) -> _Settled:
        """As `ModelProcess.submit`, but done when it returns: key, cost and room mean nothing to a single caller."""
        answers = self._asked(Batch(kind, options, (items,)), timeout)
        if not isinstance(answers, list) or len(answers) != 1 or not isinstance(answers[0], Answer):
            raise ModelFailed("The model process answered nonsense.", "End it with: dar models stop")
        return _Settled(answers[0])

    def health(self) -> Health:
        return Health("ready" if self._connection else "idle", self._pid or None, 0, 0, 0, "")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _asked(self, batch: Batch, seconds: float | None) -> Any:
        with self._one_at_a_time:
            try:
                connection = self._connection = self._connection or self._opened()
                connection.send(batch)
                if connection.poll(seconds):
                    return connection.recv()
                raise ModelTimeout(f"The model did not answer within {seconds:g} s.")
            except BaseException as error:
                self.close()  # an answer that still comes is nobody's
                if isinstance(error, EOFError | OSError):
                    raise ModelFailed(f"The model process ended ({type(error).__name__}).", "Try again.") from error
                raise

    def _opened(self) -> Connection:
        try:
            return self._begun()
        except (EOFError, OSError):  # it ended just then
            return self._begun()

    def _begun(self) -> Connection:
        connection = self._found_or_started()
        self._pid = connection.recv()
        connection.send(self._start)
        if not connection.poll(self.limits.start_s):
            raise ModelTimeout(f"The model did not load within {self.limits.start_s:.0f} s.", "Raise the start limit.")
        said = connection.recv()
        if isinstance(said, Answer) and (failure := said.exception()) is not None:
            raise failure
        return connection

    def _found_or_started(self) -> Connection:
        with _locked(self._path.with_suffix(".lock")):  # of two commands at once, one starts it
            try:
                return _connected(self._path)
            except OSError:
                self._path.unlink(missing_ok=True)
            command = [sys.executable, "-P", "-m", "dar_search.models.process.warm_process", str(self._path)]
            nowhere = subprocess.DEVNULL  # a reader of this command's output must see its end
            subprocess.run(
                [*command, str(self._seconds)],
                stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, cwd="/", check=False,
            )  # fmt: skip
            return _connected(self._path)


@dataclass(frozen=True, slots=True)
class _Settled:
    answer: Answer

    def outcome(self) -> Sequence[Any]:
        if (failure := self.answer.exception()) is not None:
            raise failure
        return self.answer.results or ()


def _socket_path(data_folder: Path, key: str) -> Path:
    return data_folder.absolute() / _FOLDER / f"{key}.socket"


def _key(factory: str, arguments: Mapping[str, Any]) -> str:
    """Another model, option, environment, interpreter or version of this program is another process; so is a model's
    folder whose files have changed."""
    code = max(path.stat().st_mtime_ns for path in Path(__file__).parents[1].rglob("*.py"))
    named = [value for value in arguments.values() if isinstance(value, Named)]
    folders = [Path(one.name.partition(":")[2]) for one in named if ":" in one.name]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    asked = sorted((name, repr(value)) for name, value in arguments.items())
    told_apart = (factory, asked, sys.executable, code, states, model_environment())
    return hashlib.sha256(repr(told_apart).encode()).hexdigest()[:16]


def _connected(path: Path) -> Connection:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(str(path))
        return Connection(ours.detach())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
