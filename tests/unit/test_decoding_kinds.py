"""What a file is, by its content: HEIC, and a name for what is not decoded, so that nothing whole is called damaged."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.decode import decode
from dar_search.preparation import Preparation
from tests.pictures import (
    COLOURS,
    GREYS,
    ORIENTATION,
    STORED,
    encoded,
    heic,
    jpeg,
    photograph,
    png,
    quadrants_of,
    scene,
    see_through,
    sixteen_bits,
)
from tests.unit.test_colours import AS_SRGB, P3, P3_RED, near
from tests.unit.test_decoding import far

SQUASH = Preparation(64, 64, "squash")


def failure(data: bytes) -> PictureError:
    with pytest.raises(PictureError) as raised:
        decode(data, SQUASH)
    assert str(raised.value).isprintable()
    return raised.value


# HEIC


def test_a_heic_is_decoded_in_its_colours() -> None:
    picture = decode(heic(scene()), SQUASH)
    assert (picture.width, picture.height) == scene().size
    assert far(quadrants_of(Image.fromarray(picture.pixels)), COLOURS) <= 8


@pytest.mark.parametrize("orientation", [1, *STORED])
def test_a_heic_is_upright_whichever_way_the_phone_was_held(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = scene().transpose(STORED[orientation]) if orientation != 1 else scene()
    picture = decode(heic(stored, exif=exif.tobytes()), SQUASH)
    assert (picture.width, picture.height) == scene().size
    assert far(quadrants_of(Image.fromarray(picture.pixels)), COLOURS) <= 8


def test_a_heic_of_ten_bits_is_as_bright_as_one_of_eight() -> None:
    values = np.asarray(scene()).astype(np.uint16) * 257
    file = pillow_heif.from_bytes("RGB;16", scene().size, values.tobytes())
    data = io.BytesIO()
    pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    file.save(data, quality=95)
    assert pillow_heif.open_heif(data.getvalue(), convert_hdr_to_8bit=False).info["bit_depth"] == 10
    assert far(quadrants_of(Image.fromarray(decode(data.getvalue(), SQUASH).pixels)), COLOURS) <= 8


def test_a_heic_says_its_colours_by_a_profile_and_by_codes() -> None:
    picture = Image.new("RGB", (64, 64), P3_RED)
    profiled = picture.copy()
    profiled.info["icc_profile"] = P3
    coded = {"save_nclx_profile": True, "color_primaries": 12, "transfer_characteristics": 13}
    for data in (heic(profiled), heic(picture, **coded)):
        found = tuple(int(value) for value in decode(data, SQUASH).pixels[32, 32])
        assert near(found, AS_SRGB, 5)


def test_a_heic_with_transparency_lies_on_what_lets_it_be_seen() -> None:
    on_white = (*COLOURS[:3], (255, 255, 255))
    assert far(quadrants_of(Image.fromarray(decode(heic(see_through()), SQUASH).pixels)), on_white) <= 8  # type: ignore[arg-type]


def test_of_a_heic_with_a_thumbnail_and_several_pictures_the_whole_main_one_counts() -> None:
    file = pillow_heif.from_pillow(scene(width=2_000, height=1_200))
    file.add_from_pillow(scene(GREYS, 2_000, 1_200))
    data = io.BytesIO()
    file.save(data, quality=90, thumbnails=[128], primary_index=0)
    picture = decode(data.getvalue(), Preparation(16, 16, "squash"))
    assert (picture.width, picture.height) == (2_000, 1_200)
    assert far(quadrants_of(Image.open(io.BytesIO(picture.thumbnail))), COLOURS) <= 8


def test_a_heic_that_breaks_off_and_one_that_is_nothing_are_told_apart() -> None:
    data = heic(photograph(1))
    assert failure(data[:-100]).code == "truncated_picture"
    assert failure(data[:24] + bytes(200)).code == "broken_picture"


def test_without_its_extra_a_heic_is_refused_with_how_to_install_it() -> None:
    code = """
import sys
sys.modules["pillow_heif"] = None
import importlib.util
from dar_search.errors import PictureError
from dar_search.ingestion.decoding.opening import kind_of
try:
    kind_of(b"\\0\\0\\0\\x18ftypheic\\0\\0\\0\\0mif1heic")
except PictureError as error:
    print(error.code, error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("unsupported_format ")
    assert 'pip install "dar-search[heif]"' in said


# TIFF


def tiff(photometric: int, bits: tuple[int, ...], form: int, size: int, **more: int) -> bytes:
    """A whole TIFF of 32 x 32 pixels whose samples are `size` bytes in all."""
    raw = bytes(32 * 32 * size)
    tags = {256: (3, 32), 257: (3, 32), 259: (3, more.get("compression", 1)), 262: (3, photometric)}
    tags |= {273: (4, 8), 277: (3, len(bits)), 278: (3, 32), 279: (4, len(raw))}
    lists = {258: bits, 339: (form,) * len(bits)}
    if "extra" in more:
        lists[338] = (more["extra"],)
    start = 8 + len(raw)
    tail = start + 2 + 12 * (len(tags) + len(lists)) + 4
    directory, values = struct.pack("<H", len(tags) + len(lists)), b""
    for tag in sorted([*tags, *lists]):
        if tag in tags:
            kind, value = tags[tag]
            directory += struct.pack("<HHII", tag, kind, 1, value)
        elif len(lists[tag]) <= 2:
            directory += struct.pack("<HHI", tag, 3, len(lists[tag])) + struct.pack(
                f"<{len(lists[tag])}H", *lists[tag]
            ).ljust(4, b"\0")
        else:
            directory += struct.pack("<HHII", tag, 3, len(lists[tag]), tail + len(values))
            values += struct.pack(f"<{len(lists[tag])}H", *lists[tag])
    return b"II*\0" + struct.pack("<I", start) + raw + directory + bytes(4) + values


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(2, (32, 32, 32), 3, 12), "RGB, 3 samples of 32 bits (float)"),
        (tiff(2, (64, 64, 64), 3, 24), "RGB, 3 samples of 64 bits (float)"),
        (tiff(1, (64,), 3, 8), "grey, 1 sample of 64 bits (float)"),
        (tiff(1, (16,), 3, 2), "grey, 1 sample of 16 bits (float)"),
        (tiff(2, (16,) * 5, 1, 10, extra=0), "RGB, 5 samples of 16 bits"),
        (tiff(8, (32, 32, 32), 3, 12), "CIELAB, 3 samples of 32 bits (float)"),
        (tiff(1, (10,), 1, 2), "grey, 1 sample of 10 bits"),
        (tiff(32_803, (16,), 1, 2), "camera raw"),
        (tiff(2, (8, 8, 8), 1, 3, compression=50_001), "webp"),
        (tiff(2, (8, 8, 8), 1, 3, compression=50_002), "compression 50002"),
    ],
)
def test_a_whole_tiff_of_a_kind_that_is_not_decoded_is_named_and_not_called_damaged(data: bytes, says: str) -> None:
    error = failure(data)
    assert error.code == "unsupported_format"
    assert says in error.message
    assert "Convert" in error.hint


def test_a_tiff_that_breaks_off_is_not_called_another_kind() -> None:
    whole = tiff(2, (32, 32, 32), 3, 12)
    assert failure(whole[:5_000]).code != "unsupported_format"
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        cut = encoded(photograph(1), "TIFF", compression=compression)[:100_000]
        assert failure(cut).code == "truncated_picture"


def test_a_raw_file_whose_tiff_begins_with_a_preview_is_named() -> None:
    from PIL import TiffImagePlugin

    for tag, value in ((50_706, b"\1\4\0\0"), (330, 8)):
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[254] = 1
        info[tag] = value
        info.tagtype[tag] = 1 if tag == 50_706 else 4
        error = failure(encoded(scene(), "TIFF", tiffinfo=info))
        assert (error.code, "camera raw" in error.message) == ("unsupported_format", True)


# JPEG, AVIF, BMP


def with_frame(frame: bytes) -> bytes:
    """A JPEG whose start of frame is another."""
    data = jpeg(scene())
    at = data.index(b"\xff\xc0")
    return data[:at] + frame + data[at + len(frame) :]


@pytest.mark.parametrize(
    ("frame", "says"),
    [(b"\xff\xc3", "lossless"), (b"\xff\xc1\x00\x11\x0c", "12 bits"), (b"\xff\xc5", "hierarchical")],
)
def test_a_jpeg_of_a_kind_that_is_not_decoded_is_named(frame: bytes, says: str) -> None:
    error = failure(with_frame(frame))
    assert error.code == "unsupported_format"
    assert says in error.message


def test_an_avif_longer_than_its_decoder_takes_is_too_long_and_not_damaged() -> None:
    long = decode(encoded(Image.new("RGB", (17_000, 16), (200, 30, 30)), "AVIF"), SQUASH)
    assert (long.width, long.height) == (17_000, 16)
    error = failure(encoded(Image.new("RGB", (40_000, 16)), "AVIF"))
    assert error.code == "side_too_long"
    assert "32,768" in error.message


def test_a_bitmap_of_a_kind_that_is_not_decoded_is_not_called_damaged() -> None:
    data = bytearray(encoded(scene(), "BMP"))
    data[30:34] = struct.pack("<I", 4)  # a JPEG inside
    assert failure(bytes(data)).code == "unsupported_format"


# what else


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"\xff\x0a" + bytes(50), "unsupported_format", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "unsupported_format", "JPEG 2000"),
        (b"\xff\xd8\xff\xf7" + bytes(50), "unsupported_format", "JPEG-LS"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "unsupported_format", "camera raw"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(50), "unsupported_format", "camera raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(50), "unsupported_format", "camera raw"),
        (b"8BPS\0\1" + bytes(50), "unsupported_format", "Photoshop"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format", "SVG"),
        (b"%PDF-1.7", "unsupported_format", "PDF"),
        (b"\0\0\1\0\1\0\x10\x10" + bytes(50), "unsupported_format", "icon"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "not_a_picture", "web page"),
        (b"\n<HTML><HEAD>", "not_a_picture", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not_a_picture", "XML"),
        (b'{"error": "not found"}', "not_a_picture", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "not_a_picture", "Git LFS"),
        (b"bplist00\xd2\1\2\x5fNSURLNameKey" + bytes(50), "not_a_picture", "iCloud"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(50), "not_a_picture", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(50), "not_a_picture", "video"),
        (b"\x1a\x45\xdf\xa3" + bytes(50), "not_a_picture", "video"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(50), "not_a_picture", "AppleDouble"),
        (b"PK\3\4" + bytes(50), "not_a_picture", "ZIP"),
        (b"\x1f\x8b\x08" + zlib.compress(b"x"), "not_a_picture", "compressed"),
        (bytes(4_096), "not_a_picture", "zeros"),
        (b"404 page not found\n", "not_a_picture", '"404 page not found"'),
        (encoded(scene(), "TGA") + bytes(8) + b"TRUEVISION-XFILE.\0", "unsupported_format", "TGA"),
        (encoded(scene(), "PCX"), "unsupported_format", "PCX"),
        (encoded(scene(), "SGI"), "unsupported_format", "SGI"),
        (encoded(scene(), "PPM"), "unsupported_format", "PNM"),
        (encoded(scene().convert("1"), "XBM"), "unsupported_format", "XBM"),
        (encoded(scene(), "JPEG2000"), "unsupported_format", "JPEG 2000"),
        (encoded(scene(), "ICO"), "unsupported_format", "icon"),
        (encoded(scene(), "EPS"), "unsupported_format", "PostScript"),
        (encoded(scene(), "DDS"), "unsupported_format", "DirectDraw"),
        ("Not found".encode("utf-16"), "not_a_picture", "UTF-16"),
        (b" \n \n", "not_a_picture", "not a picture"),
        (b"\x93\xf1\0\x07\x99" * 9, "not_a_picture", "not a picture"),
    ],
)
def test_each_kind_of_file_is_called_what_it_is(data: bytes, code: str, says: str) -> None:
    error = failure(data)
    assert error.code == code
    assert says in error.message
    assert error.hint
    assert "damaged" not in str(error)


def test_a_file_of_no_bytes_is_said_to_be_empty() -> None:
    error = failure(b"")
    assert (error.code, "0 bytes" in error.message) == ("empty_file", True)


def test_whole_pictures_are_none_of_these() -> None:
    for data in (png(5, 5), encoded(sixteen_bits(), "TIFF"), encoded(scene(), "GIF"), encoded(scene(), "BMP")):
        assert decode(data, SQUASH).pixels.shape == (64, 64, 3)
