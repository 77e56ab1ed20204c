"""What a text of the demo world says: facts read back out of words, to judge reformulations by.

A reader of its own, apart from the rules and the models that it judges: it knows every phrasing of the world, held-out
ones too, and gives each word to the thing in whose clause it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from dar_search.demo.phrasings import VALUE_PHRASES
from dar_search.demo.world import Attribute, Fact, Knowledge

Said = frozenset[tuple[Fact, str]]
"""Facts with their values; two values of one fact where a text says both."""

UNATTACHED = "?"
"""The thing of a word that is said of no thing ("red" alone): such a fact is never true."""
_SCENE = ("setting", "sky", "count")


def _meanings() -> dict[str, tuple[Attribute, str]]:
    found: dict[str, tuple[Attribute, str]] = {}
    for attribute, values in VALUE_PHRASES.items():
        for value, phrases in values.items():
            found.update(dict.fromkeys((*phrases.common, *phrases.held_out), (attribute, value)))
    return found


_MEANINGS = _meanings()
_LONGEST_FIRST = "|".join(re.escape(words) for words in sorted(_MEANINGS, key=len, reverse=True))
_TOKEN = re.compile(
    rf"\b(?:(?P<words>{_LONGEST_FIRST})|(?P<it>it is)|(?P<after>(?:that |which )?is)"
    r"|(?P<new>an?|the|next to|with|together with|as well as))\b|(?P<end>[,.;])"
)


@dataclass(slots=True)
class _Reader:
    said: set[tuple[Fact, str]] = field(default_factory=set)
    thing: str = ""
    last: str = ""
    waiting: list[tuple[Attribute, str]] = field(default_factory=list)
    listing: bool = False
    comma: bool = False
    since_comma: set[tuple[Attribute, str]] = field(default_factory=set)

    def read(self, text: str) -> Said:
        for token in _TOKEN.finditer(text.lower()):
            if token["end"]:
                self._end(token["end"])
            elif token["new"]:
                self.thing, self.listing = "", False
                self.comma, self.since_comma = False, set()
            elif token["it"]:
                self.thing, self.listing = self.last, bool(self.last)
            elif token["after"]:
                self.listing = bool(self.thing)
            else:
                self._take(*_MEANINGS[token["words"]])
        self._end(".")
        return frozenset(self.said)

    def _take(self, attribute: Attribute, value: str) -> None:
        if attribute in _SCENE:
            self.said.add((Fact(attribute), value))
        elif attribute == "type":
            # "a fish that is red, small kite": what followed the comma was the next thing's.
            self.said -= {(Fact(kind, self.thing), told) for kind, told in self.since_comma}
            self.waiting, self.since_comma = [*self.waiting, *self.since_comma], set()
            self.said |= {(Fact(kind, value), told) for kind, told in [*self.waiting, ("type", value)]}
            self.thing = self.last = value
            self.waiting, self.listing = [], False
        elif self.thing and (self.listing or attribute == "place"):
            self.said.add((Fact(attribute, self.thing), value))
            if self.comma and attribute != "place":
                self.since_comma.add((attribute, value))
            self.listing = self.listing and attribute != "place"
        else:
            self.waiting.append((attribute, value))

    def _end(self, mark: str) -> None:
        self.comma, self.since_comma = mark == "," and self.listing, set()
        if self.comma:
            return  # "a kite that is small, red and striped"
        # An adjective with no noun in its clause; "small, red kite" waits for its noun.
        if mark in ".;":
            self.said |= {(Fact(attribute, UNATTACHED), value) for attribute, value in self.waiting}
            self.waiting = []
        self.thing, self.listing = "", False


def read_facts(text: str) -> Said:
    """All facts that the text states."""
    return _Reader().read(text)


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over many texts. right: facts that were stated and told; stated and told: all of each."""

    right: int
    stated: int
    told: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.stated)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.told)


def score(pairs: Iterable[tuple[str, Knowledge]]) -> Score:
    """Texts beside what had been told when they were written."""
    right = stated = told = 0
    for text, known in pairs:
        said, wanted = read_facts(text), set(known.items())
        right, stated, told = right + len(said & wanted), stated + len(said), told + len(wanted)
    return Score(right, stated, told)
