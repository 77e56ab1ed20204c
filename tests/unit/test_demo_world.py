"""The demo world: scenes, splits, galleries and pictures."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from dar_search.demo.rendering import STORED_SIDE, render
from dar_search.demo.shapes import SHAPES
from dar_search.demo.splits import gallery, scene, split_of
from dar_search.demo.world import PLACES, SETTINGS, SKIES, TYPES, VALUES, Fact, near_duplicate, random_scene, truth


def differences(one, other):
    ours, theirs = truth(one), truth(other)
    return sum(ours.get(fact) != theirs.get(fact) for fact in ours.keys() | theirs.keys())


def test_a_scene_has_one_to_four_things_that_share_neither_type_nor_place():
    rng = random.Random(1)
    counts = Counter()
    for _ in range(500):
        drawn = random_scene(rng)
        counts[len(drawn.things)] += 1
        assert len({thing.type for thing in drawn.things}) == len(drawn.things)
        assert len({thing.place for thing in drawn.things}) == len(drawn.things)
        assert all(value in VALUES[fact.attribute] for fact, value in truth(drawn).items())
    assert set(counts) == {1, 2, 3, 4}


def test_every_value_of_every_attribute_occurs():
    rng = random.Random(2)
    seen = {(fact.attribute, value) for _ in range(800) for fact, value in truth(random_scene(rng)).items()}
    assert seen == {(attribute, value) for attribute, values in VALUES.items() for value in values}


def test_a_near_duplicate_differs_in_one_attribute_and_stays_a_legal_scene():
    rng = random.Random(3)
    for _ in range(300):
        base = random_scene(rng)
        other = near_duplicate(base, rng)
        assert other.key != base.key
        assert len(other.things) == len(base.things)
        assert len({thing.place for thing in other.things}) == len(other.things)
        if {thing.type for thing in other.things} == {thing.type for thing in base.things}:
            assert differences(base, other) == 1


def test_scenes_are_equal_only_if_what_they_show_is_equal():
    rng = random.Random(4)
    scenes = [random_scene(rng) for _ in range(300)]
    for one, other in pairwise(scenes):
        assert (one == other) == (truth(one) == truth(other)) == (one.key == other.key)


def test_a_seed_gives_the_same_scene_again_and_each_scene_is_of_the_split_asked_for():
    for split in ("train", "validation", "test"):
        scenes = [scene(seed, split) for seed in range(60)]
        assert scenes == [scene(seed, split) for seed in range(60)]
        assert {split_of(one) for one in scenes} == {split}
        assert len(set(scenes)) > 55


def test_splits_share_the_world_but_no_scene():
    rng = random.Random(5)
    shares = Counter(split_of(random_scene(rng)) for _ in range(3000))
    assert shares["train"] / 3000 == pytest.approx(0.8, abs=0.03)
    assert shares["test"] / 3000 == pytest.approx(0.1, abs=0.03)
    held_out = [scene(seed, "test") for seed in range(300)]
    assert {one.setting for one in held_out} == set(SETTINGS)
    assert {one.sky for one in held_out} == set(SKIES)
    assert {thing.type for one in held_out for thing in one.things} == set(TYPES)
    assert {thing.place for one in held_out for thing in one.things} == set(PLACES)


def test_a_gallery_has_no_scene_twice_and_a_smaller_one_is_its_beginning():
    pictures = list(gallery(1200))
    assert [picture.number for picture in pictures] == list(range(1200))
    assert len({picture.scene.key for picture in pictures}) == 1200
    assert {split_of(picture.scene) for picture in pictures} == {"test"}
    assert list(gallery(50)) == pictures[:50]
    assert list(islice(gallery(10**12), 3)) == pictures[:3]
    assert next(gallery(1, seed=1)) != pictures[0]


def test_two_thirds_of_a_gallery_come_in_families_of_near_duplicates():
    pictures = list(gallery(600))
    for start in range(0, 600, 6):
        base, *others = (picture.scene for picture in pictures[start : start + 6])
        near = [differences(base, other) for other in others[:3] if len(other.things) == len(base.things)]
        assert len(near) == 3
        assert all(changed <= 20 for changed in near)  # a changed type takes its thing's five facts with it
    one_change = sum(differences(pictures[i].scene, pictures[i + 1].scene) == 1 for i in range(0, 600, 6))
    assert one_change > 60


def test_a_picture_is_the_same_for_the_same_seed_and_another_for_another_seed():
    shown = scene(1)
    first = np.asarray(render(shown, 5))
    assert first.shape == (STORED_SIDE, STORED_SIDE, 3)
    assert np.array_equal(first, np.asarray(render(shown, 5)))
    assert not np.array_equal(first, np.asarray(render(shown, 6)))


def test_pictures_are_the_same_on_every_machine_with_these_seeds():
    pixels = np.stack([np.asarray(render(scene(seed), seed, 64)) for seed in range(20)]).astype(np.float64)
    assert hashlib.sha256(scene(0).key.encode()).hexdigest()[:12] == "7704907771bb"
    assert pixels.mean() == pytest.approx(119.43, abs=0.5)


@pytest.mark.parametrize("side", [48, 64, 128, 256])
def test_a_picture_of_any_size_shows_the_same_thing(side):
    shown = scene(9)
    small = np.asarray(render(shown, 2, side).resize((32, 32)), np.float64)
    stored = np.asarray(render(shown, 2).resize((32, 32)), np.float64)
    assert np.abs(small - stored).mean() < 8


def test_every_type_texture_place_setting_and_sky_looks_different():
    rng = random.Random(6)
    base = random_scene(rng)
    assert set(SHAPES) == set(TYPES)
    for _ in range(60):
        changed = near_duplicate(base, rng)
        change = np.abs(np.asarray(render(base, 0), np.float64) - np.asarray(render(changed, 0), np.float64))
        assert (change > 25).any(axis=-1).mean() > 0.001, (base, changed)
        base = changed


def test_the_facts_of_a_scene_name_its_things():
    shown = scene(3)
    facts = truth(shown)
    assert facts[Fact("count")] == str(len(shown.things))
    assert {fact.thing for fact in facts} == {"", *(thing.type for thing in shown.things)}
