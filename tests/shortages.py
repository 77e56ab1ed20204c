"""Moments in which a process cannot open anything: no file, no pipe, no socket. What is open goes on."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def no_descriptors(pid: int | None = None) -> Iterator[None]:
    """Until the block ends, for this process or another."""
    pid = os.getpid() if pid is None else pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (_lowest_free(pid), before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def held_by(pid: int | None = None) -> tuple[int, int, int]:
    """How many descriptors, threads and children a process has."""
    gc.collect()  # what earlier tests left to it
    process = psutil.Process(pid)
    return process.num_fds(), process.num_threads(), len(process.children())


def _lowest_free(pid: int) -> int:
    if pid == os.getpid():
        free = os.dup(0)
        os.close(free)
        return free
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH208  # names alone
    return next(number for number in range(len(used) + 1) if number not in used)
