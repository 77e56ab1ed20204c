"""What the keyword leg must match: the words of OpenSearch's english analyzer, any of them, and never query syntax."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dar_search.ports import ImageIndex, SearchRequest, Store
from tests.contract.gallery import PROVENANCE, random_units, record

CAPTIONS = {
    "dogs": "Two dogs running on a beach",
    "cat": "A black cat's bowl near the U.S.A. flag",
    "café": "Café CRÈME at 3.5 euros, don't ask",
    "compound": "a wi-fi sign and a red_ball",
    "chinese": "一只红色的狗",
    "japanese": "カメラ と ねこ",
    "korean": "빨간 고양이",
    "hindi": "लाल कुत्ता",
    "thai": "สุนัข สีแดง",
    "russian": "Красная собака",
    "operators": 'AND OR NOT NEAR caption:dogs* ^ "quoted" (brackets)',
    "stop": "to be or not to be",
    "stems": "happily universities organization relational flies dying hopping conditional",
    "numbers": "bus 42 at 1,000 metres, 12:30, 7-up",
    "odd": "semi;colon dot.ted 3.x x.3 don''t it's' \u2019s rock\u2019n\u2019roll O\u2019Brien\u2019s",
    "symbols": "© ™ # $ % ✓",
    "empty": "",
    "emoji": "a 🐶 and a 👍🏽",
}


@pytest.fixture(scope="module")
def captions(store: Store) -> Iterator[ImageIndex]:
    made = store.create("contract-captions", PROVENANCE)
    made.write([record(id, random_units(1)[0], caption=caption) for id, caption in CAPTIONS.items()])
    made.refresh()
    yield made
    store.drop(made.name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dog", {"dogs"}),
        ("DOGS", {"dogs"}),
        ("a dog runs", {"dogs"}),
        ("the dogs of a cat", {"dogs", "cat"}),
        ("run bowls", {"dogs", "cat"}),
        ("beaches", {"dogs"}),
        ("cats", {"cat"}),
        ("u.s.a", {"cat"}),
        ("usa", set()),
        ("flags", {"cat"}),
        ("café", {"café"}),
        ("cafe", set()),
        ("crème", {"café"}),
        ("3.5", {"café"}),
        ("3", {"odd"}),
        ("5", set()),
        ("don't", {"café"}),
        ("dont", set()),
        ("wi", {"compound"}),
        ("wi-fi", {"compound"}),
        ("red", set()),
        ("red_ball", {"compound"}),
        ("狗", {"chinese"}),
        ("红色", {"chinese"}),
        ("蓝", set()),
        ("カメラ", {"japanese"}),
        ("カメ", set()),
        ("ねこ", {"japanese"}),
        ("고양이", {"korean"}),
        ("कुत्ता", {"hindi"}),
        ("कुत्", set()),
        ("สีแดง", {"thai"}),
        ("СОБАКА", {"russian"}),
        ("собаки", set()),
        ("near", {"cat", "operators"}),
        ("quote", {"operators"}),
        ("bracket", {"operators"}),
        ("to be or not to be", set()),
        ("the", set()),
        ("", set()),
        (" \t\n", set()),
        ("?!", set()),
        ('"', set()),
        ("university", {"stems"}),
        ("organizations", {"stems"}),
        ("fly", set()),
        ("hop", {"stems"}),
        ("hope", set()),
        ("die", set()),
        ("relate", {"stems"}),
        ("condition", {"stems"}),
        ("happy", set()),
        ("happili", {"stems"}),
        ("42", {"numbers"}),
        ("1,000", {"numbers"}),
        ("1000", set()),
        ("12:30", {"numbers"}),
        ("30", {"numbers"}),
        ("7", {"numbers"}),
        ("semi", {"odd"}),
        ("colon", {"odd"}),
        ("dot.ted", {"odd"}),
        ("dotted", set()),
        ("rock'n'roll", set()),
        ("rock’n’roll", {"odd"}),
        ("O’Brien", {"odd"}),
        ("don", {"odd"}),
        ("🐶", {"emoji"}),
        ("©", {"symbols"}),
        ("✓", set()),
        ("x" * 300, set()),
        ("dog\x00cat", {"dogs", "cat"}),
        ("dog\ud800 cat", {"dogs", "cat"}),
    ],
    ids=ascii,
)
def test_the_keyword_leg_matches_these_captions(captions: ImageIndex, text: str, found: set[str]) -> None:
    assert {hit.id for hit in captions.search(SearchRequest(text=text)).hits} == found


@pytest.mark.parametrize(
    "text",
    [
        'caption:*) OR "dog',
        "dog* -beach",
        "+dog +nowhere",
        'dog AND "nowhere near"',
        "NOT dog",
        "dog^2 NEAR/8",
        "{!func}dog; DROP TABLE records; --",
        "*:* dog",
        "words: dog",
        "(dog",
        "/dog.*/",
        "dog~2",
    ],
)
def test_the_keyword_legs_text_is_only_words(captions: ImageIndex, text: str) -> None:
    hits = {hit.id for hit in captions.search(SearchRequest(text=text)).hits}
    assert "dogs" in hits
    assert hits <= {"dogs", "cat", "operators"}


def test_a_very_long_text_is_searched_for(captions: ImageIndex) -> None:
    text = " ".join(f"word{n}" for n in range(900)) + " dog " + "more " * 20_000
    assert {hit.id for hit in captions.search(SearchRequest(text=text)).hits} == {"dogs"}


def test_the_keyword_leg_prefers_rare_words_and_more_of_them(index: ImageIndex) -> None:
    vectors = random_units(40)
    for n in range(30):
        index.write([record(f"common-{n:02d}", vectors[n], caption="a dog in the grass today")])
    index.write([record("rare", vectors[31], caption="a dog in the zeppelin today")])
    index.write([record("both", vectors[32], caption="a dog, a zeppelin, a parachute")])
    index.refresh()
    hits = index.search(SearchRequest(text="dog zeppelin parachute", size=5, depth=50)).hits
    assert [hit.id for hit in hits] == ["both", "rare", "common-00", "common-01", "common-02"]
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[1] > scores[2] > 0
