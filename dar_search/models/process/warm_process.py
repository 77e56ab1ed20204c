"""The model process that a command leaves behind, so that the next one need not load the models again.

Started as `python -P -m dar_search.models.process.warm_process SOCKET SECONDS`. It listens at a Unix socket in a folder
that its owner alone may enter, and ends by itself: after SECONDS without a command, when it is told to, or when its
socket is taken away. `messages` says what goes over a connection, of which there may be several; the first message of
this side is the process's number, and `STOP` in place of a batch ends the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from dar_search.models.process.messages import STOP, Answer, Start
from dar_search.models.process.worker import Run, answers, failed, loaded

_LOOK_SECONDS = 1.0


class WarmProcess:
    """Serves connections until nobody has asked for `seconds`."""

    def __init__(self, listener: socket.socket, path: Path, seconds: float) -> None:
        self._listener, self._path, self._seconds = listener, path, seconds
        self._ours = path.stat().st_ino
        self._models: Mapping[str, Run] | None = None
        self._one_at_a_time = threading.Lock()
        self._counting = threading.Lock()
        self._connections = 0
        self._last = time.monotonic()
        self._stopped = threading.Event()

    def serve(self) -> None:
        self._listener.settimeout(_LOOK_SECONDS)
        while not self._stopped.is_set() and self._wanted():
            with contextlib.suppress(TimeoutError):
                accepted, _ = self._listener.accept()
                accepted.settimeout(None)
                self._count(+1)
                threading.Thread(target=self._hold, args=(Connection(accepted.detach()),), daemon=True).start()
        self._leave()

    def _leave(self) -> None:
        """From now on nobody comes here: the next command starts another one."""
        if self._has_path():
            self._path.unlink()

    def _wanted(self) -> bool:
        with self._counting:
            if self._connections:
                return True
            idle = time.monotonic() - self._last
        return idle < self._seconds and self._has_path()

    def _has_path(self) -> bool:
        try:
            return self._path.stat().st_ino == self._ours
        except OSError:
            return False

    def _count(self, change: int) -> None:
        with self._counting:
            self._connections += change
            self._last = time.monotonic()

    def _hold(self, connection: Connection) -> None:
        try:
            with connection:
                connection.send(os.getpid())
                self._answer(connection)
        except (EOFError, OSError):
            return  # the command has ended, or was ended
        finally:
            self._count(-1)

    def _answer(self, connection: Connection) -> None:
        start = connection.recv()
        if start == STOP:
            self._leave()
            self._stopped.set()
            connection.send(STOP)
            return
        try:
            with self._one_at_a_time:
                models = self._loaded(start)
        except Exception as error:  # noqa: BLE001  # whatever a model's loading raises is the command's to report
            self._leave()
            self._stopped.set()
            connection.send(failed(error))
            return
        connection.send("ready")
        while (batch := connection.recv()) is not None:
            with self._one_at_a_time:
                answered: list[Answer] = answers(models, batch)
            connection.send(answered)

    def _loaded(self, start: Start) -> Mapping[str, Run]:
        if self._models is None:
            self._models = loaded(start)
        return self._models


def main() -> None:
    path, seconds = Path(sys.argv[1]), float(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        if os.fork():  # nothing is loaded yet; the command waits for this one alone, and then finds the socket
            os._exit(0)
        WarmProcess(listener, path, seconds).serve()


if __name__ == "__main__":
    main()
