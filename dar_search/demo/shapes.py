"""The eight things of the demo world as outlines: polygons in units of the thing's radius, y pointing down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Point = tuple[float, float]
Polygon = tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Detail:
    """A mark on top of (or, if `behind`, under) the body. tone: "ink", "shade", "light" or "wood".

    A detail with a width is a line along its points, otherwise it is filled.
    """

    points: Polygon
    tone: str
    width: float = 0.0
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Body polygons, whose union takes the thing's colour and texture, and details."""

    body: tuple[Polygon, ...]
    details: tuple[Detail, ...] = ()


def ellipse(cx: float, cy: float, rx: float, ry: float, *, start: float = 0.0, stop: float = 360.0) -> Polygon:
    """Points on an ellipse from one angle to another, in degrees, clockwise from the right."""
    steps = 28
    angles = (math.radians(start + (stop - start) * i / steps) for i in range(steps + 1))
    return tuple((cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles)


def _star() -> Polygon:
    corners = []
    for i in range(10):
        radius, angle = (1.1, 0.5)[i % 2], math.radians(-90 + 36 * i)
        corners.append((radius * math.cos(angle), 0.08 + radius * math.sin(angle)))
    return tuple(corners)


def _heart() -> Polygon:
    curve = []
    for i in range(32):
        a = 2 * math.pi * i / 32
        height = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
        curve.append((1.02 * math.sin(a) ** 3, -0.062 * height))
    return tuple(curve)


def _umbrella() -> Shape:
    dome = list(ellipse(0, 0.15, 1.1, 1.05, start=180, stop=360))
    for centre in (0.733, 0.0, -0.733):
        dome += ellipse(centre, 0.15, 0.366, 0.2, start=0, stop=-180)
    hook = ((0.0, 0.1), (0.0, 0.85), (0.06, 0.98), (0.2, 1.02), (0.32, 0.94), (0.34, 0.82))
    return Shape(
        (tuple(dome),),
        (
            Detail(hook, "wood", 0.13, behind=True),
            Detail(((0, -0.9), (-0.36, 0.0)), "shade", 0.07),
            Detail(((0, -0.9), (0.36, 0.0)), "shade", 0.07),
        ),
    )


def _balloon() -> Shape:
    string = ((0.0, 0.8), (0.07, 0.95), (-0.05, 1.1), (0.04, 1.28))
    knot = ((-0.14, 0.86), (0.14, 0.86), (0.0, 0.62))
    return Shape(
        (ellipse(0, -0.22, 0.8, 0.92), knot),
        (Detail(string, "ink", 0.07, behind=True), Detail(ellipse(-0.3, -0.6, 0.13, 0.22), "light")),
    )


def _fish() -> Shape:
    tail = ((0.5, 0.0), (1.15, -0.55), (1.0, 0.0), (1.15, 0.55))
    fin = ((-0.2, -0.45), (0.1, -0.85), (0.3, -0.35))
    return Shape(
        (ellipse(-0.2, 0, 0.9, 0.6), tail, fin),
        (Detail(ellipse(-0.68, -0.14, 0.17, 0.17), "light"), Detail(ellipse(-0.7, -0.14, 0.085, 0.085), "ink")),
    )


def _house() -> Shape:
    roof = ((-1.05, -0.1), (0.0, -1.0), (1.05, -0.1))
    return Shape(
        (((-0.78, -0.15), (0.78, -0.15), (0.78, 0.9), (-0.78, 0.9)), roof),
        (
            Detail(roof, "shade"),
            Detail(((-0.5, 0.9), (-0.5, 0.25), (-0.1, 0.25), (-0.1, 0.9)), "wood"),
            Detail(((0.15, 0.15), (0.58, 0.15), (0.58, 0.55), (0.15, 0.55)), "light"),
        ),
    )


def _kite() -> Shape:
    tail = ((0.0, 0.65), (0.16, 0.85), (-0.06, 1.02), (0.14, 1.3))
    return Shape(
        (((0, -1.1), (0.8, -0.25), (0, 0.75), (-0.8, -0.25)),),
        (
            Detail(tail, "ink", 0.09, behind=True),
            Detail(((0, -1.0), (0, 0.65)), "shade", 0.07),
            Detail(((-0.7, -0.25), (0.7, -0.25)), "shade", 0.07),
        ),
    )


def _butterfly() -> Shape:
    wings = (
        ellipse(-0.56, -0.35, 0.52, 0.55),
        ellipse(0.56, -0.35, 0.52, 0.55),
        ellipse(-0.45, 0.48, 0.4, 0.42),
        ellipse(0.45, 0.48, 0.4, 0.42),
    )
    return Shape(
        wings,
        (
            Detail(((0, -0.5), (-0.28, -1.02)), "ink", 0.07, behind=True),
            Detail(((0, -0.5), (0.28, -1.02)), "ink", 0.07, behind=True),
            Detail(ellipse(0, 0.05, 0.12, 0.72), "ink"),
        ),
    )


_BUILDERS: Mapping[str, Callable[[], Shape]] = {
    "balloon": _balloon,
    "star": lambda: Shape((_star(),)),
    "heart": lambda: Shape((_heart(),), (Detail(ellipse(-0.45, -0.42, 0.13, 0.17), "light"),)),
    "umbrella": _umbrella,
    "fish": _fish,
    "house": _house,
    "kite": _kite,
    "butterfly": _butterfly,
}
SHAPES: Mapping[str, Shape] = {name: build() for name, build in _BUILDERS.items()}
