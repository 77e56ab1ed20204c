"""A model for the model process's tests: it doubles numbers, and misbehaves on request."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

from dar_search.errors import WeightsMissing
from dar_search.models.process.worker import Run

HOG: list[bytearray] = []


def load(fail: str = "", load_s: float = 0.0) -> Mapping[str, Run]:
    time.sleep(load_s)
    if fail == "weights":
        raise WeightsMissing("No weights for tiny.", "Run `dar models fetch tiny`.")
    if fail == "die":
        os._exit(7)
    return {"double": double, "trouble": trouble, "batch_size": batch_size, "grow": grow}


def double(items: list[Any], options: tuple[Any, ...]) -> list[Any]:
    time.sleep(float(options[0]) if options else 0.0)
    return [2 * item for item in items]


def batch_size(items: list[Any], options: tuple[Any, ...]) -> list[Any]:
    time.sleep(0.05)
    return [len(items)] * len(items)


def grow(items: list[Any], options: tuple[Any, ...]) -> list[Any]:
    """Keeps so many MiB for each item, for good, faster than a look at the memory comes."""
    HOG.extend(bytearray(b"x") * (item << 20) for item in items)
    return items


def trouble(items: list[Any], options: tuple[Any, ...]) -> list[Any]:
    """Each item is (what, number): the number doubled, unless `what` names a trouble."""
    results = []
    for what, number in items:
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "hang":
            threading.Event().wait()
        elif what == "memory_error" or (what == "memory_error_in_batch" and len(items) > 1):
            raise MemoryError
        elif what == "hog":
            HOG.append(bytearray(b"x" * (300 << 20)))
            time.sleep(5.0)
        elif what == "raise":
            raise ValueError(f"no {number}")
        elif what == "too_few":
            return []
        results.append(2 * number)
    return results
