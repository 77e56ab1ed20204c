"""Decoding: every format the right way up and in the right colours, and every kind of bad file by its code."""

import functools
import io
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.decode import DEFAULT_LIMITS, THUMBNAIL_SIDE, decode
from dar_search.ingestion.decoding.signatures import signature_of
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.sources.files import read_file
from dar_search.preparation import Preparation
from tests.grid_encoder import GridEncoder
from tests.pictures import (
    COLOURS,
    GREYS,
    Bad,
    Good,
    Quadrants,
    awkward_pictures,
    encoded,
    jpeg,
    photograph,
    png,
    quadrants_of,
    scene,
    sixteen_bits,
)

PREPARATION = Preparation(64, 64, "squash")
PICTURES = awkward_pictures()
GOOD = {name: (data, good) for name, (data, good) in PICTURES.items() if isinstance(good, Good)}
BAD = {name: (data, bad.code) for name, (data, bad) in PICTURES.items() if isinstance(bad, Bad) and data}


@pytest.fixture(autouse=True)
def warnings_as_in_a_decoder_process() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "(Possibly c|C)orrupt EXIF data|Truncated File Read|Metadata Warning", module="PIL"
        )
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


draw = functools.cache(photograph)


def far(found: Quadrants, expected: Quadrants) -> int:
    """The largest difference of a channel."""
    return max(abs(a - b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_picture_is_upright_and_in_its_colours(name: bytes) -> None:
    data, good = GOOD[name]
    picture = decode(data, PREPARATION)
    assert (picture.width, picture.height) == (good.width, good.height)
    assert picture.pixels.shape == (64, 64, 3)
    assert picture.pixels.dtype == np.uint8
    assert far(quadrants_of(Image.fromarray(picture.pixels)), good.quadrants) <= 8
    thumbnail = Image.open(io.BytesIO(picture.thumbnail))
    assert thumbnail.format == "WEBP"
    assert max(thumbnail.size) == min(THUMBNAIL_SIDE, good.width)
    assert far(quadrants_of(thumbnail), good.quadrants) <= 12


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_refused_with_its_code_in_one_line(name: bytes) -> None:
    data, code = BAD[name]
    with pytest.raises(PictureError) as raised:
        decode(data, PREPARATION)
    assert raised.value.code == code
    assert raised.value.hint
    assert str(raised.value).isprintable()


def test_a_bomb_is_refused_before_its_pixels_take_memory() -> None:
    data = png(16_000, 16_000)
    tracemalloc.start()
    try:
        with pytest.raises(PictureError, match="more than 100,000,000 pixels"):
            decode(data, PREPARATION)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_limits_hold_for_pixels_and_sides() -> None:
    data = encoded(Image.new("L", (100, 50)), "PNG")
    assert decode(data, PREPARATION, replace(DEFAULT_LIMITS, max_pixels=5_000, max_side=100)).width == 100
    for limits, code in (({"max_pixels": 4_999}, "too_many_pixels"), ({"max_side": 99}, "side_too_long")):
        with pytest.raises(PictureError) as raised:
            decode(data, PREPARATION, replace(DEFAULT_LIMITS, **limits))
        assert raised.value.code == code


def test_extreme_shapes_have_thumbnails() -> None:
    for size in ((16_000, 1), (1, 16_000), (1, 1)):
        picture = decode(encoded(Image.new("RGB", size), "PNG"), Preparation(32, 32, "pad"))
        assert min(Image.open(io.BytesIO(picture.thumbnail)).size) == 1


# colours


def test_sixteen_bits_keep_every_level_apart_that_eight_bits_can() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 8, axis=0)
    picture = decode(encoded(Image.fromarray(ramp), "PNG"), Preparation(8, 256, "squash"))
    assert picture.pixels[0, :, 0].tolist() == list(range(256))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65_535]], np.int32), [0, 255]),
        (np.array([[0, 200]], np.int32), [0, 200]),
        (np.array([[-1_000, 1_000]], np.int32), [0, 255]),
        (np.array([[0, 1_000_000]], np.int32), [0, 255]),
        (np.array([[0.0, 0.5]], np.float32), [0, 128]),
        (np.array([[0.0, 200.0]], np.float32), [0, 200]),
        (np.array([[-2.0, 2.0]], np.float32), [0, 255]),
        (np.array([[np.nan, 1.0]], np.float32), [0, 255]),
        (np.array([[0, 0]], np.int32), [0, 0]),
    ],
)
def test_numbers_without_a_fixed_range_are_scaled_not_clipped(values: np.ndarray, expected: list[int]) -> None:
    picture = decode(encoded(Image.fromarray(values), "TIFF"), Preparation(1, 2, "squash"))
    assert picture.pixels[0, :, 0].tolist() == expected


def test_a_colour_profile_is_applied() -> None:
    # In a profile whose red and blue have changed places, a red pixel means blue.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")
    assert swapped != srgb
    plain = decode(encoded(scene(), "PNG"), PREPARATION).pixels
    assert np.array_equal(decode(encoded(scene(), "PNG", icc_profile=srgb), PREPARATION).pixels, plain)
    found = quadrants_of(Image.fromarray(decode(encoded(scene(), "PNG", icc_profile=swapped), PREPARATION).pixels))
    assert far(found, tuple((b, g, r) for r, g, b in COLOURS)) <= 3  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 3_000, b"x" * (5 << 20)])
def test_a_damaged_colour_profile_is_ignored(profile: bytes) -> None:
    data = encoded(scene(), "TIFF", icc_profile=profile)
    assert far(quadrants_of(Image.fromarray(decode(data, PREPARATION).pixels)), COLOURS) <= 3


def test_a_profile_for_another_kind_of_picture_is_ignored() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(scene(GREYS).convert("L"), "PNG", icc_profile=srgb)
    assert far(quadrants_of(Image.fromarray(decode(data, PREPARATION).pixels)), GREYS) <= 3


def test_damaged_exif_does_not_cost_the_picture() -> None:
    for exif in (
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0c\0\0",
    ):
        data = encoded(scene(), "JPEG", exif=exif, quality=92)
        assert far(quadrants_of(Image.fromarray(decode(data, PREPARATION).pixels)), COLOURS) <= 8


def test_thumbnails_carry_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    data = encoded(
        scene(),
        "JPEG",
        exif=exif.tobytes(),
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    )
    thumbnail = Image.open(io.BytesIO(decode(data, PREPARATION).thumbnail))
    assert not {"exif", "icc_profile", "xmp"} & thumbnail.info.keys()


# the same pixels as a picture that somebody searches with


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_are_those_of_the_plain_way_where_no_draft_is_used(fit: str, orientation: int) -> None:
    preparation = Preparation(224, 224, fit)  # type: ignore[arg-type]
    data = jpeg(draw(7), orientation)
    plain = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data, preparation).pixels, preparation.prepare(plain))


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_draft_changes_pixels_and_embeddings_by_next_to_nothing(fit: str, quality: int) -> None:
    preparation = Preparation(64, 64, fit)  # type: ignore[arg-type]
    for seed in range(2):
        data = jpeg(draw(seed, 1200, 900), quality=quality)
        plain = preparation.prepare(Image.open(io.BytesIO(data)))
        pixels = decode(data, preparation).pixels
        assert not np.array_equal(pixels, plain), "no draft was used, so this compares nothing"
        assert np.abs(pixels.astype(int) - plain).mean() < 0.5
        vectors = GridEncoder().encode_prepared(np.stack([pixels, plain]))
        assert vectors[0] @ vectors[1] > 0.9999


# hostile input


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20),
    st.floats(0.2, 1),
)
def test_damaged_files_are_decoded_or_refused_and_nothing_else(
    name: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    if name == b"big.jpg":
        name = b"plain.jpg"
    data = bytearray(GOOD[name][0])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    try:
        picture = decode(
            bytes(data[: int(kept * len(data))]), PREPARATION, replace(DEFAULT_LIMITS, max_pixels=1_000_000)
        )
    except PictureError as error:
        refused = error.code in FAILURE_CODES and str(error).isprintable()
        assert refused, error  # noqa: PT017  # either way is fine, so pytest.raises does not say it
    else:
        assert picture.pixels.shape == (64, 64, 3)


@given(st.binary(max_size=64))
def test_bytes_that_are_no_picture_are_never_an_unknown_error(data: bytes) -> None:
    with pytest.raises(PictureError) as raised:
        decode(data, PREPARATION)
    assert raised.value.code in FAILURE_CODES


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"BMW is a car maker, and this is a text.", None),
        (b"\xff\x0a", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"<html>", None),
    ],
)
def test_what_a_file_is_shows_in_its_first_bytes(head: bytes, name: str | None) -> None:
    signature = signature_of(head)
    assert (signature.name if signature else None) == name


# reading


def test_a_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1_000)
    assert read_file(bytes(path), 1_000) == b"x" * 1_000
    with pytest.raises(PictureError) as raised:
        read_file(bytes(path), 999)
    assert raised.value.code == "too_large"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"/dev/zero", "not_a_file"),
        (b"/", "not_a_file"),
        (b"/nothing", "file_missing"),
        (b"/" + b"x" * 5_000, "file_missing"),
    ],
)
def test_what_is_no_readable_file_is_refused_with_its_code(path: bytes, code: str) -> None:
    with pytest.raises(PictureError) as raised:
        read_file(path, 1_000)
    assert raised.value.code == code


def test_a_file_that_grows_while_it_is_read_stays_within_the_limit() -> None:
    # /proc files have size 0 and yet content: what counts is what is read.
    with pytest.raises(PictureError) as raised:
        read_file(b"/proc/self/maps", 100)
    assert raised.value.code == "too_large"


def test_a_decoder_process_loads_no_model_library_and_no_store() -> None:
    code = "import sys, dar_search.ingestion.decoding.decoder_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "open_clip", "transformers", "diffusers", "opensearchpy", "pydantic", "sqlite3", "flask"}
    assert "PIL.Image" in loaded
    assert not heavy & set(loaded)


def test_sixteen_bit_pictures_are_not_white() -> None:
    """What clipping would make of them: this is the difference that the scaling makes."""
    assert np.asarray(sixteen_bits()).max() > 255
    assert decode(encoded(sixteen_bits(), "PNG"), PREPARATION).pixels.min() < 30
