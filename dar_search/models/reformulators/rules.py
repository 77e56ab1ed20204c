"""The rules reformulator: joins the caption and what the answers add into one declarative text. No model, no state.

"a woman on a bench" + "is her hair long? yes" + "what color is the bench? brown" + "is it sunny? no"
becomes "a woman on a bench, long hair, brown bench".

- A "yes" turns its question into a statement; another answer is attached to what its question asks about.
- A "no" is left out, for CLIP's text encoders read "no dog" much like "a dog"; but "no, red" still says red.
- Vague answers ("can't tell") are left out; a later answer about the same thing replaces an earlier one.
- The caption comes first, unchanged, so that the text is never less than the caption.

What it knows of English is in the tables of rules_english.py; the code here only applies them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dar_search.data import Dialogue, Reformulation, Turn
from dar_search.models.reformulators import rules_english as english
from dar_search.models.reformulators import rules_prompt


@dataclass(slots=True)
class _Thing:
    """What was said of one thing, by kind: before its name ("red"), after it ("on the left"); alone: "a kite"."""

    name: str
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    alone: str = ""

    def phrase(self) -> str:
        if self.alone and not self.before and not self.after:
            return self.alone
        order = {kind: number for number, kind in enumerate(english.ADJECTIVE_ORDER)}
        adjectives = sorted(self.before.items(), key=lambda item: order.get(item[0], len(order)))
        return " ".join(dict.fromkeys([*(value for _, value in adjectives), self.name, *self.after.values()]))


class RulesReformulator:
    """A Reformulator by rules: deterministic, instant, and never without the caption."""

    @property
    def name(self) -> str:
        return "rules"

    @property
    def key(self) -> str:
        """See `ports.KeyedReformulator`: the rules are their own code."""
        return _key()

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        """The caption, then what the turns add; the prompt weaves what is said of its things into the caption.

        Raises nothing.
        """
        facts = _Facts()
        for turn in dialogue.turns:
            facts.add(turn)
        caption = " ".join(dialogue.caption.split()).rstrip(".,; ")
        text = _with_added(caption, facts.phrases()) or dialogue.text
        prompt = _with_added(*facts.woven_into(caption)) or text
        return Reformulation(text=text, prompts=(prompt,), reformulator=self.name)


@functools.cache
def _key() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("rules*.py")):
        digest.update(path.read_bytes())
    return f"rules {digest.hexdigest()[:16]}"


class _Facts:
    """What the turns say, in the order in which it came up; a later answer to the same question wins."""

    def __init__(self) -> None:
        self._said: dict[str, _Thing | str] = {}
        self._told_by: dict[str, str] = {}

    def add(self, turn: Turn) -> None:
        reading = _read(turn)
        if reading.doubted and reading.clauses:
            self._take_back(reading.question)
        if reading.clauses and (reading.asked or not reading.affirmed):
            answer = ", ".join(reading.clauses)
            self._tell(reading.question, reading.asked or _property(reading.question, answer), answer)
        elif reading.affirmed and not reading.asked:
            self._affirm(reading.statement, " ".join(reading.clauses))
        elif not reading.affirmed:
            self._said.pop(reading.statement, None)

    def phrases(self) -> Iterator[str]:
        for said in self._said.values():
            yield said if isinstance(said, str) else said.phrase()

    def woven_into(self, caption: str) -> tuple[str, list[str]]:
        """The caption with what was said of its things, and the phrases that are left."""
        left = []
        for said in self._said.values():
            if isinstance(said, str):
                left.append(said)
            elif (said.before or said.after) and (
                woven := rules_prompt.woven(caption, said.name, said.before, said.after)
            ):
                caption = woven
            else:
                left.append(said.phrase())
        return caption, left

    def _take_back(self, doubted: str) -> None:
        """Forget what was answered to the questions that a doubt is about ("are you sure about the weather?")."""
        for topic, questions in english.TOPICS:
            if topic.fullmatch(doubted):
                for key in [key for key, asked in self._told_by.items() if re.fullmatch(questions, asked)]:
                    self._said.pop(key, None)
                    del self._told_by[key]

    def _affirm(self, statement: str, added: str) -> None:
        told = None if added else _attribute(statement)
        if told and (told[0] != "place" or self._key(told[2]) in self._said):
            kind, value, name = told
            thing = self._thing(name)
            (thing.after if kind == "place" else thing.before)[kind] = value
            return
        if count := english.COUNT.fullmatch(added):
            phrase = f"{count['n']} {statement}".strip()
        elif f" {added} " in f" {statement} ":
            phrase = statement
        elif not statement or (added and (english.OWN_PHRASE.match(added) or _shares_word(statement, added))):
            phrase = added
        else:
            phrase = f"{statement} {added}".strip()
        if phrase:
            self._said[statement or phrase] = phrase

    def _tell(self, question: str, asked: tuple[str, str, str] | None, answer: str) -> None:
        kind, subject, verb = asked or ("", "", "")
        kind = _kind_of(answer) or kind
        if kind == "colour":
            answer = english.COLOUR_WORDS.sub("", answer)
        key = f"{kind or question} {subject}".strip()
        if not subject:  # an open question may be asked again for more
            if named := re.fullmatch(r"an? ([\w-]+(?: shape)?)", answer):
                self._thing(_thing_name(named[1])).alone = answer
                return
            self._said[answer] = answer
            self._told_by[answer] = question
        elif kind == "count":
            count = english.COUNT.fullmatch(answer)
            self._said[key] = f"{count['n']} {subject}" if count else answer
        elif verb:
            shown = [] if re.fullmatch(english.PRONOUN, subject) else [subject]
            shown += [] if verb == "doing" or answer.startswith(verb) else [verb]
            self._said[key] = " ".join([*shown, answer])
        elif kind == "age" and re.fullmatch(r"\d[\d\s-]*(?:(?:to|or) \d+)?", answer):
            self._thing(subject).after[kind] = f"{answer} years old"
        elif _stands_alone(answer, kind, subject):
            self._said[key] = answer
            self._told_by[key] = question
        elif english.PREPOSITION.match(answer) or len(answer.split()) > 3:
            self._thing(subject).after[kind] = answer
        else:
            self._thing(subject).before[kind] = answer

    @staticmethod
    def _key(name: str) -> str:
        return english.SAME_THING.get(name, name)

    def _thing(self, name: str) -> _Thing:
        key = self._key(name)
        thing = self._said.get(key)
        if not isinstance(thing, _Thing):
            thing = self._said[key] = _Thing(name)
        return thing


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a turn means. asked: see `_asked`; statement: what a "yes" would say; clauses: what the answer adds."""

    question: str
    asked: tuple[str, str, str] | None
    statement: str
    affirmed: bool
    clauses: tuple[str, ...]
    doubted: bool = False


@functools.lru_cache(maxsize=4096)  # each round of a dialogue reads the turns before it again
def _read(turn: Turn) -> _Reading:
    question = english.QUESTION_LEAD.sub("", _plain(turn.question))
    doubt = english.DOUBT.match(question)
    question = question[doubt.end() :] if doubt else question
    affirmed, clauses = _read_answer(turn.answer)
    return _Reading(question, _asked(question), _statement(question), affirmed, tuple(clauses), doubt is not None)


def _plain(text: str) -> str:
    text = " ".join(text[: english.MAX_CHARACTERS].lower().replace("\u2019", "'").split())
    for pattern, replacement in english.ALIKE:
        text = pattern.sub(replacement, text)
    return " ".join(text.split()).rstrip("?.!, ")


def _read_answer(answer: str) -> tuple[bool, list[str]]:
    """Whether it says yes, and its clauses that say what there is."""
    text = _plain(answer)
    yes = english.YES.match(text)
    opening = yes or english.NO.match(text)
    affirmed = yes is not None
    clauses = []
    for raw in english.CLAUSE_END.split(text[opening.end() :] if opening else text):
        clause = raw.strip()
        if english.VAGUE.search(clause) or english.NEGATIVE.search(clause):
            continue
        if english.ECHO.fullmatch(clause):
            affirmed = affirmed or not opening
            continue
        while lead := english.LEAD.match(clause):
            clause = clause[lead.end() :]
        if clause:
            clauses.append(" ".join(clause.split()[: english.MAX_CLAUSE_WORDS]))
    return affirmed, clauses


def _asked(question: str) -> tuple[str, str, str] | None:
    """(kind, the thing asked about, a verb to keep) of a question for a value; None for a yes/no question."""
    for pattern, kind in english.ASKED:
        if match := pattern.fullmatch(question):
            groups = match.groupdict()
            return kind or groups["o"], _thing_name(groups["s"]), groups.get("v") or ""
    if re.match(r"(?:what|which|who|whose|where|when|why|how)\b", question):
        return question, "", ""
    return None


def _property(question: str, answer: str) -> tuple[str, str, str] | None:
    """What "is the laptop silver" is about for the answer "white"; "is it a red kite" for "blue", and so on."""
    for pattern, kind in english.PROPERTY:
        match = pattern.fullmatch(question)
        if match and (kind != "value" or _kind_of(answer)) and (kind != "place" or english.PREPOSITION.match(answer)):
            return kind, _thing_name(match["s"]), ""
    return None


def _kind_of(value: str) -> str:
    """The kind of a value that tells its kind itself ("red": colour); empty for others."""
    return next((kind for pattern, kind in english.KIND_OF_VALUE if pattern.fullmatch(value)), "")


def _attribute(statement: str) -> tuple[str, str, str] | None:
    """(kind, value, name) of "an orange house" and "the star in the upper left"; None for other statements."""
    if match := re.fullmatch(r"(?:an? )?(?P<v>[\w-]+) (?P<s>[\w-]+(?: shape)?)", statement):
        kind = _kind_of(match["v"])
        return (kind, match["v"], _thing_name(match["s"])) if kind else None
    match = re.fullmatch(r"the (?P<s>[\w-]+(?: shape)?) (?P<v>(?:in|on|at|up|down) .+)", statement)
    return ("place", match["v"], _thing_name(match["s"])) if match else None


def _thing_name(subject: str) -> str:
    for _ in range(2):
        subject = english.SUBJECT_ENDS.sub("", english.IN_THE_PICTURE.sub("", subject.strip()))
    return subject


def _statement(question: str) -> str:
    """What a "yes" to the question says; empty where that is nothing."""
    question = english.IN_THE_PICTURE.sub("", question)
    for pattern, template in english.AFFIRMED:
        if match := pattern.fullmatch(question):
            groups = {name: value or "" for name, value in match.groupdict().items()}
            if verb := groups.get("v"):
                groups["v"] = english.THIRD_PERSON.get(verb, f"{verb}s")
            return " ".join(template.format(**groups).split())
    return ""


def _shares_word(one: str, other: str) -> bool:
    words = ({word.rstrip("s") for word in text.split() if len(word) > 3} for text in (one, other))
    return not set.isdisjoint(*words)


def _stands_alone(answer: str, kind: str, subject: str) -> bool:
    """Whether the answer says it all, so that naming its subject would only repeat or mislead."""
    if english.WHOLE_PICTURE.fullmatch(subject) or _shares_word(subject, answer) or english.OWN_PHRASE.match(answer):
        return True
    return bool(english.WEATHER.fullmatch(subject)) and (
        kind != "colour" or english.PREPOSITION.match(answer) is not None
    )


def _with_added(caption: str, phrases: Iterable[str]) -> str:
    """The caption, then the phrases that say something more."""
    known = f" {caption.lower()} "
    added = [phrase for phrase in _without_repeats(phrases) if f" {phrase} " not in known]
    return ", ".join(filter(None, [caption, *added]))


def _without_repeats(phrases: Iterable[str]) -> list[str]:
    """Without the phrases that another one contains: "a star" beside "green star in the upper left"."""
    kept: dict[str, str] = {}
    for phrase in phrases:
        core = f" {re.sub(r'^(?:an?|the|some) ', '', phrase)} "
        if any(core in other for other in kept):
            continue
        kept = {other: text for other, text in kept.items() if other not in core}
        kept[core] = phrase
    return list(kept.values())
