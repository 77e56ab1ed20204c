"""The rules reformulator: the caption, then what the answers add, in words that a CLIP text encoder understands."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import Dialogue, Turn
from dar_search.method.dialogues import load_dialogues, parse_turn
from dar_search.models.reformulators.rules import RulesReformulator
from tests.unit.test_dialogues import EXCERPT

RULES = RulesReformulator()


def added(*turns: str, caption: str = "a picture") -> str:
    """What the turns add to the caption."""
    text = RULES.reformulate(Dialogue(caption, tuple(parse_turn(turn) for turn in turns))).text
    assert text.startswith(caption)
    return text.removeprefix(caption).removeprefix(", ")


def test_a_dialogue_in_another_language_stays_in_it_and_its_answers_are_only_joined() -> None:
    turns = Turn("Welche Farbe hat der Hund?", "braun"), Turn("Was macht er?", "er läuft über eine Wiese")
    text = RULES.reformulate(Dialogue("ein Hund", turns)).text
    assert text == "ein Hund, braun, er läuft über eine wiese"


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("is the photo in color? yes", "the photo in color"),
        ("is it in color? yes", "in color"),
        ("is it sunny? yes, it is", "sunny"),
        ("is it sunny out? i think so", "sunny out"),
        ("is this outdoors? it appears to be", "outdoors"),
        ("is it a flat screen? yes", "a flat screen"),
        ("is there a computer chair? yes", "a computer chair"),
        ("are there any trees? yes", "trees"),
        ("are there other people around? yes they are", "other people around"),
        ("can you see the sky? yes i can", "the sky"),
        ("any buildings? yes", "buildings"),
        ("is the sky visible? yes", "the sky"),
        ("is her hair long? yes", "long hair"),
        ("is the grass green? yes, it is", "green grass"),
        ("is the tennis court green? yes", "the tennis court green"),
        ("is the woman alone? yes", "the woman alone"),
        ("is she wearing a hat? yes", "she is wearing a hat"),
        ("does he have a beard? yes", "he has a beard"),
        ("does the cat have a collar on? yes", "the cat has a collar on"),
        ("do they look healthy? yes", "they look healthy"),
        ("does it look fresh? yes", "looks fresh"),
        ("sunny day? yes", "sunny day"),
        ("do you think it's a wedding? yes", "a wedding"),
    ],
)
def test_a_yes_turns_its_question_into_a_statement(turn: str, expected: str) -> None:
    assert added(turn) == expected


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("is there a fork? yes a plastic fork", "a plastic fork"),
        ("are there mirrors? yes, 2", "2 mirrors"),
        ("do you see a mirror? yes 2 mirrors", "2 mirrors"),
        ("are there trees? yes, in the background", "trees in the background"),
        ("is the grass tall? yes, it's tall", "tall grass"),
        ("is there anything else? yes, a star", "a star"),
    ],
)
def test_what_a_yes_adds_is_kept(turn: str, expected: str) -> None:
    assert added(turn) == expected


@pytest.mark.parametrize(
    "turn",
    [
        "is it a professional photo? no",
        "are there any people? no people",
        "are there any people? no, none at all",
        "do you see a dog? not that i can see",
        "are there trees? there are no trees",
        "are there trees? i don't see any",
        "is it sunny? nope",
        "is the woman old? no, she's not",
        "how many dogs are there? 0",
        "any tattoos? no",
    ],
)
def test_a_no_adds_nothing(turn: str) -> None:
    assert added(turn) == ""


@pytest.mark.parametrize(
    "turn",
    [
        "is it daytime? i can't tell",
        "what color is her hat? can't tell",
        "is this a wedding? maybe",
        "who took it? i do not know",
        "is it a nice picture? kind of, hard to say",
        "is it blurry? a bit, not really",
        "is it old? not sure, maybe",
        "what color is it? ",
        "is it red?",
        "what is it? yes",
        "is it big or small? yes",
    ],
)
def test_a_vague_or_missing_answer_adds_nothing(turn: str) -> None:
    assert added(turn) == ""


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("what color is the cake? white", "white cake"),
        ("what color is her shirt? it is light blue", "light blue shirt"),
        ("what colour is it? red", "red"),
        ("what color is the cake? white with blue lettering, but hard to see it", "cake white with blue lettering"),
        ("what color hair does he have? brown", "brown hair"),
        ("what color is the carpet? it is a tan color", "tan carpet"),
        ("how many dogs are there? 4", "4 dogs"),
        ("how many people? i see 3 people", "3 people"),
        ("how old is the man? 25", "man 25 years old"),
        ("how old is she? young", "young"),
        ("how big is the dog? very large", "very large dog"),
        ("is the room messy or organized? messy", "messy room"),
        ("is the tennis court indoors or outdoors? outdoors", "tennis court outdoors"),
        ("is it day or night? evening", "evening"),
        ("what is she wearing? a hat and a coat", "wearing a hat and a coat"),
        ("what is the man doing? brushing his teeth", "man brushing his teeth"),
        ("where is the cat? on the sofa", "cat on the sofa"),
        ("where was it taken? in a park", "in a park"),
        ("what kind of train is it? passenger", "passenger train"),
        ("what is the fence made out of? wood", "wood fence"),
        ("what is the weather like? sunny", "sunny"),
        ("what color is the sky? blue", "blue sky"),
        ("is the laptop silver? white", "white laptop"),
        ("what else do you see? it appears to be at a zoo", "at a zoo"),
        ("it is a red boat", "a red boat"),
        ("What color is the wall? Answer: yellow yellow", "yellow wall"),
    ],
)
def test_a_value_is_attached_to_what_was_asked_about(turn: str, expected: str) -> None:
    assert added(turn) == expected


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (["what color is the ball? red", "is the ball red? no, blue"], "blue ball"),
        (["how large is the ball? big", "is the ball big or small? no, it is tiny"], "tiny ball"),
        (["is it sunny? yes", "is it sunny? no"], ""),
        (["where is the ball? on the left", "where is the ball? no, on the right"], "ball on the right"),
        (["is the luggage large? no, medium"], "medium luggage"),
        (["is it raining? no, sunny"], "sunny"),
        (
            ["what color is the ball? red", "are you sure about the color of the ball? i was wrong, it is blue"],
            "blue ball",
        ),
        (
            ["where is the ball? on the left", "are you sure where the ball is? sorry, it is on the right"],
            "ball on the right",
        ),
        (
            [
                "what time of day is it? noon",
                "is it sunny? yes",
                "are you sure about the time of day? no, my mistake, dusk",
            ],
            "sunny, dusk",
        ),
        (["where was it taken? in a park", "are you sure about the place? actually it is in a garden"], "in a garden"),
        (["where was it taken? in a park", "is it on a rainy day? no, in the sun"], "in a park, in the sun"),
    ],
)
def test_a_later_answer_corrects_an_earlier_one(turns: list[str], expected: str) -> None:
    assert added(*turns) == expected


def test_what_is_said_of_one_thing_is_gathered() -> None:
    turns = [
        "what color is the ball? red",
        "is it sunny? yes",
        "what size is the ball? big",
        "where is the ball? on the left",
    ]
    assert added(*turns) == "big red ball on the left, sunny"
    turns = ["is it a small kite? no, big", "is the kite striped? yes", "is the kite on the left? no, up on the right"]
    assert added(*turns) == "big striped kite up on the right"
    assert (
        added("what else is there? a couch", "is it a red sofa? yes", "is the couch dotted? yes") == "red dotted couch"
    )


def test_open_questions_may_be_asked_again_for_more() -> None:
    assert added("what else do you see? a star", "what else do you see? a heart") == "a star, a heart"


def test_nothing_is_said_twice() -> None:
    assert added("are there trees? yes", "any trees? yes", "what color are the trees? green") == "green trees"
    assert added("is there a dog? yes", caption="a boy with a dog on a beach") == ""


@pytest.mark.parametrize(
    ("caption", "turns", "expected"),
    [
        (
            "a photo of an orange heart",
            [
                ("what is the surface of the heart like?", "spotted"),
                ("how many things are there?", "looks like three"),
                ("how large is the heart?", "well, big"),
                ("what else do you see?", "a crescent"),
                ("where is the heart?", "yes, at the bottom right"),
                ("any other shapes?", "yes, a star"),
                ("what is the star painted in?", "i think green"),
                ("can you see a cube?", "no, there is not"),
            ],
            "a photo of an orange heart, big spotted heart at the bottom right, three things, a crescent, green star",
        ),
        (
            "we see a hexagon under the sea",
            [
                ("on which side is the hexagon?", "in the upper left"),
                ("and the hexagon, which colour?", "it is brown"),
                ("does the hexagon have any pattern?", "plain"),
                ("how does the sky look?", "under a rainbow"),
                ("what is the background like?", "under the sea"),
                ("do you like it?", "it is fine"),
                ("is the hexagon striped, dotted or plain?", "plain"),
            ],
            "we see a hexagon under the sea, brown plain hexagon in the upper left, under a rainbow",
        ),
    ],
)
def test_it_reads_the_demo_worlds_english(caption: str, turns: list[tuple[str, str]], expected: str) -> None:
    assert RULES.reformulate(Dialogue(caption, tuple(Turn(*turn) for turn in turns))).text == expected


def test_real_dialogues_become_declarative_texts() -> None:
    texts = [RULES.reformulate(read.dialogue).text for read in load_dialogues(EXCERPT)]
    assert texts[0] == (
        "a bedroom is filled with lots of posters and a busy computer desk, the photo in color, a flat screen, "
        "desk cheap plastic or wood, a computer chair"
    )
    assert texts[5] == (
        "a woman swinging at a tennis ball on the court, she is alone, she is wearing a skirt, black skirt, "
        "her hair pulled back, left, her hair in a ponytail, standing still, she is bent down, sunny"
    )
    assert not any("?" in text for text in texts[:6])


@pytest.mark.parametrize(
    ("caption", "turns", "expected"),
    [
        ("a woman on a bench", ["what color is the bench? brown"], "a woman on a brown bench"),
        (
            "a fish at sunset",
            ["where is the fish? on the left", "is the fish red? yes"],
            "a red fish on the left at sunset",
        ),
        ("We see an old house", ["is the house big? yes"], "We see an old house, big house"),
        ("a large green kite", ["what colour is the kite? sorry, orange"], "a large orange kite"),
        ("a heart that is red and big", ["is it a striped heart? no, dotted"], "a big red dotted heart"),
        ("an ox", ["how large is the ox? tiny", "what else is there? a star"], "a tiny ox, a star"),
        ("a parasol", ["what colour is the umbrella? blue"], "a blue parasol"),
        ("a dog and a dog", ["what color is the dog? black"], "a dog and a dog, black dog"),
        ("dogs", ["what color is the dog? black"], "dogs, black dog"),
    ],
)
def test_the_prompt_weaves_what_is_said_of_a_thing_into_the_caption(
    caption: str, turns: list[str], expected: str
) -> None:
    reformulation = RULES.reformulate(Dialogue(caption, tuple(map(parse_turn, turns))))
    assert reformulation.prompts == (expected,)
    assert reformulation.text.startswith(caption)


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WORDS = """is the a ball red blue yes no not it what color how many where or , . ' in on can't"""
spoken = st.lists(st.sampled_from(WORDS.split()), max_size=10).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(caption=anything, turns=st.lists(st.builds(Turn, anything | spoken, anything | spoken), max_size=6))
def test_the_text_is_never_empty_and_never_without_the_caption(caption: str, turns: list[Turn]) -> None:
    dialogue = Dialogue(caption, tuple(turns))
    if not dialogue.text.strip():
        return
    reformulation = RULES.reformulate(dialogue)
    assert reformulation.text.strip()
    assert " ".join(caption.split()).rstrip(".,; ") in reformulation.text
    assert len(reformulation.prompts) == 1
    assert reformulation.prompts[0].strip()
    assert (reformulation.reformulator, reformulation.note) == ("rules", "")
    assert RULES.reformulate(dialogue) == reformulation


@pytest.mark.parametrize(
    "piece", ["a", "the ", "is it ", "red and ", "? ", "or, ", "no, ", string.punctuation, "it is "]
)
def test_long_hostile_turns_are_read_without_hanging(piece: str) -> None:
    hostile = (piece * 4_000)[:4_000]
    dialogue = Dialogue("a dog", tuple(Turn(f"{hostile}{number}", hostile) for number in range(100)))
    assert RULES.reformulate(dialogue).text.startswith("a dog")
    asked = Dialogue("a " + "red and big, " * 4_000 + "x", (Turn("what color is the dog?", "red"),))
    assert RULES.reformulate(asked).text.endswith("red dog")
