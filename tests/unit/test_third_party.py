"""THIRD_PARTY.md names all that the images carry."""

from __future__ import annotations

import re

import pytest

from tests.compose_file import COMPOSE_FILE
from tests.third_party import DOCKERFILES, FOR_CUDA, PAGE, carried, written


@pytest.mark.parametrize("image", DOCKERFILES)
def test_every_package_of_an_image_is_listed_with_a_licence(image: str) -> None:
    column = 2 + list(DOCKERFILES).index(image)
    listed = {row[0]: row[1] for row in written("Python packages") if row[column] == "yes"}
    found = {name: one for name, one in carried(image).items() if not FOR_CUDA.fullmatch(name)}
    assert {"torch", "pillow", "opensearch-py", "flask"} <= found.keys(), "this looked at little"
    assert found.keys() - listed.keys() == set(), "python -m tests.third_party writes the page anew"
    assert all(listed.values())


def test_what_cuda_brings_is_listed_apart_and_is_not_free() -> None:
    listed = {row[0]: row[1] for row in written("With CUDA")}
    here = {name for image in DOCKERFILES for name in carried(image) if FOR_CUDA.fullmatch(name)}
    assert here <= listed.keys(), "python -m tests.third_party writes the page anew"
    assert {one for name, one in listed.items() if name.startswith("nvidia-")} == {"LicenseRef-NVIDIA-Proprietary"}


def test_every_image_of_others_is_listed() -> None:
    images = {
        image.partition(":")[0]
        for image in re.findall(r"(?:image:|FROM) (\S+/\S+|redis:\S+)@", COMPOSE_FILE.read_text())
    }
    assert images == {
        "opensearchproject/opensearch",
        "opensearchproject/opensearch-dashboards",
        "redis",
        "ollama/ollama",
    }
    text = PAGE.read_text("utf-8")
    assert all(f"`{image}`" in text for image in images | {"python"})
