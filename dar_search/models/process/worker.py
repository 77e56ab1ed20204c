"""The model process: loads what it is told to, then answers batches over a socket until told to stop.

Started as `python -P -m dar_search.models.process.worker FD` with one end of a socket pair. `messages` says
what goes over it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from dar_search.errors import DarError, ModelFailed, ModelOutOfMemory
from dar_search.models.process.messages import Answer, Batch, Start

Run = Callable[[list[Any], tuple[Any, ...]], Sequence[Any]]
PR_SET_PDEATHSIG = 1


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start: Start = connection.recv()
    _end_with(start.parent)
    try:
        kinds = loaded(start)
    except Exception as error:  # noqa: BLE001  # whatever a model's loading raises is the supervisor's to report
        connection.send(failed(error))
        return
    connection.send("ready")
    while (batch := _next(connection)) is not None:
        connection.send(answers(kinds, batch))


def loaded(start: Start) -> Mapping[str, Run]:
    """The kinds of batches that the models of a `Start` answer. Raises whatever their loading raises."""
    sys.path[:] = [*start.path, *(entry for entry in sys.path if entry not in start.path)]
    module, function = start.factory.split(":")
    return {"ping": _ping, **getattr(importlib.import_module(module), function)(**start.arguments)}


def answers(kinds: Mapping[str, Run], batch: Batch) -> list[Answer]:
    """Run a batch; out of memory, its halves; where a batch raises, each ticket alone: one bad item fails alone."""
    try:
        run = kinds[batch.kind]
        items = [item for request in batch.requests for item in request]
        results = run(items, batch.options)
        if len(results) != len(items):
            raise ModelFailed(f"The model gave {len(results)} results for {len(items)} items.")
    except Exception as error:  # noqa: BLE001  # as above
        if len(batch.requests) == 1:
            return [failed(error)]
        if _is_out_of_memory(error):
            _free_memory()
        middle = len(batch.requests) // 2
        halves = batch.requests[:middle], batch.requests[middle:]
        return [answer for half in halves for answer in answers(kinds, Batch(batch.kind, batch.options, half))]
    out, at = [], 0
    for request in batch.requests:
        out.append(Answer(results=results[at : at + len(request)]))
        at += len(request)
    return out


def _ping(items: list[Any], options: tuple[Any, ...]) -> Sequence[Any]:
    return items


def _next(connection: Connection) -> Batch | None:
    try:
        return connection.recv()  # type: ignore[no-any-return]
    except EOFError:
        return None


def failed(error: Exception) -> Answer:
    if isinstance(error, DarError):
        return Answer(error=(type(error).__name__, error.message, error.hint))
    if _is_out_of_memory(error):
        _free_memory()
        return Answer(error=(ModelOutOfMemory.__name__, "The model ran out of memory.", "Ask for fewer at once."))
    return Answer(error=(ModelFailed.__name__, f"The model raised {type(error).__name__}: {error}"[:500], ""))


def _is_out_of_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError is known by name: this module stays free of torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _end_with(parent: int) -> None:
    """End when the supervisor's process does, even in the middle of a batch or of a hang."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

    if sys.platform != "linux":

        def watch() -> None:
            never = threading.Event()
            while os.getppid() == parent:
                never.wait(1.0)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
