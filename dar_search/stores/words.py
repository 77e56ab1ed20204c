"""Text -> words, as OpenSearch's `english` analyzer makes them before it stems.

Lucene's chain (`EnglishAnalyzer`): word boundaries of Unicode Annex 29, the possessive 's removed, lower case, stop
words removed. Porter's stemmer, the last link, is SQLite's own. With it, the keyword leg of the embedded store matches
the same captions as the one of OpenSearch.
"""

from __future__ import annotations

import re

import regex

MAX_WORD_CHARACTERS = 255
"""Longer words are cut into pieces, as Lucene's tokenizer does."""
_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_POSSESSIVE = ("'s", "'S", "’s", "’S", "＇s", "＇S")


def words(text: str) -> list[str]:
    """The words of a text, in order, with repetitions; none has a quote mark, a space or an operator in it."""
    found: list[str] = []
    for segment in _segments(text):
        for start in range(0, len(segment), MAX_WORD_CHARACTERS):
            word = segment[start : start + MAX_WORD_CHARACTERS]
            if word.endswith(_POSSESSIVE):
                word = word[:-2]
            # Lucene lowers each character for itself: a final sigma is one like the others.
            word = word.lower() if word.isascii() else "".join(character.lower()[0] for character in word)
            if word and word not in STOP_WORDS:
                found.append(word)
    return found


def _segments(text: str) -> list[str]:
    if text.isascii():
        return [segment for segment in _ASCII_SEGMENT.findall(text) if segment.strip("_")]
    return [segment for segment in _SEGMENT.findall(text) if not _JOINERS_ALONE.fullmatch(segment)]


# Annex 29's rules WB4 to WB13 as Lucene's StandardTokenizer has them, but for joiners alone ("__"), which are no word:
# the patterns take them too, so that no text makes them try the same stretch twice.
_MORE = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"
_JOINER = rf"\p{{WB=ExtendNumLet}}{_MORE}"


def _segment_pattern() -> str:
    letter = rf"[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]{_MORE}"
    digit = rf"\p{{WB=Numeric}}{_MORE}"
    in_letters = rf"(?:[\p{{WB=MidLetter}}\p{{WB=MidNumLet}}\p{{WB=Single_Quote}}]{_MORE}(?={letter}))?+"
    in_digits = rf"(?:[\p{{WB=MidNum}}\p{{WB=MidNumLet}}\p{{WB=Single_Quote}}]{_MORE}(?={digit}))?+"
    run = rf"(?:{letter}{in_letters}|{digit}{in_digits})++|(?:\p{{WB=Katakana}}{_MORE})++"
    word = rf"(?:{run}|{_JOINER})(?:{_JOINER}|(?<=\p{{WB=ExtendNumLet}}{_MORE})(?:{run}))*+"
    without_spaces = rf"(?:\p{{Line_Break=Complex_Context}}{_MORE})++"
    one_character = rf"[[\p{{Script=Han}}\p{{Script=Hiragana}}]--\p{{WB=ALetter}}]{_MORE}"
    pictograph = r"[[\p{Emoji}&&\p{Extended_Pictographic}]\p{Emoji_Modifier}]"
    emoji = (
        rf"(?:(?<!\u200d)\u200d++)?{pictograph}(?:[\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}]|(?<=\u200d){pictograph})*+"
        rf"|(?:\p{{WB=Regional_Indicator}}{_MORE}){{2}}|[#*]\ufe0f?\u20e3"
    )
    return f"{without_spaces}|{one_character}|{word}|{emoji}"


_SEGMENT = regex.compile(_segment_pattern(), regex.V1)
_JOINERS_ALONE = regex.compile(rf"(?:{_JOINER})++", regex.V1)
# The same for ASCII alone, many times as fast; a test compares the two.
_ASCII_SEGMENT = re.compile(r"(?:[A-Za-z]+(?:['.:](?=[A-Za-z]))?|[0-9]+(?:['.,;](?=[0-9]))?|_+)+")
