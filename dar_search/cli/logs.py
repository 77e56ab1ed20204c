"""Logging of the `dar` command: to standard error, quiet unless asked, secrets masked.

A record is one line: time, level, logger, message. Services configure their own.
"""

from __future__ import annotations

import logging
import warnings

from rich.logging import RichHandler

from dar_search.cli.shown.output import plain, side_console
from dar_search.settings.masking import masked

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class MaskSecrets(logging.Filter):
    """Passwords, tokens and credentials in addresses become "***", and what a terminal would obey is taken out."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = masked(plain(record.getMessage()))
        record.args = ()
        return True


def configure_logging(verbosity: int, *, debug: bool = False) -> None:
    """dar-search's own records from level warning (0), info (1) or debug (2); libraries say one level less."""
    own = _LEVELS[min(verbosity, 2)]
    handler = RichHandler(
        console=side_console(), show_path=False, markup=False, rich_tracebacks=debug, log_time_format="%H:%M:%S"
    )
    handler.addFilter(MaskSecrets())
    logging.basicConfig(level=logging.ERROR, handlers=[handler], format="%(name)s: %(message)s", force=True)
    logging.getLogger().setLevel(max(logging.ERROR - 10 * verbosity, logging.DEBUG))
    logging.getLogger("dar_search").setLevel(own)
    # Warnings of libraries speak to developers; a person sees them only when asking for more.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbosity or debug else logging.ERROR)
    if verbosity >= 2:
        warnings.simplefilter("default")
