"""Large, long and thin pictures, and those without their last bytes: by what decoding costs, and what is there."""

import functools
import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.decode import decode
from dar_search.ingestion.decoding.limits import DEFAULT_LIMITS, DecodeLimits, limits_of
from dar_search.preparation import Preparation, Resample
from dar_search.settings.decode import DecodeSettings
from tests.pictures import encoded, jpeg, photograph, png

CROP = Preparation(224, 224, "crop")


@functools.cache
def plain_jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    return encoded(Image.new("RGB", (width, height), (200, 30, 30)), "JPEG", quality=40, progressive=progressive)


def failure(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> PictureError:
    with pytest.raises(PictureError) as raised:
        decode(data, CROP, limits)
    return raised.value


def noise(size: tuple[int, int], low: int, high: int) -> Image.Image:
    """Nothing shows a difference as well."""
    pixels = np.random.default_rng(6).integers(low, high + 1, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# large


@pytest.mark.parametrize("size", [(12_000, 9_000), (8_736, 11_648)])
def test_a_phone_or_a_camera_of_over_100_megapixels_is_decoded_at_a_fraction(size: tuple[int, int]) -> None:
    picture = decode(plain_jpeg(*size), CROP)
    assert (picture.width, picture.height) == size
    assert np.abs(picture.pixels.astype(int) - (200, 30, 30)).max() < 8


def test_a_jpeg_that_the_margin_would_decode_too_large_is_decoded_as_large_as_is_allowed() -> None:
    data = jpeg(photograph(4, 640, 480))
    whole = decode(data, CROP).pixels
    limits = replace(DEFAULT_LIMITS, max_pixels=640 * 480 - 1)
    halved = decode(data, CROP, limits)
    assert (halved.width, halved.height) == (640, 480)
    assert not np.array_equal(halved.pixels, whole), "nothing was decoded at a fraction"
    assert np.abs(halved.pixels.astype(int) - whole).mean() < 4
    # Not below what the encoder looks at.
    assert failure(data, replace(DEFAULT_LIMITS, max_pixels=50_000)).code == "too_many_pixels"


def test_what_costs_too_much_is_refused_and_the_setting_is_named() -> None:
    found = [
        failure(plain_jpeg(1_200, 900), replace(DEFAULT_LIMITS, max_jpeg_pixels=1_000_000)),
        failure(png(1_200, 900), replace(DEFAULT_LIMITS, max_pixels=1_000_000)),
        failure(plain_jpeg(1_200, 900, progressive=True), replace(DEFAULT_LIMITS, max_pixels=500_000)),
        failure(png(1_200, 9), replace(DEFAULT_LIMITS, max_side=1_000)),
    ]
    assert [(error.code, error.hint.partition("ingest.decode.")[2]) for error in found] == [
        ("too_many_pixels", "max_jpeg_megapixels."),
        ("too_many_pixels", "max_megapixels."),
        ("too_many_pixels", "max_megapixels."),
        ("side_too_long", "max_side."),
    ]
    assert decode(plain_jpeg(1_200, 900), CROP, replace(DEFAULT_LIMITS, max_pixels=500_000)).width == 1_200
    names = {error.hint.partition("ingest.decode.")[2].rstrip(".") for error in found}
    limits = DEFAULT_LIMITS
    for error in (limits.out_of_memory(), limits.timed_out(), limits.too_large(PictureError("too_large", "x"))):
        names.add(error.hint.partition("ingest.decode.")[2].rstrip("."))
    assert names == set(DecodeSettings.model_fields), "every limit is named by the failure that it makes"


def test_the_settings_defaults_are_the_limits_defaults() -> None:
    assert limits_of(DecodeSettings()) == DEFAULT_LIMITS
    assert limits_of(DecodeSettings(max_megapixels=0.5, memory_megabytes=100)) == replace(
        DEFAULT_LIMITS, max_pixels=500_000, memory_bytes=100 << 20
    )


# long and thin


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(790, 36_861), (20_000, 1_000)])
def test_a_long_screenshot_or_panorama_is_decoded(format: str, size: tuple[int, int]) -> None:
    data = plain_jpeg(*size) if format == "JPEG" else png(*size, bits=8)
    picture = decode(data, CROP)
    assert (picture.width, picture.height) == size
    assert picture.pixels.shape == (224, 224, 3)


@pytest.mark.parametrize("fit", ["crop", "crop-floor", "squash", "pad"])
@pytest.mark.parametrize("size", [(16_000, 1), (1, 16_000), (65_000, 2), (3, 40_000)])
def test_a_thin_picture_is_prepared_in_little_memory(fit: str, size: tuple[int, int]) -> None:
    preparation = Preparation(224, 224, fit)  # type: ignore[arg-type]
    tracemalloc.start()  # Pillow's own memory does not show here; what the picture would be whole is 3.6 GB and more
    try:
        picture = preparation.prepare(Image.new("RGB", size, (10, 200, 10)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert picture.shape == (224, 224, 3)
    assert tuple(picture.max(axis=(0, 1))) == (10, 200, 10)


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("fit", ["crop", "crop-floor"])
@pytest.mark.parametrize("size", [(1_000, 100), (97, 1_300), (3_000, 40), (21, 700), (64, 640)])
def test_only_the_crop_of_a_thin_picture_is_resized_and_it_is_that_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, resample: Resample, fit: str, size: tuple[int, int]
) -> None:
    monkeypatch.setattr("dar_search.preparation._MOST_PIXELS", 0)  # as if these were as large as those it is for
    picture = noise(size, 0, 255)
    preparation = Preparation(64, 64, fit, resample)  # type: ignore[arg-type]
    whole = int if fit == "crop-floor" else round
    width = 64 if size[0] <= size[1] else int(64 * size[0] / size[1])
    height = 64 if size[1] <= size[0] else int(64 * size[1] / size[0])
    by = Image.Resampling[resample.upper()]
    resized = picture.resize((width, size[1]), by).resize((width, height), by)
    left, top = whole((width - 64) / 2), whole((height - 64) / 2)
    expected = np.asarray(resized.crop((left, top, left + 64, top + 64)), int)
    difference = np.abs(preparation.prepare(picture) - expected)
    if resample == "nearest":  # of two equally near pixels either may be taken
        assert (difference > 1).mean() < 0.05
    else:
        assert difference.max() <= 1


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1_000, 300), (37, 250), (224, 224)])
def test_pictures_of_ordinary_shapes_are_prepared_to_the_bit_as_the_library_does(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    modes = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose([transforms.Resize(224, interpolation=modes), transforms.CenterCrop(224)])
    picture = photograph(8).resize(size)
    assert np.array_equal(CROP.prepare(picture), np.asarray(theirs(picture)))


def test_thin_pictures_are_prepared_as_the_library_does_up_to_rounding() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    modes = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose([transforms.Resize(224, interpolation=modes), transforms.CenterCrop(224)])
    for size in ((4_000, 300), (90, 2_000), (20, 3_000), (30, 301), (2_500, 7), (300, 4_000)):
        # Away from 0 and 255: what is cut off there depends on Pillow's version, which says what it resizes first.
        picture = noise(size, 80, 175)
        difference = np.abs(CROP.prepare(picture).astype(int) - np.asarray(theirs(picture)))
        assert difference.max() <= 1 or (difference.max() == 2 and difference.mean() < 0.2)


# without the last bytes


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_jpeg_without_its_end_marker_is_the_whole_picture(mode: str, progressive: bool, cut: int) -> None:
    """source: python-pillow #4414, #889, #2038, #7879"""
    data = encoded(photograph(1).convert(mode), "JPEG", quality=90, progressive=progressive)
    whole, short = decode(data, CROP).pixels, decode(data[:-cut], CROP).pixels
    if cut <= 2:
        assert np.array_equal(whole, short)
    else:
        assert np.abs(whole.astype(int) - short).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_may_lack_a_tenth_of_its_rows_and_no_more(mode: str) -> None:
    data = encoded(photograph(1).convert(mode), "JPEG", quality=90)
    few = decode(data[: int(0.97 * len(data))], CROP).pixels
    assert np.abs(decode(data, CROP).pixels[:190].astype(int) - few[:190]).max() <= 1
    for kept in (0.8, 0.5, 0.1):
        error = failure(data[: int(kept * len(data))])
        assert error.code == "truncated_picture"
        assert "% of it are missing" in error.message


def test_a_jpeg_whose_copy_was_never_finished_is_refused_however_long_the_file_is() -> None:
    data = jpeg(photograph(1))
    assert failure(data[: len(data) // 2] + bytes(len(data) // 2)).code == "truncated_picture"
    assert np.array_equal(decode(data + bytes(5_000), CROP).pixels, decode(data, CROP).pixels)


def test_grey_rows_of_a_whole_picture_are_not_missing() -> None:
    picture = photograph(1)
    picture.paste((128, 128, 128), (0, 200, 640, 480))
    assert decode(jpeg(picture), CROP).height == 480
    assert decode(jpeg(picture) + b"MotionPhoto_Data" + bytes(3_000), CROP).height == 480


@pytest.mark.parametrize("cut", [4, 8, 12, 16, 20])
def test_a_png_without_its_last_chunk_is_the_whole_picture(cut: int) -> None:
    data = encoded(photograph(2, 64, 64), "PNG")
    assert np.array_equal(decode(data[:-cut], CROP).pixels, decode(data, CROP).pixels)


def test_a_webp_may_lack_a_few_bytes_of_many() -> None:
    data = encoded(photograph(2), "WEBP", quality=90)
    short = decode(data[: -len(data) // 1_000], CROP).pixels
    assert np.abs(decode(data, CROP).pixels.astype(int) - short).mean() < 2
    assert failure(data[: -len(data) // 20]).code == "truncated_picture"


def test_of_a_jpeg_followed_by_more_the_first_picture_counts() -> None:
    first, second = photograph(1), photograph(2)
    alone = decode(jpeg(first), CROP).pixels
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second], quality=92)
    assert np.array_equal(decode(file.getvalue(), CROP).pixels, alone)
    assert np.array_equal(decode(jpeg(first) + jpeg(second), CROP).pixels, alone)
