"""Hints for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], label: str, *, most: int = 12) -> str:
    """Did you mean ...? and the known names (at most `most`), as one line."""
    names = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    close = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    question = f"Did you mean {' or '.join(close)}? " if close else ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{question}{label}: {', '.join(names[:most]) or 'none'}{more}."
