"""Colours: by what a profile does, by a file's own depth and polarity, and on what lets a picture be seen."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from dar_search.colours.made_profiles import coded_profile, gamma_profile, profile_of_adobe_rgb
from dar_search.colours.rgb import to_rgb
from dar_search.ingestion.decoding.decode import decode
from dar_search.preparation import Preparation
from tests.grid_encoder import GridEncoder
from tests.pictures import encoded, photograph, scene

SQUASH = Preparation(64, 64, "squash")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = coded_profile(12, 13)
D65 = (0.3127, 0.3290)
P3_CHROMATICITY = (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
ADOBE_CHROMATICITY = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
BT2020_CHROMATICITY = (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
SRGB_CHROMATICITY = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def srgb_light(levels: np.ndarray) -> np.ndarray:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def computed(colour: tuple[int, ...], space: tuple[float, ...], gamma: float = 0) -> tuple[int, ...]:
    """What a colour of a space is in sRGB, by the textbook: light, XYZ, light, level. Both whites are D65."""

    def to_xyz(space: tuple[float, ...]) -> np.ndarray:
        light = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in zip(space[::2], space[1::2], strict=True)]
        columns = np.stack(light[1:], axis=1)
        return columns * np.linalg.solve(columns, light[0])

    levels = np.array(colour) / 255
    light = levels**gamma if gamma else srgb_light(levels)
    light = (np.linalg.inv(to_xyz(SRGB_CHROMATICITY)) @ to_xyz(space) @ light).clip(0, 1)
    return tuple(
        round(255 * float(x)) for x in np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    )


P3_RED = (200, 80, 60)
AS_SRGB = computed(P3_RED, P3_CHROMATICITY)


def colour(data: bytes) -> tuple[int, ...]:
    """Of the picture's middle, as it is decoded."""
    return tuple(int(value) for value in decode(data, SQUASH).pixels[32, 32])


def near(found: tuple[int, ...], expected: tuple[int, ...], by: int = 3) -> bool:
    return max(abs(int(a) - int(b)) for a, b in zip(found, expected, strict=True)) <= by


def named(profile: bytes, name: str) -> bytes:
    """The profile with a description of this name."""
    text = name.encode() + b"\0"
    data = b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78)
    count = struct.unpack_from(">I", profile, 128)[0]
    table = profile[132 : 132 + 12 * count]
    shifted = b"".join(
        name + struct.pack(">II", at + 12, size) for name, at, size in struct.iter_unpack(">4sII", table)
    )
    body = profile[132 + 12 * count :]
    at = 132 + 12 * (count + 1) + len(body)
    table = struct.pack(">I", count + 1) + shifted + b"desc" + struct.pack(">II", at, len(data))
    return struct.pack(">I", at + len(data)) + profile[4:128] + table + body + data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    return png[:33] + b"".join(chunk(kind, data) for kind, data in chunks) + png[33:]


def plain(colour: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (64, 64), colour)


# colour spaces


@pytest.mark.parametrize(
    "name", ["Display P3", "DCI-P3 D65 Gamut with sRGB Transfer", "sRGB EOTF with DCI-P3 Color Gamut", "sRGB"]
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_counts_by_what_it_does_whatever_it_is_called(name: str, format: str) -> None:
    assert P3
    options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format in ("JPEG", "AVIF") else {}
    data = encoded(plain(P3_RED), format, icc_profile=named(P3, name), **options)
    assert near(colour(data), AS_SRGB, 4)


@pytest.mark.parametrize("name", ["sRGB IEC61966-2.1", "Display P3", "My monitor"])
def test_a_profile_that_is_srgb_changes_no_pixel_whatever_it_is_called(name: str) -> None:
    picture = photograph(3, 64, 64)
    ours = named(gamma_profile(1 / 2.2, None) or b"", name)
    for profile in (SRGB, ours):
        found = decode(encoded(picture, "PNG", icc_profile=profile), SQUASH).pixels
        assert np.array_equal(found, np.asarray(picture))


def test_our_own_profiles_are_those_of_the_standards() -> None:
    for profile, primaries in ((SRGB, gamma_profile(1 / 2.2, None)), (SRGB, coded_profile(1, 16))):
        theirs, ours = (ImageCms.ImageCmsProfile(io.BytesIO(data)).profile for data in (profile, primaries or b""))
        for channel in ("red_colorant", "green_colorant", "blue_colorant"):
            assert np.allclose(getattr(theirs, channel)[0], getattr(ours, channel)[0], atol=1e-3)
    adobe = ImageCms.ImageCmsProfile(io.BytesIO(profile_of_adobe_rgb())).profile
    # Adobe RGB (1998) Color Image Encoding, 4.3.5.
    assert np.allclose(adobe.red_colorant[0], (0.60974, 0.31111, 0.01947), atol=1e-3)
    assert np.allclose(adobe.green_colorant[0], (0.20528, 0.62567, 0.06087), atol=1e-3)


@pytest.mark.parametrize(
    ("space", "sent", "seen"),
    [
        (profile_of_adobe_rgb(), (200, 80, 60), computed((200, 80, 60), ADOBE_CHROMATICITY, 563 / 256)),
        (coded_profile(9, 13), (200, 120, 100), computed((200, 120, 100), BT2020_CHROMATICITY)),
        (coded_profile(1, 8), (128, 128, 128), (188, 188, 188)),
        (gamma_profile(1.0, None), (55, 55, 55), (128, 128, 128)),
        (gamma_profile(1 / 1.8, None), (128, 128, 128), (146, 146, 146)),
    ],
)
def test_other_spaces_are_converted(space: bytes, sent: tuple[int, ...], seen: tuple[int, ...]) -> None:
    assert near(colour(encoded(plain(sent), "PNG", icc_profile=space)), seen, 3)


def test_png_says_its_space_in_chunks_and_the_one_that_counts_most_wins() -> None:
    red, grey = encoded(plain(P3_RED), "PNG"), encoded(plain((128,), "L"), "PNG")
    p3 = (b"cICP", bytes([12, 13, 0, 1]))
    linear = (b"gAMA", struct.pack(">I", 100_000))
    primaries = (b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in P3_CHROMATICITY)))
    screen = (b"gAMA", struct.pack(">I", 45_455))
    assert near(colour(with_chunks(red, p3)), AS_SRGB)
    assert near(colour(with_chunks(red, screen, primaries)), AS_SRGB)
    assert near(colour(with_chunks(grey, linear)), (188,) * 3)
    assert colour(with_chunks(grey, screen)) == (128,) * 3
    assert colour(with_chunks(grey, linear, (b"sRGB", b"\0"))) == (128,) * 3
    assert near(colour(with_chunks(encoded(plain(P3_RED), "PNG", icc_profile=SRGB), p3)), AS_SRGB)
    assert P3
    srgb = (b"cICP", bytes([1, 13, 0, 1]))
    assert colour(with_chunks(encoded(plain(P3_RED), "PNG", icc_profile=P3), srgb)) == P3_RED
    # What makes no sense says nothing.
    for nonsense in ((b"gAMA", bytes(4)), (b"cHRM", bytes(32)), (b"cICP", b"\x02\x02\0\1"), (b"cICP", b"\1")):
        assert colour(with_chunks(red, nonsense)) == P3_RED


def test_avif_says_its_space_in_codes() -> None:
    data = encoded(plain(P3_RED), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    assert near(colour(data), P3_RED, 4)
    for primaries, transfer, seen in ((12, 13, AS_SRGB), (1, 13, P3_RED), (2, 2, P3_RED), (9, 13, None)):
        found = colour(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
        assert near(found, seen or computed(P3_RED, BT2020_CHROMATICITY), 5)


def test_hdr_codes_become_screen_light_with_diffuse_white_white() -> None:
    # BT.2408: diffuse white is 58% of PQ's signal and 75% of HLG's.
    for transfer, white in ((16, 148), (18, 191)):
        data = with_chunks(encoded(plain((white,) * 3), "PNG"), (b"cICP", bytes([9, transfer, 0, 1])))
        assert near(colour(data), (255,) * 3, 6)
        dark = with_chunks(encoded(plain((white // 2,) * 3), "PNG"), (b"cICP", bytes([9, transfer, 0, 1])))
        assert 20 < colour(dark)[0] < 160


@pytest.mark.parametrize(
    ("colour_space", "index", "converted"),
    [(65_535, "R03", True), (2, "", True), (1, "R98", False), (65_535, "", False)],
)
def test_exif_says_adobe_rgb(colour_space: int, index: str, converted: bool) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = colour_space
    if index:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    sent = (200, 80, 60)
    data = encoded(plain(sent), "PNG", exif=exif.tobytes())
    assert near(colour(data), computed(sent, ADOBE_CHROMATICITY, 563 / 256) if converted else sent, 3)


def test_greys_follow_a_grey_profile_and_an_rgb_one() -> None:
    linear = coded_profile(1, 8) or b""
    assert near(colour(encoded(plain((55,), "L"), "PNG", icc_profile=linear)), (128,) * 3)
    curve = b"para" + struct.pack(">IHHi", 0, 0, 0, 1 << 16)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63_190, 65_536, 54_061)
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, len(curve))
    header = struct.pack(">I4sI", 176 + len(curve), bytes(4), 0x04300000) + b"mntrGRAYXYZ "
    header = ((header.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + white[8:]).ljust(128, b"\0")
    grey = header + table + white + curve
    assert near(colour(encoded(plain((55,), "L"), "PNG", icc_profile=grey)), (128,) * 3)
    with_alpha = plain((55, 255), "LA")
    with_alpha.putpixel((0, 0), (55, 0))
    assert near(colour(encoded(with_alpha, "PNG", icc_profile=grey)), (128,) * 3)
    assert colour(encoded(plain(P3_RED), "PNG", icc_profile=grey)) == P3_RED  # made for another kind of picture


def test_a_transparent_picture_is_converted_too_and_its_background_is_not() -> None:
    assert P3
    picture = plain((*P3_RED, 255), "RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 16, 64))
    pixels = decode(encoded(picture, "PNG", icc_profile=P3), SQUASH).pixels
    assert near(tuple(pixels[32, 40]), AS_SRGB)
    assert tuple(pixels[32, 4]) == (255, 255, 255)


def test_a_profile_that_makes_one_colour_of_all_is_damaged() -> None:
    dead = (P3 or b"").replace(b"para", b"curv")
    dark = b"curv" + struct.pack(">II2H", 0, 2, 0, 0)
    at = dead.find(b"curv")
    dead = dead[:at] + dark + dead[at + len(dark) :]
    assert colour(encoded(plain(P3_RED), "PNG", icc_profile=dead)) == P3_RED


def test_cmyk_comes_back_the_right_way_round_from_jpeg_and_tiff() -> None:
    picture = plain((230, 40, 30)).convert("CMYK")
    for format in ("JPEG", "TIFF"):
        assert near(colour(encoded(picture, format)), (230, 40, 30), 6)
        assert near(colour(encoded(picture, format, icc_profile=SRGB)), (230, 40, 30), 6)


# sample values


def tiff(
    order: str,
    bits: int,
    photometric: int,
    raw: bytes,
    *,
    width: int = 64,
    height: int = 64,
    form: int = 1,
    samples: int = 1,
) -> bytes:
    entries = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    entries += [(277, 3, samples), (278, 3, height), (279, 4, len(raw)), (339, 3, form)]
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(order + "HHI", tag, kind, 1)
        directory += struct.pack(order + ("HH" if kind == 3 else "I"), value, *([0] if kind == 3 else []))
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "I", 8 + len(raw)) + raw + directory + bytes(4)


def halves(left: int, right: int, order: str, code: str) -> bytes:
    """Rows of 32 values `left` and 32 values `right`."""
    return struct.pack(f"{order}64{code}", *[left] * 32, *[right] * 32) * 64


def twelve(left: int, right: int) -> bytes:
    return b"".join(struct.pack(">I", value << 12 | value)[1:] * 16 for value in (left, right)) * 64


def left_and_right(data: bytes) -> tuple[int, int]:
    pixels = decode(data, SQUASH).pixels
    return int(pixels[32, 8, 0]), int(pixels[32, 56, 0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize(
    ("bits", "form", "raw"),
    [
        (16, 1, lambda order: halves(65_535, 16_448, order, "H")),
        (12, 1, lambda order: twelve(4_095, 1_028)),
        (8, 1, lambda order: halves(255, 64, order, "B")),
        (4, 1, lambda order: bytes([0xFF] * 16 + [0x44] * 16) * 64),
        (2, 1, lambda order: bytes([0xFF] * 8 + [0x55] * 8) * 64),
        (32, 1, lambda order: halves((1 << 32) - 1, (1 << 30) + (1 << 22), order, "I")),
        (32, 3, lambda order: halves(1, 0.25, order, "f")),  # type: ignore[arg-type]
    ],
)
def test_greys_of_every_depth_byte_order_and_polarity_are_the_same_picture(
    order: str, white_is_zero: bool, bits: int, form: int, raw: object
) -> None:
    """source: python-pillow #1108, #2574, #2610: 16 bits with white as zero came out as a negative."""
    left, right = left_and_right(tiff(order, bits, 0 if white_is_zero else 1, raw(order), form=form))  # type: ignore[operator]
    if white_is_zero:
        left, right = 255 - left, 255 - right
    assert left == 255
    assert abs(right - (85 if bits == 2 else 68 if bits == 4 else 64)) <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_samples_are_darkest_where_they_are_lowest(order: str) -> None:
    assert left_and_right(tiff(order, 8, 1, halves(127, -128, order, "b"), form=2)) == (255, 0)
    assert left_and_right(tiff(order, 16, 1, halves(32_767, -32_768, order, "h"), form=2)) == (255, 0)
    assert left_and_right(tiff(order, 16, 1, halves(32_767, 0, order, "h"), form=2)) == (255, 0)


def test_infinite_and_slightly_too_bright_numbers_are_white_and_nothing_else_changes() -> None:
    values = np.array([[0.0, 0.5, 1.0, np.inf]], np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"), Preparation(1, 4, "squash")).pixels[0, :, 0].tolist() == [
        0, 128, 255, 255,
    ]  # fmt: skip
    far_apart = np.array([[-3e38, 0.0, 3e38]], np.float32)
    pixels = decode(encoded(Image.fromarray(far_apart), "TIFF"), Preparation(1, 3, "squash")).pixels
    assert pixels[0, :, 0].tolist() == [0, 128, 255]
    bright = np.array([[0.0, 0.3, 1.2]], np.float32)
    pixels = decode(encoded(Image.fromarray(bright), "TIFF"), Preparation(1, 3, "squash")).pixels
    assert pixels[0, :, 0].tolist() == [0, 64, 255]


def png(width: int, bits: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*one) for one in chunks) + data


@pytest.mark.parametrize(
    ("bits", "kind", "row", "through"),
    [
        (1, 0, b"\x40", (1,)),
        (2, 0, b"\x30", (3,)),
        (4, 0, b"\x0f", (15,)),
        (8, 0, b"\x00\xff", (255,)),
        (16, 0, b"\x00\x00\xff\xff", (65_535,)),
        (8, 2, b"\x00" * 3 + b"\xff" * 3, (255,) * 3),
        (16, 2, b"\x00" * 6 + b"\xff\x00" * 3, (0xFF00,) * 3),
    ],
)
def test_the_transparent_value_of_a_png_is_scaled_as_its_samples_are(
    bits: int, kind: int, row: bytes, through: tuple[int, ...]
) -> None:
    """Black, and white that is transparent beneath: what shows is black on white, with opacity told apart."""
    data = png(2, bits, kind, row, (b"tRNS", struct.pack(f">{len(through)}H", *through)))
    from dar_search.colours.sample_values import eight_bits
    from dar_search.colours.transparency import parted
    from dar_search.ingestion.decoding.opening import kind_of, opened

    image = opened(data, kind_of(data))
    image.load()
    values, alpha = eight_bits(image)
    if alpha is None:
        values, alpha = parted(values)
    assert alpha is not None
    assert list(alpha.tobytes()) == [255, 0]


# transparency


def on_nothing(*shapes: tuple[tuple[int, int, int, int], tuple[int, ...]], side: int = 200) -> Image.Image:
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    for box, fill in shapes:
        draw.rectangle(box, fill=fill)
    return picture


def ground(picture: Image.Image) -> int:
    """The grey that its transparent corner lies on."""
    pixel = to_rgb(picture).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    assert len(set(pixel)) == 1
    return int(pixel[0])


BOX, OTHER = (40, 40, 90, 160), (110, 40, 160, 160)
WHITE, BLACK, RED, YELLOW = (255, 255, 255, 255), (0, 0, 0, 255), (210, 20, 30, 255), (255, 250, 120, 255)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(BOX, BLACK)], 255),
        ([(BOX, RED)], 255),
        ([(BOX, WHITE)], 0),
        ([(BOX, (235, 235, 235, 255))], 0),
        ([(BOX, YELLOW)], 0),
        ([(BOX, RED), (OTHER, WHITE)], 0),  # a coloured sign, white letters beside it
        ([(BOX, BLACK), (OTHER, WHITE)], 128),
        ([((40, 40, 160, 160), RED), ((80, 80, 120, 120), WHITE)], 255),  # white letters on a red badge
        ([(BOX, (255, 255, 255, 90))], 0),
        ([(BOX, (0, 0, 0, 90))], 255),
        ([(BOX, (0, 0, 0, 0))], 255),
        ([(BOX, (90, 200, 10, 0))], 255),  # colours that nobody sees
    ],
)
def test_a_transparent_picture_lies_on_what_lets_it_be_seen(
    shapes: list[tuple[tuple[int, int, int, int], tuple[int, ...]]], expected: int
) -> None:
    assert ground(on_nothing(*shapes)) == expected


def test_thin_white_lines_of_a_large_picture_are_seen() -> None:
    picture = Image.new("RGBA", (3000, 2000), (255, 255, 255, 0))
    draw = ImageDraw.Draw(picture)
    for number in range(1, 20):
        draw.line((0, 100 * number, 3000, 100 * number + 60), fill=WHITE, width=4)
    assert ground(picture) == 0


@pytest.mark.parametrize("mode", ["LA", "P", "RGBA", "La", "RGBa", "PA"])
def test_every_kind_of_transparency_is_seen(mode: str) -> None:
    picture = on_nothing((BOX, WHITE))
    if mode == "P":
        converted: Image.Image = picture.quantize(4)
    elif mode in ("LA", "La", "PA"):
        converted = picture.convert("LA")
        converted = converted if mode == "LA" else converted.convert(mode)
    else:
        converted = picture.convert(mode)
    rgb = to_rgb(converted)
    assert rgb.mode == "RGB"
    assert rgb.getpixel((0, 0)) == (0, 0, 0)
    assert rgb.getpixel((60, 60)) == (255, 255, 255)


def test_opaque_pictures_with_an_opacity_channel_are_as_without() -> None:
    picture = photograph(5, 64, 64)
    assert np.array_equal(np.asarray(to_rgb(picture.convert("RGBA"))), np.asarray(picture))


# the same for a picture that somebody passes as for its file


def test_a_picture_is_encoded_alike_from_its_file_and_as_it_was_opened() -> None:
    encoder = GridEncoder()
    assert P3
    files = [
        encoded(on_nothing((BOX, WHITE)), "PNG"),
        encoded(scene(), "PNG", icc_profile=P3),
        encoded(photograph(1, 64, 64).convert("CMYK"), "TIFF"),
        tiff(">", 16, 0, halves(65_535, 1_000, ">", "H")),
        encoded(photograph(1, 64, 64).convert("L").convert("I;16"), "PNG"),
        encoded(photograph(2, 64, 64).quantize(32), "GIF"),
    ]
    for data in files:
        pixels = decode(data, encoder.preparation).pixels
        opened = Image.open(io.BytesIO(data))
        assert np.array_equal(encoder.preparation.prepare(opened), pixels)
        opened = Image.open(io.BytesIO(data))
        assert np.array_equal(encoder.encode_images([opened]), encoder.encode_prepared(pixels[None]))
