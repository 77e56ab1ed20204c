"""Trouble that comes again and again is in the log once, and once more when it is over."""

from __future__ import annotations

import logging
from types import TracebackType

from dar_search.errors import DarError


class SaidOnce:
    """A context that may be entered again and again, by one thread at a time: no Exception leaves it.

    Each kind of them is logged once, a defect with its trace, until the context is left without one.

    Args:
        what: what could not be done, such as "The sweeper cannot use the ledger".
        foreign: what is raised is another library's, and no defect of ours.
    """

    def __init__(self, log: logging.Logger, what: str, *, foreign: bool = False) -> None:
        self._log, self._what, self._foreign = log, what, foreign
        self._said: set[type[BaseException]] = set()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            if self._said:
                self._log.warning("That is over: %s.", self._what)
            self._said.clear()
            return False
        if not isinstance(error, Exception):
            return False
        if type(error) not in self._said:
            if isinstance(error, DarError):
                self._log.warning("%s: %s", self._what, error)
            elif self._foreign:
                self._log.warning("%s (%s: %s).", self._what, type(error).__name__, error)
            else:
                self._log.error("%s.", self._what, exc_info=error)
            self._said.add(type(error))
        return True
