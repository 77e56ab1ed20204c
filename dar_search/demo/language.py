"""Captions of the demo world: short alt-texts, dense descriptions, and the ideal reformulation.

`Speaker` chooses the words. Every text is lower case and deterministic from its random generator.
"""

# ruff: noqa: S311  (drawing and telling, not cryptography)
from __future__ import annotations

import random
from collections.abc import Sequence

from dar_search.demo.phrasings import JOINTS, NOTHING_TOLD, OPENINGS, VALUE_PHRASES, Phrases
from dar_search.demo.splits import Split
from dar_search.demo.world import THING_ATTRIBUTES, TYPES, Attribute, Fact, Knowledge, Scene, truth

_HELD_OUT_SHARE = 0.5
_STARTS = ("it is ", "", "this is ")


class Speaker:
    """Puts facts into words. In the test split, half of what has held-out phrasings is said in one of those."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng, self.split = rng, split

    def say(self, phrases: Phrases) -> str:
        if self.split == "test" and phrases.held_out and self.rng.random() < _HELD_OUT_SHARE:
            return self.rng.choice(phrases.held_out)
        return self.rng.choice(phrases.common)

    def value(self, attribute: Attribute, value: str) -> str:
        return self.say(VALUE_PHRASES[attribute][value])

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


class PlainSpeaker(Speaker):
    """Says everything in the plainest words, always the same: for reformulations."""

    def __init__(self) -> None:
        super().__init__(random.Random(0), "train")

    def say(self, phrases: Phrases) -> str:
        return phrases.common[0]

    def chance(self, probability: float) -> bool:
        return False


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def noun_phrase(known: Knowledge, thing: str, speaker: Speaker) -> str:
    """What is known of one thing: "a small red striped kite in the upper left", or another order of words."""
    told = {attribute: known.get(Fact(attribute, thing)) for attribute in THING_ATTRIBUTES}
    words = {name: speaker.value(name, value) for name, value in told.items() if value is not None}
    noun = words.get("type") or speaker.value("type", thing)
    adjectives = [words[name] for name in ("size", "colour", "texture") if name in words]
    if speaker.chance(0.3):
        speaker.rng.shuffle(adjectives)
    if adjectives and speaker.chance(0.15):
        text = f"{with_article(noun)} that is {_listed(adjectives)}"
    else:
        text = with_article(" ".join([*adjectives, noun]))
    return f"{text} {words['place']}" if "place" in words else text


def caption(known: Knowledge, speaker: Speaker) -> str:
    """One phrase with all that is known: things (in any order), setting and sky."""
    things = [name for name in TYPES if any(fact.thing == name for fact in known)]
    if not isinstance(speaker, PlainSpeaker):
        speaker.rng.shuffle(things)
    parts = [noun_phrase(known, thing, speaker) for thing in things]
    if (count := known.get(Fact("count"))) is not None:
        words = speaker.value("count", count)
        parts = [*parts, f"{words} in total"] if speaker.chance(0.5) else [words, *parts]
    background = _background(known, speaker)
    body = _joined(parts, speaker) or ("" if background and speaker.chance(0.5) else speaker.say(NOTHING_TOLD))
    if not body:
        return background
    text = f"{background}, {body}" if background and speaker.chance(0.3) else f"{body} {background}".strip()
    return text if isinstance(speaker, PlainSpeaker) else speaker.say(OPENINGS) + text


def sentences(known: Knowledge, speaker: Speaker) -> str:
    """Several short sentences with all that is known: "there is a kite. the kite is red. it is at night."."""
    things = [name for name in TYPES if any(fact.thing == name for fact in known)]
    speaker.rng.shuffle(things)
    parts = []
    for thing in things:
        noun = speaker.value("type", thing)
        introduced = [Fact("type", thing)]
        later = [fact for fact in known if fact.thing == thing and fact.attribute != "type"]
        speaker.rng.shuffle(later)
        while later and speaker.chance(0.4):
            introduced.append(later.pop())
        phrase = noun_phrase({fact: known.get(fact, thing) for fact in introduced}, thing, speaker)
        parts.append(speaker.rng.choice(("there is ", "", "i see ")) + phrase)
        for fact in later:
            words = speaker.value(fact.attribute, known[fact])
            parts.append(f"{speaker.rng.choice((f'the {noun} is', f'the {noun} is', 'it is'))} {words}")
    for attribute in ("setting", "sky", "count"):
        if (value := known.get(Fact(attribute))) is not None:
            words = speaker.value(attribute, value)
            start = "there are " if attribute == "count" and value != "1" else speaker.rng.choice(_STARTS)
            place = speaker.rng.randint(0, len(parts)) if speaker.chance(0.3) else len(parts)
            parts.insert(place, start + words)
    return ". ".join(parts) or speaker.say(NOTHING_TOLD)


def alt_text(scene: Scene, rng: random.Random, split: Split = "train") -> str:
    """A short caption as found beside pictures on the web: one thing with up to two attributes, or the place."""
    return caption(_alt_facts(scene, rng), Speaker(rng, split))


def description(scene: Scene, rng: random.Random, split: Split = "train") -> str:
    """A dense caption: any number of things and attributes, as one phrase or as sentences."""
    return described(dense_facts(scene, rng), rng, split)


def described(known: Knowledge, rng: random.Random, split: Split = "train") -> str:
    """All of these facts as one phrase, as sentences, or as a reformulation has them."""
    speaker = Speaker(rng, split)
    if rng.random() < 0.3:
        return sentences(known, speaker)
    return reference_reformulation(known) if rng.random() < 0.35 else caption(known, speaker)


def reference_reformulation(known: Knowledge) -> str:
    """The ideal text for what has been told so far, in plain words and a fixed order.

    What a perfect reader of the dialogue would write; a value that was told wrongly and not yet corrected is in it.
    """
    return caption(known, PlainSpeaker())


def _alt_facts(scene: Scene, rng: random.Random) -> dict[Fact, str]:
    everything = truth(scene)
    if rng.random() < 0.2:
        chosen = rng.choice(([Fact("setting")], [Fact("sky")], [Fact("setting"), Fact("sky")]))
    else:
        thing = rng.choice(scene.things).type
        attributes = rng.sample(THING_ATTRIBUTES[1:], rng.choice((0, 1, 1, 2)))
        chosen = [Fact("type", thing), *(Fact(attribute, thing) for attribute in attributes)]
        if rng.random() < 0.25:
            chosen.append(Fact(rng.choice(("setting", "setting", "sky"))))
    return {fact: everything[fact] for fact in chosen}


def dense_facts(scene: Scene, rng: random.Random) -> dict[Fact, str]:
    """What a dense description tells: anything from one thing's type to everything."""
    everything = truth(scene)
    density = rng.random()
    things = {thing.type for thing in rng.sample(scene.things, rng.randint(1, len(scene.things)))}
    shares = {"setting": density, "sky": density, "count": density / 2}
    return {
        fact: value
        for fact, value in everything.items()
        if (fact.thing in things and (fact.attribute == "type" or rng.random() < density))
        or (not fact.thing and rng.random() < shares[fact.attribute])
    }


def _background(known: Knowledge, speaker: Speaker) -> str:
    attributes: tuple[Attribute, ...] = ("setting", "sky")
    parts = [speaker.value(name, known[Fact(name)]) for name in attributes if Fact(name) in known]
    if speaker.chance(0.4):
        parts.reverse()
    return " ".join(parts)


def _joined(parts: Sequence[str], speaker: Speaker) -> str:
    if len(parts) < 2:
        return "".join(parts)
    last = ", " if isinstance(speaker, PlainSpeaker) else speaker.say(JOINTS)
    return f"{', '.join(parts[:-1])}{last}{parts[-1]}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
