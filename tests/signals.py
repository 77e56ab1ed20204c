"""Signals of processes that tests start."""

from __future__ import annotations

import signal


def hears_ctrl_c() -> None:
    """In a child, before it runs: Ctrl-C ends it, also where the tests run in the background and ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
