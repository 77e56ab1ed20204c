"""A scene as a picture: the backdrop, then the things, then the rain."""

# ruff: noqa: S311  (drawing and telling, not cryptography)
from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import lru_cache

from PIL import Image, ImageDraw

from dar_search.demo.backdrops import Backdrop, Colour
from dar_search.demo.shapes import SHAPES, Detail, Polygon
from dar_search.demo.world import PLACES, Scene, Thing

STORED_SIDE = 192
"""The side of the demo's pictures, pixels."""
_OVERSAMPLING = 2
_RADIUS: Mapping[str, float] = {"small": 0.092, "large": 0.15}
_PAINT: Mapping[str, Colour] = {
    "red": (222, 40, 44),
    "orange": (246, 138, 24),
    "yellow": (252, 218, 40),
    "green": (38, 158, 62),
    "blue": (44, 92, 226),
    "purple": (134, 58, 184),
    "pink": (250, 138, 194),
    "white": (248, 248, 246),
}
_PALE = ("orange", "yellow", "pink", "white")
_WOOD: Colour = (112, 72, 44)
_LIGHT: Colour = (252, 250, 240)
_OUTLINE = 0.011


def render(scene: Scene, seed: int | str, side: int = STORED_SIDE) -> Image.Image:
    """The scene as an RGB picture of side x side pixels. The same scene, seed and side give the same pixels."""
    rng = random.Random(f"render:{seed}")
    canvas = side * _OVERSAMPLING
    image = Backdrop(canvas, scene.setting, scene.sky, rng).image
    for thing in sorted(
        scene.things, key=lambda thing: thing.place
    ):  # lower ones first, under the strings of upper ones
        _paint_thing(image, thing, rng)
    if scene.sky == "rainy":
        _paint_rain(image, rng)
    return image.reduce(_OVERSAMPLING)


def _paint_thing(image: Image.Image, thing: Thing, rng: random.Random) -> None:
    side = image.width
    row, column = divmod(PLACES.index(thing.place), 3)
    radius = _RADIUS[thing.size] * rng.uniform(0.94, 1.05) * side
    x = ((0.185, 0.5, 0.815)[column] + rng.uniform(-0.015, 0.015)) * side
    y = ((0.26, 0.75)[row] + rng.uniform(-0.035, 0.035)) * side
    angle, mirror = rng.uniform(-0.16, 0.16), rng.choice((-1, 1))
    cos, sin = math.cos(angle), math.sin(angle)
    half = int(radius * 1.5)
    left, top = int(x) - half, int(y) - half

    def placed(points: Polygon) -> list[tuple[float, float]]:
        return [
            (half + radius * (px * mirror * cos - py * sin), half + radius * (px * mirror * sin + py * cos))
            for px, py in points
        ]

    jitter = rng.uniform(-9, 9)
    paint = _shifted(_PAINT[thing.colour], 1.0, jitter)
    ink = _shifted(paint, 0.36, 0) if thing.colour != "white" else (88, 94, 120)
    tones = {"ink": ink, "shade": _shifted(paint, 0.72, 0), "light": _LIGHT, "wood": _WOOD}
    shape = SHAPES[thing.type]
    if row == 1:
        _paint_shadow(image, x, y + radius * 1.12, radius)

    outline_width = max(2, round(_OUTLINE * side))
    body = Image.new("L", (2 * half, 2 * half))
    outline = Image.new("L", (2 * half, 2 * half))
    body_draw, outline_draw = ImageDraw.Draw(body), ImageDraw.Draw(outline)
    for polygon in shape.body:
        points = placed(polygon)
        body_draw.polygon(points, fill=255)
        outline_draw.polygon(points, fill=255)
        outline_draw.line([*points, *points[:2]], fill=255, width=2 * outline_width, joint="curve")

    patch = image.crop((left, top, left + 2 * half, top + 2 * half))
    draw = ImageDraw.Draw(patch)
    for detail in shape.details:
        if detail.behind:
            _paint_detail(draw, detail, placed(detail.points), tones, radius)
    patch.paste(ink, mask=outline)
    surface = Image.new("RGB", patch.size, paint)
    if thing.texture != "plain":
        second = _shifted(paint, 0.52, 0) if thing.colour in _PALE else _shifted(paint, 0.28, 255 * 0.7)
        surface.paste(second, mask=_pattern(thing.texture, side, 2 * half))
    patch.paste(surface, mask=body)
    for detail in shape.details:
        if not detail.behind:
            _paint_detail(draw, detail, placed(detail.points), tones, radius)
    image.paste(patch, (left, top))


def _paint_detail(
    draw: ImageDraw.ImageDraw,
    detail: Detail,
    points: list[tuple[float, float]],
    tones: Mapping[str, Colour],
    radius: float,
) -> None:
    if detail.width:
        draw.line(points, fill=tones[detail.tone], width=max(2, round(detail.width * radius)), joint="curve")
    else:
        draw.polygon(points, fill=tones[detail.tone])


def _paint_shadow(image: Image.Image, x: float, y: float, radius: float) -> None:
    mask = Image.new("L", (int(radius * 1.8), max(4, int(radius * 0.36))))
    ImageDraw.Draw(mask).ellipse((0, 0, mask.width - 1, mask.height - 1), fill=80)
    image.paste((20, 24, 40), (int(x - mask.width / 2), int(y - mask.height / 2)), mask)


def _paint_rain(image: Image.Image, rng: random.Random) -> None:
    draw, side = ImageDraw.Draw(image), image.width
    for _ in range(60):
        x, y = rng.random() * side, rng.random() * side
        draw.line((x, y, x - 0.014 * side, y + 0.05 * side), fill=(188, 204, 226), width=max(1, side // 190))


@lru_cache(maxsize=16)
def _tile(texture: str, side: int) -> Image.Image:
    """The texture over the largest patch that there is at this side, as a mask."""
    extent = int(1.5 * _RADIUS["large"] * 1.05 * side) * 2 + 2
    tile = Image.new("L", (extent, extent))
    draw = ImageDraw.Draw(tile)
    if texture == "striped":
        pitch = 0.06 * side
        for i in range(-int(extent / pitch) - 1, int(extent / pitch) + 2):
            draw.line((i * pitch, 0, i * pitch + extent, extent), fill=255, width=round(0.38 * pitch))
    else:
        pitch, radius = 0.062 * side, 0.0165 * side
        rows = int(extent / (pitch * 0.86)) + 2
        for row in range(rows):
            for column in range(int(extent / pitch) + 2):
                x, y = (column + 0.5 * (row % 2)) * pitch, row * pitch * 0.86
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return tile


def _pattern(texture: str, side: int, extent: int) -> Image.Image:
    tile = _tile(texture, side)
    offset = (tile.width - extent) // 2
    return tile.crop((offset, offset, offset + extent, offset + extent))


def _shifted(colour: Colour, factor: float, shift: float) -> Colour:
    red, green, blue = (max(0, min(255, int(value * factor + shift))) for value in colour)
    return red, green, blue
