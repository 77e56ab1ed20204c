"""Keeps what the model libraries print (progress bars, notes) off the user's terminal."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

# (message, category, module): what a library warns itself of, and a user can do nothing about.
_EXCUSED = (
    # diffusers 0.42 compiles a piece of one of its pipelines at import, in a way that torch 2.15 calls deprecated.
    (r"`torch\.jit\.script` is deprecated", FutureWarning, r"torch\.jit\._script"),
    # Its schedulers hand tensors to NumPy 2, which torch 2.15 still supports in NumPy 1's way.
    (r"__array__ implementation doesn't accept a copy keyword", DeprecationWarning, r"diffusers\.schedulers\..*"),
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, no library draws a progress bar, notes what is no error, or configures the root logger.

    Not for fetching, which shows its progress.
    """
    for message, category, module in _EXCUSED:
        # Not `catch_warnings`, which is the whole process's and would undo what another thread sets.
        warnings.filterwarnings("ignore", message, category, module)
    with ExitStack() as stack:
        stack.enter_context(_root_logger_untouched())
        for library in ("transformers", "diffusers"):
            # Only where it is loaded already: importing one for the other's sake would cost seconds.
            if library in sys.modules:
                stack.enter_context(_silent(library))
        yield


@contextmanager
def _silent(library: str) -> Iterator[None]:
    logs: Any = __import__(f"{library}.utils.logging", fromlist=["logging"])
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """open_clip calls `logging.info`, which configures the whole process's root logger where it has no handler."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    silent = logging.NullHandler()
    root.addHandler(silent)
    try:
        yield
    finally:
        root.removeHandler(silent)
