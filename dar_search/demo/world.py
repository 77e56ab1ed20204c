"""The demo world: what a scene is made of, and the facts that can be told about it.

A scene has a setting, a sky and one to four things. Each thing has a type (no two alike in a scene, so that "the
kite" is clear), a colour, a size, a texture and a place on a grid of two rows and three columns.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

SETTINGS = ("meadow", "beach", "desert", "snow", "city", "forest", "sea", "farm")
SKIES = ("sunny", "cloudy", "rainy", "night", "sunset")
TYPES = ("balloon", "star", "heart", "umbrella", "fish", "house", "kite", "butterfly")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")
PLACES = ("upper left", "upper middle", "upper right", "lower left", "lower middle", "lower right")
MAX_THINGS = 4
_THINGS = (1, 2, 2, 3, 3, 3, 4, 4)

Attribute = Literal["setting", "sky", "count", "type", "colour", "size", "texture", "place"]
SCENE_ATTRIBUTES: tuple[Attribute, ...] = ("setting", "sky", "count")
THING_ATTRIBUTES: tuple[Attribute, ...] = ("type", "colour", "size", "texture", "place")
VALUES: Mapping[Attribute, tuple[str, ...]] = {
    "setting": SETTINGS,
    "sky": SKIES,
    "count": ("1", "2", "3", "4"),
    "type": TYPES,
    "colour": COLOURS,
    "size": SIZES,
    "texture": TEXTURES,
    "place": PLACES,
}


@dataclass(frozen=True, slots=True)
class Thing:
    type: str
    colour: str
    size: str
    texture: str
    place: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows. Things are in the order of their types, so equal pictures are equal scenes."""

    setting: str
    sky: str
    things: tuple[Thing, ...]

    @property
    def key(self) -> str:
        """A text that is equal for equal scenes only."""
        things = (f"{t.type},{t.colour},{t.size},{t.texture},{t.place}" for t in self.things)
        return "|".join((self.setting, self.sky, *things))


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """Something that can be told: an attribute of the scene (thing is "") or of the thing of that type."""

    attribute: Attribute
    thing: str = ""


Knowledge = Mapping[Fact, str]
"""Fact -> the value as it was told, which need not be the truth."""


def truth(scene: Scene) -> dict[Fact, str]:
    """Everything that holds in a scene. A thing's type is told by its presence: its value is the type itself."""
    known = {Fact("setting"): scene.setting, Fact("sky"): scene.sky, Fact("count"): str(len(scene.things))}
    for thing in scene.things:
        for attribute in THING_ATTRIBUTES:
            known[Fact(attribute, thing.type)] = getattr(thing, attribute)
    return known


def random_scene(rng: random.Random) -> Scene:
    """A scene, every value equally likely; one thing in an eighth of scenes, two in a quarter, else three or four."""
    count = rng.choice(_THINGS)
    types, places = rng.sample(TYPES, count), rng.sample(PLACES, count)
    things = [
        Thing(name, rng.choice(COLOURS), rng.choice(SIZES), rng.choice(TEXTURES), place)
        for name, place in zip(types, places, strict=True)
    ]
    return Scene(rng.choice(SETTINGS), rng.choice(SKIES), _ordered(things))


def near_duplicate(scene: Scene, rng: random.Random, changes: int = 1) -> Scene:
    """The scene with `changes` attributes changed one after the other; the things stay as many as they are."""
    for _ in range(changes):
        roll = rng.random()
        if roll < 0.12:
            scene = replace(scene, setting=_other(rng, SETTINGS, {scene.setting}))
        elif roll < 0.24:
            scene = replace(scene, sky=_other(rng, SKIES, {scene.sky}))
        else:
            scene = _with_changed_thing(scene, rng)
    return scene


def _with_changed_thing(scene: Scene, rng: random.Random) -> Scene:
    chosen = rng.randrange(len(scene.things))
    thing = scene.things[chosen]
    attribute = rng.choice(("type", "colour", "colour", "size", "texture", "place"))
    taken = {getattr(other, attribute) for other in scene.things} if attribute in ("type", "place") else set()
    value = _other(rng, VALUES[attribute], taken | {getattr(thing, attribute)})  # type: ignore[index]
    changed = replace(thing, **{attribute: value})
    return replace(scene, things=_ordered([*scene.things[:chosen], changed, *scene.things[chosen + 1 :]]))


def _ordered(things: list[Thing]) -> tuple[Thing, ...]:
    return tuple(sorted(things, key=lambda thing: TYPES.index(thing.type)))


def _other(rng: random.Random, values: tuple[str, ...], taken: set[str]) -> str:
    return rng.choice([value for value in values if value not in taken])
