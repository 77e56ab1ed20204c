"""What the rules give to an imaginer: the caption with what became known of its things woven into it.

"a woman on a bench" and a brown bench become "a woman on a brown bench". A text encoder takes "a bench, brown bench"
for one bench; a diffusion model draws two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dar_search.models.reformulators import rules_english as english

# Single words only: patterns that repeat inside a repetition would take exponential time on a hostile caption.
_KINDS = {"size": english.SIZE, "colour": english.COLOUR, "pattern": english.PATTERN}
_ADJECTIVE = rf"(?:{'|'.join(_KINDS.values())})"
_LIST = rf"{_ADJECTIVE}(?:(?:, and |, | and ){_ADJECTIVE})*"
_JOINT = re.compile(r", and |, | and ")


def woven(caption: str, name: str, before: Mapping[str, str], after: Mapping[str, str]) -> str | None:
    """The caption, saying of its one thing of that name what was told of it; None where it names none, or several.

    before, after: kind -> words that stand before the name ("red") and after it ("on the left"). What was told later
    takes the place of what the caption says.
    """
    pattern = re.compile(
        rf"\b(?P<article>an?|the|one) (?P<own>(?:{_ADJECTIVE} )*)(?P<name>(?:{_spellings(name)})(?: shape)?)\b"
        rf"(?: that (?:is|are) (?P<more>{_LIST})\b)?",
        re.IGNORECASE,
    )
    found = list(pattern.finditer(caption))
    if len(found) != 1:
        return None
    match = found[0]
    own = [*(match["own"] or "").split(), *_JOINT.split(match["more"] or "")]
    merged = {kind: word for word in own if (kind := _kind(word))} | dict(before)
    order = {kind: number for number, kind in enumerate(english.ADJECTIVE_ORDER)}
    adjectives = [merged[kind] for kind in sorted(merged, key=lambda kind: order.get(kind, len(order)))]
    words = " ".join([*adjectives, match["name"], *after.values()])
    article = match["article"].lower()
    if article in ("a", "an"):
        article = "an" if words[0].lower() in "aeiou" else "a"
    return f"{caption[: match.start()]}{article} {words}{caption[match.end() :]}"


def _spellings(name: str) -> str:
    names = {name, english.SAME_THING.get(name, name)}
    names |= {other for other, one in english.SAME_THING.items() if one in names}
    return "|".join(re.escape(one) for one in sorted(names))


def _kind(word: str) -> str:
    return next((kind for kind, words in _KINDS.items() if re.fullmatch(words, word, re.IGNORECASE)), "")
