"""Settings and skies of the demo world, painted behind the things. Lengths are fractions of the picture's side."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
_SKY: Mapping[str, tuple[Colour, Colour, Colour]] = {
    "sunny": ((70, 155, 235), (120, 190, 245), (205, 233, 250)),
    "cloudy": ((146, 162, 182), (176, 188, 202), (212, 218, 224)),
    "rainy": ((66, 76, 96), (96, 107, 126), (134, 144, 158)),
    "night": ((10, 13, 42), (24, 29, 72), (54, 60, 112)),
    "sunset": ((92, 66, 140), (222, 108, 112), (253, 184, 108)),
}
_LIGHT: Mapping[str, tuple[float, float, float]] = {
    "sunny": (1.0, 1.0, 1.0),
    "cloudy": (0.85, 0.88, 0.92),
    "rainy": (0.62, 0.67, 0.74),
    "night": (0.4, 0.45, 0.6),
    "sunset": (1.0, 0.76, 0.66),
}
_GROUND: Mapping[str, tuple[Colour, Colour]] = {
    "meadow": ((128, 200, 84), (84, 164, 60)),
    "beach": ((247, 226, 166), (226, 194, 128)),
    "desert": ((233, 172, 96), (200, 130, 66)),
    "snow": ((244, 248, 253), (212, 226, 242)),
    "city": ((122, 124, 132), (88, 90, 98)),
    "forest": ((92, 112, 54), (62, 80, 40)),
    "sea": ((40, 128, 190), (16, 84, 142)),
    "farm": ((226, 190, 74), (196, 156, 52)),
}


class Backdrop:
    """A canvas of side x side pixels, with the horizon, the light and drawing in fractions of the side."""

    def __init__(self, side: int, setting: str, sky: str, rng: random.Random) -> None:
        self.side, self.sky, self.rng = side, sky, rng
        self.horizon = rng.uniform(0.5, 0.57)
        self.image = Image.new("RGB", (side, side))
        self._gradient(0.0, self.horizon + 0.01, _SKY[sky])
        self.draw = ImageDraw.Draw(self.image)
        _SKY_PAINTERS[sky](self)
        ground = [self.lit(colour) for colour in _GROUND[setting]]
        self._gradient(self.horizon, 1.0, ground)
        self.draw = ImageDraw.Draw(self.image)
        _SETTING_PAINTERS[setting](self)

    def lit(self, colour: Colour, spread: int = 6) -> Colour:
        """The colour under this sky's light, a little varied."""
        shift = self.rng.uniform(-spread, spread)
        red, green, blue = (
            max(0, min(255, int(value * light + shift))) for value, light in zip(colour, _LIGHT[self.sky], strict=True)
        )
        return red, green, blue

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        s = self.side
        self.draw.ellipse((int((x - rx) * s), int((y - ry) * s), int((x + rx) * s), int((y + ry) * s)), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        s = self.side
        if int(right * s) >= int(left * s) and int(bottom * s) >= int(top * s):
            self.draw.rectangle((int(left * s), int(top * s), int(right * s), int(bottom * s)), fill=colour)

    def shape(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=colour)

    def stroke(self, points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        self.draw.line(
            [(x * self.side, y * self.side) for x, y in points], fill=colour, width=max(1, int(width * self.side))
        )

    def _gradient(self, top: float, bottom: float, colours: tuple[Colour, ...] | list[Colour]) -> None:
        first, last = int(top * self.side), int(bottom * self.side)
        stops = np.linspace(0, 1, len(colours))
        column = [np.interp(np.linspace(0, 1, last - first), stops, channel) for channel in zip(*colours, strict=True)]
        strip = np.stack(column, axis=-1).round().astype(np.uint8)[:, None, :]
        self.image.paste(Image.fromarray(strip).resize((self.side, last - first), Image.Resampling.NEAREST), (0, first))


def _cloud(b: Backdrop, x: float, y: float, scale: float, colour: Colour) -> None:
    for dx, dy, radius in ((-0.09, 0.015, 0.05), (-0.03, -0.015, 0.068), (0.045, -0.005, 0.06), (0.1, 0.02, 0.042)):
        b.oval(x + dx * scale, y + dy * scale, radius * scale, radius * scale * 0.78, colour)
    b.box(x - 0.09 * scale, y + 0.012 * scale, x + 0.1 * scale, y + 0.053 * scale, colour)


def _sunny(b: Backdrop) -> None:
    x, y = b.rng.choice((0.12, 0.34, 0.66, 0.88)), b.rng.uniform(0.08, 0.13)
    for radius, colour in ((0.125, (158, 208, 240)), (0.1, (206, 224, 214)), (0.075, (255, 236, 128))):
        b.oval(x, y, radius, radius, colour)
    for _ in range(2):
        _cloud(b, b.rng.random(), b.rng.uniform(0.28, 0.42), b.rng.uniform(0.6, 0.85), (246, 250, 254))


def _cloudy(b: Backdrop) -> None:
    for i in range(7):
        grey = b.rng.randint(222, 246)
        x = (i + b.rng.uniform(0.1, 0.9)) / 7
        _cloud(b, x, b.rng.uniform(0.03, 0.36), b.rng.uniform(0.9, 1.5), (grey - 6, grey - 2, grey))


def _rainy(b: Backdrop) -> None:
    for i in range(6):
        grey = b.rng.randint(74, 106)
        x = (i + b.rng.uniform(0.0, 1.0)) / 6
        _cloud(b, x, b.rng.uniform(0.0, 0.14), b.rng.uniform(1.2, 1.8), (grey - 4, grey, grey + 10))


def _night(b: Backdrop) -> None:
    for _ in range(38):
        x, y, radius = b.rng.random(), b.rng.uniform(0, b.horizon - 0.04), b.rng.choice((0.003, 0.004, 0.006))
        b.oval(x, y, radius, radius, (236, 236, 208))
    x, y = b.rng.choice((0.1, 0.36, 0.64, 0.9)), b.rng.uniform(0.09, 0.14)
    b.oval(x, y, 0.065, 0.065, (246, 240, 206))
    b.oval(x + 0.032, y - 0.014, 0.055, 0.055, (14, 18, 50))


def _sunset(b: Backdrop) -> None:
    x, y = b.rng.uniform(0.2, 0.8), b.horizon - 0.02
    for radius, colour in ((0.19, (252, 172, 104)), (0.15, (253, 194, 110)), (0.115, (255, 226, 138))):
        b.oval(x, y, radius, radius, colour)
    for _ in range(4):
        x, y, half = b.rng.random(), b.rng.uniform(0.12, 0.36), b.rng.uniform(0.08, 0.2)
        b.oval(x, y, half, 0.012, b.rng.choice(((244, 152, 130), (202, 104, 132), (252, 188, 146))))


def _conifer(b: Backdrop, x: float, foot: float, height: float, colour: Colour) -> None:
    b.box(x - height * 0.05, foot - height * 0.2, x + height * 0.05, foot, b.lit((96, 66, 42)))
    for level in range(3):
        top, bottom = foot - height * (1 - 0.26 * level), foot - height * (0.5 - 0.19 * level)
        half = height * (0.17 + 0.075 * level)
        b.shape([(x, top), (x + half, bottom), (x - half, bottom)], colour)


def _meadow(b: Backdrop) -> None:
    h = b.horizon
    for x, rise, colour in (
        (b.rng.uniform(0, 0.35), 0.1, (142, 206, 104)),
        (b.rng.uniform(0.65, 1), 0.07, (112, 188, 82)),
    ):
        b.oval(x, h + 0.12, 0.5, 0.12 + rise, b.lit(colour))
    b.box(0, h + 0.1, 1, 1, b.lit((104, 182, 68)))
    for _ in range(26):
        x, y = b.rng.random(), b.rng.uniform(h + 0.12, 0.98)
        b.stroke([(x, y), (x, y - 0.025)], b.lit((66, 138, 48)), 0.006)
    for _ in range(16):
        x, y = b.rng.random(), b.rng.uniform(h + 0.12, 0.98)
        b.oval(x, y, 0.01, 0.01, b.lit(b.rng.choice(((255, 255, 245), (255, 226, 110), (246, 176, 208)))))


def _beach(b: Backdrop) -> None:
    h = b.horizon
    b.box(0, h, 1, h + 0.12, b.lit((34, 138, 196)))
    b.box(0, h, 1, h + 0.03, b.lit((24, 104, 168)))
    waves = b.rng.uniform(0, math.pi)
    edge = [(x / 16, h + 0.12 + 0.014 * math.sin(waves + x * 0.9)) for x in range(17)]
    b.shape([*edge, (1, h + 0.16), (0, h + 0.16)], b.lit((240, 218, 158)))
    b.stroke(edge, b.lit((250, 252, 252)), 0.014)
    side = b.rng.choice((0.06, 0.94))
    lean = 0.07 if side < 0.5 else -0.07
    foot, top = h + 0.22, h - 0.14
    b.stroke([(side, foot), (side + lean * 0.4, (foot + top) / 2), (side + lean, top)], b.lit((142, 100, 62)), 0.026)
    for dx, dy in ((-0.12, 0.03), (-0.09, -0.06), (0.0, -0.09), (0.09, -0.06), (0.12, 0.03)):
        b.stroke(
            [(side + lean, top), (side + lean + dx * 0.6, top + dy - 0.02), (side + lean + dx, top + dy + 0.03)],
            b.lit((58, 142, 72)),
            0.024,
        )


def _desert(b: Backdrop) -> None:
    h = b.horizon
    for x, rise, colour in (
        (b.rng.uniform(0, 0.3), 0.1, (224, 158, 86)),
        (b.rng.uniform(0.7, 1), 0.12, (240, 184, 110)),
    ):
        b.oval(x, h + 0.11, 0.46, 0.1 + rise, b.lit(colour))
    b.oval(b.rng.uniform(0.3, 0.7), h + 0.4, 0.8, 0.26, b.lit((214, 146, 76)))
    for x in b.rng.sample((0.08, 0.36, 0.62, 0.92), 2):
        foot, green = h + b.rng.uniform(0.05, 0.12), b.lit((66, 132, 76))
        b.stroke([(x, foot), (x, foot - 0.17)], green, 0.034)
        b.stroke([(x - 0.05, foot - 0.13), (x - 0.05, foot - 0.08), (x, foot - 0.08)], green, 0.024)
        b.stroke([(x + 0.05, foot - 0.15), (x + 0.05, foot - 0.1), (x, foot - 0.1)], green, 0.024)


def _snow(b: Backdrop) -> None:
    h = b.horizon
    for x in (b.rng.uniform(0.05, 0.25), b.rng.uniform(0.72, 0.95), b.rng.uniform(0.4, 0.6)):
        height, half = b.rng.uniform(0.16, 0.26), b.rng.uniform(0.2, 0.26)
        b.shape([(x - half, h + 0.02), (x, h - height), (x + half, h + 0.02)], b.lit((126, 146, 176)))
        cap = 0.42
        b.shape(
            [
                (x - half * cap, h - height * (1 - cap)),
                (x, h - height),
                (x + half * cap, h - height * (1 - cap)),
                (x + half * 0.12, h - height * 0.7),
                (x - half * 0.1, h - height * 0.52),
            ],
            b.lit((246, 250, 255)),
        )
    b.oval(b.rng.uniform(0.2, 0.8), h + 0.16, 0.7, 0.17, b.lit((238, 244, 251)))
    for x in b.rng.sample((0.05, 0.22, 0.5, 0.78, 0.95), 2):
        _conifer(b, x, h + 0.08, b.rng.uniform(0.15, 0.2), b.lit((52, 104, 86)))


def _city(b: Backdrop) -> None:
    h, x = b.horizon, -0.02
    lit_window, dark_window = (
        ((255, 222, 122), (70, 78, 104)) if b.sky in ("night", "rainy", "sunset") else ((206, 228, 242), (96, 108, 132))
    )
    while x < 1:
        width, height = b.rng.uniform(0.11, 0.19), b.rng.uniform(0.15, 0.36)
        b.box(
            x,
            h - height,
            x + width,
            h,
            b.lit(b.rng.choice(((150, 138, 150), (116, 126, 148), (176, 150, 132), (134, 146, 156)))),
        )
        for row in range(int((height - 0.03) / 0.055)):
            for column in range(int((width - 0.02) / 0.045)):
                left, top = x + 0.018 + 0.045 * column, h - height + 0.025 + 0.055 * row
                b.box(left, top, left + 0.022, top + 0.03, lit_window if b.rng.random() < 0.55 else b.lit(dark_window))
        x += width + b.rng.choice((0.0, 0.0, 0.02))
    b.box(0, h, 1, h + 0.045, b.lit((176, 174, 172)))
    for i in range(-1, 6):
        left = i * 0.2 + b.rng.uniform(0.02, 0.05)
        b.box(left, h + 0.24, left + 0.1, h + 0.256, b.lit((236, 232, 214)))


def _forest(b: Backdrop) -> None:
    h = b.horizon
    for row, (lift, tall, colour) in enumerate(((-0.02, 0.3, (34, 88, 66)), (0.05, 0.26, (46, 112, 66)))):
        for i in range(9):
            x = (i + 0.5 * row + b.rng.uniform(-0.2, 0.2)) / 8.5
            _conifer(b, x, h + lift + 0.02, tall * b.rng.uniform(0.75, 1.1), b.lit(colour))
    for _ in range(10):
        x, y = b.rng.random(), b.rng.uniform(h + 0.1, 0.97)
        b.oval(x, y, 0.03, 0.014, b.lit((76, 104, 44)))


def _sea(b: Backdrop) -> None:
    h = b.horizon
    for row in range(7):
        y, amplitude, start = h + 0.045 + 0.062 * row, 0.005 + 0.0016 * row, b.rng.uniform(0, 6.28)
        colour = b.lit((98, 176, 220) if row % 2 else (66, 152, 206))
        b.stroke([(x / 20, y + amplitude * math.sin(start + x * 1.1)) for x in range(21)], colour, 0.009 + 0.001 * row)
    x = b.rng.uniform(0.1, 0.9)
    b.oval(x, h + 0.006, 0.1, 0.045, b.lit((104, 140, 96)))
    b.box(0, h + 0.008, 1, h + 0.035, b.lit((36, 122, 184)))


def _farm(b: Backdrop) -> None:
    h = b.horizon
    vanish = b.rng.uniform(0.35, 0.65)
    for i in range(-9, 10, 2):
        near, far = 0.5 + i * 0.2, vanish + i * 0.045
        b.shape(
            [(far - 0.0225, h + 0.01), (far + 0.0225, h + 0.01), (near + 0.1, 1), (near - 0.1, 1)],
            b.lit((126, 158, 58)),
        )
    b.box(0, h - 0.012, 1, h + 0.022, b.lit((112, 160, 82)))
    for i in range(9):
        b.box(i / 8 - 0.008, h - 0.055, i / 8 + 0.008, h + 0.025, b.lit((238, 228, 208)))
    for y in (h - 0.04, h - 0.008):
        b.box(0, y - 0.006, 1, y + 0.006, b.lit((238, 228, 208)))


_SKY_PAINTERS: Mapping[str, Callable[[Backdrop], None]] = {
    "sunny": _sunny, "cloudy": _cloudy, "rainy": _rainy, "night": _night, "sunset": _sunset,
}  # fmt: skip
_SETTING_PAINTERS: Mapping[str, Callable[[Backdrop], None]] = {
    "meadow": _meadow, "beach": _beach, "desert": _desert, "snow": _snow,
    "city": _city, "forest": _forest, "sea": _sea, "farm": _farm,
}  # fmt: skip
