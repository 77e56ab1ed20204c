"""What is drawn in a terminal is the picture: each protocol's sequence is read back by a decoder written here."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dar_search.cli.shown import graphics
from dar_search.cli.shown.graphics import Canvas, Drawing, find_canvas, iterm2, kitty, sixel
from dar_search.cli.shown.pictures import contact_sheet, opened, print_pictures


def picture(width: int = 40, height: int = 37) -> Image.Image:
    """Few colours, so that quantising loses nothing; the last column is transparent."""
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[: height // 2, :, 0] = 255
    pixels[:, width // 3 :, 2] = 255
    pixels[5, 7] = (0, 255, 0, 255)
    pixels[:, -1, 3] = 0
    return Image.fromarray(pixels)


def decode_sixel(sequence: str) -> np.ndarray:
    body = re.fullmatch(r"\x1bP0;1;0q(.*)\x1b\\", sequence, re.DOTALL)[1]
    _, _, width, height = (int(n) for n in re.match(r'"(\d+);(\d+);(\d+);(\d+)', body).groups())
    canvas = np.zeros((height + 6, width, 4), np.uint8)
    palette: dict[int, tuple[int, int, int]] = {}
    x = y = colour = 0
    for command in re.finditer(
        r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)", body[body.index("#") :]
    ):
        define, red, green, blue, select, count, repeated, single, carriage_return, new_line = command.groups()
        if define is not None:
            palette[int(define)] = tuple(round(int(part) * 255 / 100) for part in (red, green, blue))
        elif select is not None:
            colour = int(select)
        elif carriage_return:
            x = 0
        elif new_line:
            x, y = 0, y + 6
        else:
            bits = ord(repeated or single) - 63
            length = int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    canvas[y + row, x : x + length] = (*palette[colour], 255)
            x += length
    return canvas[:height]


def test_sixel_paints_exactly_the_opaque_pixels_in_their_colours() -> None:
    image = picture()
    painted = decode_sixel(sixel(image, 4, 2))
    expected = np.asarray(image).copy()
    expected[expected[..., 3] == 0] = 0
    assert np.array_equal(painted, expected)


def test_sixel_of_a_photo_stays_near_its_colours() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((48, 64, 4), 255, np.uint8)
    pixels[..., :3] = rng.integers(0, 256, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
    painted = decode_sixel(sixel(Image.fromarray(pixels), 6, 2))
    assert np.abs(painted.astype(int) - pixels).mean() < 12


def test_kitty_sends_the_whole_picture_in_chunks_and_leaves_the_cursor() -> None:
    image = Image.effect_noise((160, 120), 90).convert("RGBA")
    sequence = kitty(image, 16, 6)
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sequence)
    keys = dict(pair.split("=") for pair in chunks[0][0].split(","))
    assert len(chunks) > 2
    assert {"a": "T", "f": "100", "c": "16", "r": "6", "C": "1"}.items() <= keys.items()
    assert [re.search(r"m=(\d)", head)[1] for head, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    assert all(len(payload) <= 4096 for _, payload in chunks)
    sent = Image.open(io.BytesIO(base64.b64decode("".join(payload for _, payload in chunks))))
    assert sent.tobytes() == image.tobytes()


def test_iterm2_sends_the_picture_at_the_size_of_its_cells() -> None:
    image = picture()
    size, payload = re.fullmatch(r"\x1b\]1337;File=inline=1;([^:]*):([^\x07]*)\x07", iterm2(image, 4, 2)).groups()
    assert size.startswith("width=4;height=2")
    assert Image.open(io.BytesIO(base64.b64decode(payload))).convert("RGBA").tobytes() == image.tobytes()


@pytest.mark.parametrize("protocol", ["kitty", "iterm2", "sixel"])
def test_a_drawing_reserves_its_rows_before_it_draws(protocol: str) -> None:
    console = Console(force_terminal=True, width=80, file=io.StringIO())
    console.print(Drawing(picture(40, 60), Canvas(protocol, (10, 20))), end="")
    written = console.file.getvalue()
    assert written.startswith("\n\n\n\x1b[3A\x1b7")
    assert written.endswith("\x1b8\x1b[3B\r")


def test_half_blocks_show_two_pixels_a_character_and_skip_transparent_ones() -> None:
    console = Console(force_terminal=True, color_system="truecolor", width=80, file=io.StringIO())
    pixels = np.array([[[255, 0, 0, 255], [0, 0, 0, 0]], [[0, 0, 255, 255], [0, 255, 0, 255]]], np.uint8)
    console.print(Drawing(Image.fromarray(pixels), Canvas("blocks")), end="")
    assert "38;2;255;0;0;48;2;0;0;255m▀" in console.file.getvalue()
    assert "38;2;0;255;0m▄" in console.file.getvalue()


def terminal(**options: object) -> Console:
    return Console(**{"force_terminal": True, "color_system": "truecolor", "file": io.StringIO()} | options)


@pytest.mark.parametrize(
    ("answer", "environment", "expected"),
    [
        ("\x1b_Gi=31;OK\x1b\\\x1b[6;32;16t\x1b[?62;c", {}, Canvas("kitty", (16, 32))),
        ("\x1b[6;18;9t\x1b[?65;4;6c", {}, Canvas("sixel", (9, 18))),
        ("\x1b[?64;1;2c", {}, Canvas("blocks")),
        ("\x1b[?64;1;2c", {"TERM_PROGRAM": "iTerm.app"}, Canvas("iterm2", (10, 20))),
        ("\x1b[?64;1;2c", {"TERM_PROGRAM": "iTerm.app", "TMUX": "x"}, Canvas("blocks")),
        ("", {}, Canvas("blocks")),
        ("\x1b[?4c", {}, Canvas("blocks")),
    ],
)
def test_the_way_to_draw_follows_from_what_the_terminal_answers(
    monkeypatch: pytest.MonkeyPatch, answer: str, environment: dict[str, str], expected: Canvas
) -> None:
    monkeypatch.setattr(graphics, "_ask_terminal", lambda **_: answer)
    assert find_canvas(terminal(), environment={"TERM": "xterm-256color", **environment}) == expected


def test_nothing_is_drawn_without_a_terminal_or_without_colour() -> None:
    assert find_canvas(Console(file=io.StringIO()), environment={}).protocol == "none"
    assert find_canvas(terminal(color_system=None), environment={"TERM": "linux"}).protocol == "none"
    assert find_canvas(terminal(), "none").protocol == "none"


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_sheet_keeps_each_pictures_shape_and_leaves_missing_ones_empty() -> None:
    sheet = np.asarray(contact_sheet([opened(png("red")), None, opened(png("blue"))], Canvas("blocks"), 8, 4, gap=2))
    assert sheet.shape == (8, 28, 4)
    assert tuple(sheet[-1, 0]) == (255, 0, 0, 255)
    assert tuple(sheet[0, 0]) == (0, 0, 0, 0)
    assert (sheet[:, 8:20, 3] == 0).all()
    assert tuple(sheet[-1, 27]) == (0, 0, 255, 255)


def test_pictures_that_do_not_decode_leave_their_text() -> None:
    console = terminal(width=60)
    print_pictures(console, Canvas("blocks"), [b"no picture", None], [["1 0.5"], ["2 \x1b[31mred"]])
    written = console.file.getvalue()
    assert "1 0.5" in written
    assert "\x1b[31m" not in written
