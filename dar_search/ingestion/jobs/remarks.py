"""What a source comes upon and does not take: counted by reason, so that nothing is left out without a word.

Three things are kept apart. An item that cannot be ingested is a failure (`failures.FAILURE_CODES`). What is no item is
*skipped*. A caption or metadata, or a field of it, that cannot be used is a *warning*, and its picture is ingested all
the same; its code is the failures' code for what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from dar_search.errors import PictureError
from dar_search.ingestion.jobs.data import MAX_EXAMPLES, MAX_KINDS, OTHER_KINDS, Noted, Remarked

#: Stable, as the failures' codes are. What each counts, in the words of its line in a report.
SKIP_CODES: Mapping[str, str] = {
    "other_kind": "files of kinds that are not read as pictures",
    "unmatched_sidecar": "captions and metadata without a picture of their name",
    "hidden": "hidden names (--include-hidden takes them)",
    "system_folder": "folders that systems and programs make (--include-hidden takes them)",
    "excluded": "excluded names",
    "link": "links to a folder that is listed under its own name, or to nothing",
    "special_file": "pipes, sockets or devices",
    "replaced_member": "members that a later one of the same name replaces",
    "sample_part": "masks and the like beside a sample's picture",
    "blank_line": "blank lines",
    "not_downloaded": "rows for which img2dataset got no picture",
}
MAX_EXAMPLE = 300


def one_line(text: str) -> str:
    """Text of others for a message: no half characters, which no ledger keeps, and nothing that a terminal obeys."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Remarks:
    """Counts what a listing comes upon. `take` gives the counts since it was last called.

    Attributes:
        looked_at: when, on the monotonic clock, the listing last came upon anything.
    """

    def __init__(self) -> None:
        self.looked_at = 0.0
        self._counts: dict[tuple[str, str], int] = {}
        self._kinds: dict[tuple[str, str], dict[str, int]] = {}
        self._examples: dict[tuple[str, str], list[str]] = {}

    def look(self) -> None:
        """There is something, be it taken or not: so it is seen that a listing which takes long goes on."""
        self.looked_at = time.monotonic()

    def skip(self, code: str, place: str, kind: str = "") -> None:
        """place: where it is, as a URI; kind: a suffix or the like, by which it is counted too."""
        self._add("skipped", code, kind, place)

    def warn(self, error: PictureError, place: str, kind: str = "") -> None:
        """place: of the file or row with the annotation; kind: the field."""
        self._add("warnings", error.code, one_line(kind), one_line(f"{place}: {error.message}"))

    def take(self) -> Remarked:
        groups: dict[str, dict[str, Noted]] = {"skipped": {}, "warnings": {}}
        for (group, code), count in self._counts.items():
            key = (group, code)
            noted = Noted(count, self._kinds.get(key, {}), tuple(self._examples[key]))
            groups[group][code] = Noted().plus(noted)
        self._counts, self._kinds, self._examples = {}, {}, {}
        return Remarked(**groups)

    def _add(self, group: str, code: str, kind: str, example: str) -> None:
        self.look()
        key = (group, code)
        self._counts[key] = self._counts.get(key, 0) + 1
        if kind:
            kinds = self._kinds.setdefault(key, {})
            name = kind[:64] if kind[:64] in kinds or len(kinds) < MAX_KINDS else OTHER_KINDS
            kinds[name] = kinds.get(name, 0) + 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(example[:MAX_EXAMPLE])
