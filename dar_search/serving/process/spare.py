"""A file descriptor that is kept for the moment in which none is left: who comes then is told to come again."""

from __future__ import annotations

import logging
import os
import socket
import time

from gunicorn import util

from dar_search.errors import OutOfResources
from dar_search.serving.process.connections import whole_answer

_LOG = logging.getLogger(__name__)
_PARTING_SECONDS = 0.2
_NO_SPARE_SECONDS = 0.05


class SpareDescriptor:
    """Without it a caller that cannot be accepted is hung up on without a word, or waits for nothing."""

    def __init__(self) -> None:
        self._held: int | None = None
        self._short = False
        self.keep()

    def keep(self) -> None:
        """As long as callers can be accepted."""
        self._short = False
        self._hold()

    def turn_away(self, listener: socket.socket, short: OutOfResources) -> None:
        """Answers the next caller with 503."""
        if not self._short:
            _LOG.warning("Callers are turned away: %s", short)
        self._short = True
        if self._held is not None:
            os.close(self._held)
            self._held = None
        try:
            caller, _ = listener.accept()
            with caller:
                caller.settimeout(_PARTING_SECONDS)
                caller.sendall(whole_answer(short))
                util.close_graceful(caller, _PARTING_SECONDS)
        except OSError as error:
            _LOG.debug("A caller could not even be turned away: %s", error)
            time.sleep(_NO_SPARE_SECONDS)  # another thread was faster: the caller still waits
        self._hold()

    def _hold(self) -> None:
        if self._held is None:
            try:
                self._held = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                _LOG.debug("No descriptor can be kept: %s", error)
