"""`dar ingest` of tables and of vectors that exist already."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder
from tests.picture_lists import embeddings


def test_a_table_of_others_goes_in_by_its_own_columns(dar: Dar, photos: Path, light_models: FakeEncoder) -> None:
    (photos.parent / "shop.csv").write_text("image_url,title,brand\nphotos/1.png,a cat,Acme\nphotos/2.png,a dog,Acme\n")
    refused = dar("ingest", "shop.csv", "--index", "shop")
    assert refused.status == 2
    assert '"image_url", "title", "brand"' in refused.err
    assert "--field" in refused.err
    fields = ("--field", "image_url", "--caption", "title", "--metadata", "maker=brand")
    done = dar("ingest", "shop.csv", "--index", "shop", *fields)
    assert (done.status, "2 indexed" in done.out) == (0, True), done.err
    found = dar("search", "--caption", "a cat", "--index", "shop", "--json")
    assert '"maker": "Acme"' in found.out


def test_vectors_need_the_name_of_their_encoder_and_are_checked_before_an_index_is_made(
    dar: Dar, photos: Path, light_models: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(path) for path in sorted(photos.glob("*.png"))]
    vectors = light_models.encode_images([Image.open(path) for path in paths])
    right = embeddings(photos.parent / "right", vectors, paths, caption=[f"number {n}" for n in range(6)])
    wrong = embeddings(photos.parent / "wrong", np.random.default_rng(0).normal(size=vectors.shape), paths)
    monkeypatch.delenv("DAR_ENCODER")
    unnamed = dar("ingest", right, "--index", "x")
    assert (unnamed.status, "--encoder" in unnamed.err) == (2, True)
    refused = dar("ingest", wrong, "--index", "x", "--encoder", "demo")
    assert refused.status == 1
    assert "cosine" in refused.err
    assert "over 6 pictures" in refused.err
    assert "no index" in dar("search", "--caption", "number", "--index", "x", "--encoder", "demo").err.lower()
    done = dar("ingest", right, "--index", "x", "--encoder", "demo")
    assert (done.status, "6 indexed" in done.out) == (0, True), done.err
    assert (
        '"caption": "number 3"'
        in dar("search", "--caption", "number 3", "--index", "x", "--encoder", "demo", "--json").out
    )
