"""How the demo world's facts are put into words. `held_out` words are for the test split: training never uses them.

A held-out phrasing is a new way to combine words, or to ask, that a model can understand from what it knows; a
word for a colour or a thing that was never seen could not be understood by anyone.
"""

# ruff: noqa: E501  (tables read better on one line)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dar_search.demo.world import Attribute


@dataclass(frozen=True, slots=True)
class Phrases:
    """Ways to say one thing. The first common one is the plain one."""

    common: tuple[str, ...]
    held_out: tuple[str, ...] = ()


def _p(common: str, held_out: str = "") -> Phrases:
    return Phrases(tuple(common.split("; ")), tuple(held_out.split("; ")) if held_out else ())


VALUE_PHRASES: Mapping[Attribute, Mapping[str, Phrases]] = {
    "setting": {
        "meadow": _p("in a meadow; on a green field; on the grass; in the grassland", "in a grassy green meadow; on a field of grass"),
        "beach": _p("at the beach; on the sand by the sea; by the seaside; on a sandy shore", "on the sandy beach; on the shore by the sea"),
        "desert": _p("in the desert; among the dunes; in a dry land with cactuses", "among desert dunes; in the dry desert"),
        "snow": _p("in the snow; on a snowy plain; in a winter landscape; near snowy mountains", "in a snowy landscape; in the winter snow"),
        "city": _p("in the city; in front of buildings; downtown; on a city street", "on a street downtown; in front of city buildings"),
        "forest": _p("in the forest; among the trees; in the woods", "among forest trees; in front of the woods"),
        "sea": _p("at sea; on the water; out on the ocean; over the waves", "out at sea; over the ocean waves"),
        "farm": _p("on a farm; by the crop fields; in the countryside; near a farm fence", "near the farm fields; by a fence in the countryside"),
    },
    "sky": {
        "sunny": _p("under the sun; on a sunny day; with the sun shining; under a clear blue sky", "on a clear sunny day; under the shining sun"),
        "cloudy": _p("under clouds; on a cloudy day; with clouds overhead; under a grey sky", "under a cloudy sky; on a grey day"),
        "rainy": _p("in the rain; on a rainy day; with rain falling; in wet weather", "in falling rain; on a wet rainy day"),
        "night": _p("at night; in the dark; under the moon; after dark", "on a dark night; at night under the moon"),
        "sunset": _p("at sunset; at dusk; in the evening light; with the sun going down", "at dusk with the sun going down; in the light of sunset"),
    },
    "count": {
        "1": _p("one thing; a single object", "one single thing"),
        "2": _p("two things; two objects", "two different things"),
        "3": _p("three things; three objects", "three different things"),
        "4": _p("four things; four objects", "four different things"),
    },
    "type": {
        "balloon": _p("balloon"),
        "star": _p("star", "star shape"),
        "heart": _p("heart; heart shape"),
        "umbrella": _p("umbrella; parasol"),
        "fish": _p("fish"),
        "house": _p("house; cottage"),
        "kite": _p("kite"),
        "butterfly": _p("butterfly"),
    },
    "colour": {name: _p(name) for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")},
    "size": {"small": _p("small; little; tiny"), "large": _p("large; big; huge")},
    "texture": {
        "plain": _p("plain; solid"),
        "striped": _p("striped; stripy"),
        "dotted": _p("dotted; spotted"),
    },
    "place": {
        "upper left": _p("in the upper left; at the top left; up on the left", "at the upper left; on the left at the top"),
        "upper middle": _p("in the upper middle; at the top; up in the middle", "at the upper middle; in the middle at the top"),
        "upper right": _p("in the upper right; at the top right; up on the right", "at the upper right; on the right at the top"),
        "lower left": _p("in the lower left; at the bottom left; down on the left", "at the lower left; on the left at the bottom"),
        "lower middle": _p("in the lower middle; at the bottom; down in the middle", "at the lower middle; in the middle at the bottom"),
        "lower right": _p("in the lower right; at the bottom right; down on the right", "at the lower right; on the right at the bottom"),
    },
}  # fmt: skip

OPENINGS = Phrases(
    (
        "",
        "",
        "",
        "a picture of ",
        "a photo of ",
        "an image of ",
        "a drawing of ",
        "there is ",
        "we see ",
        "scene with ",
    ),
    ("here is ", "a picture showing ", "this image shows ", "an illustration of "),
)
JOINTS = Phrases((" and ", ", ", " next to ", " with "), (" as well as ", " together with "))
NOTHING_TOLD = Phrases(("a scene", "a view", "some things"), ("a picture of some things",))

QUESTIONS: Mapping[Attribute, Phrases] = {
    "setting": _p(
        "where is this?; what is the place?; where was it taken?; what is in the background?",
        "what kind of place is it?; can you tell me where this is?",
    ),
    "sky": _p(
        "what is the weather like?; how does the sky look?; what time of day is it?; what is the light like?",
        "can you describe the sky?; what do you see overhead?",
    ),
    "count": _p("how many things are there?; how many objects can you see?", "can you count the objects?"),
    "type": _p(
        "is there anything else?; what else do you see?; any other objects?; what else is in it?",
        "can you name another object?; what is there besides that?",
    ),
    "colour": _p(
        "what colour is the {}?; what color is the {}?; and the {}, which colour?; which color does the {} have?",
        "can you tell me the colour of the {}?; in what color is the {}?",
    ),
    "size": _p(
        "is the {} big or small?; how large is the {}?; what size is the {}?",
        "can you tell me the size of the {}?; how big would you say the {} is?",
    ),
    "texture": _p(
        "does the {} have any pattern?; what does the surface of the {} look like?; is the {} striped, dotted or plain?",
        "can you describe the pattern of the {}?; what pattern does the {} have?",
    ),
    "place": _p(
        "where is the {}?; on which side is the {}?; where would i find the {}?",
        "in which part of the image is the {}?; can you tell me where the {} is?",
    ),
}
CONFIRMATIONS: Mapping[Attribute, Phrases] = {
    "setting": _p("is it {}?; is this {}?", "would you say it is {}?"),
    "sky": _p("is it {}?; was this taken {}?", "would you say it is {}?"),
    "colour": _p("is the {1} {0}?; is it a {0} {1}?", "would you say the {1} is {0}?"),
    "size": _p("is the {1} {0}?; is it a {0} {1}?", "would you say the {1} is {0}?"),
    "texture": _p("is the {1} {0}?; is it a {0} {1}?", "would you say the {1} is {0}?"),
    "place": _p("is the {1} {0}?", "would i find the {1} {0}?"),
}
"""Questions that name a value ({0}) and, if it has one, the thing ({1})."""
ANSWERS = Phrases(
    ("{}", "{}", "{}", "i think {}", "well, {}", "looks like {}", "it is {}"), ("i would say {}", "it must be {}")
)
YES = Phrases(("yes", "yes, it is", "yeah"), ("that is right", "yes, you are right"))
NO_BUT = Phrases(("no, {}", "no, it is {}", "not really, {}"), ("no, rather {}", "i would not say so, it is {}"))
DOUBTS: Mapping[Attribute, Phrases] = {
    "setting": _p("are you sure about the place?", "could you check the place again?"),
    "sky": _p("are you sure about the weather?", "could you check the sky again?"),
    "colour": _p("are you sure about the colour of the {}?; is that really the color of the {}?", "could you check the colour of the {} again?"),
    "size": _p("are you sure about the size of the {}?", "could you check the size of the {} again?"),
    "texture": _p("are you sure about the pattern of the {}?", "could you check the pattern of the {} again?"),
    "place": _p("are you sure where the {} is?", "could you check where the {} is again?"),
}  # fmt: skip
CORRECTIONS = Phrases(
    ("sorry, it is {}", "no, my mistake, it is {}", "actually it is {}", "i was wrong, it is {}"),
    ("let me correct that, it is {}", "i take it back, it is {}"),
)
UNSURE = Phrases(
    ("not sure", "i can't tell", "hard to say", "i don't know"), ("no idea, really", "that is hard to tell")
)
ABSENCE_QUESTIONS = _p("is there {} too?; can you see {}?; does it show {}?", "do you also see {}?; is {} in it?")
ABSENCE_ANSWERS = _p("no; no, there is not; nope; not that i see", "no, none; not at all")
IRRELEVANT: tuple[tuple[Phrases, Phrases], ...] = (
    (_p("is it a nice picture?", "would you call it a nice picture?"), _p("kind of, hard to say; yes, quite nice")),
    (_p("who took it?", "do you know who took it?"), _p("i do not know; no idea")),
    (_p("is it old?", "how old is it?"), _p("not sure, maybe; i can't tell")),
    (_p("do you like it?", "does it make you happy?"), _p("it is fine; yes")),
    (_p("are there any people?; is anyone in it?", "do you see a person?"), _p("no, none at all; no people")),
    (_p("can you see any text?", "is anything written on it?"), _p("no; no text")),
    (_p("is it blurry?", "is it sharp?"), _p("a bit, not really; it is fine")),
    (_p("anything unusual?", "is anything strange about it?"), _p("not that i remember; no, nothing")),
    (_p("is it a real photo?", "was it made by a computer?"), _p("i can't tell; it could be a drawing")),
)
"""Questions beside the point, with answers from which nothing can be learned."""
