"""Profiles for the colour spaces that a file names without carrying one: primaries and a curve, as ICC bytes.

Pillow makes no profile but sRGB's; this is the smallest that ICC.1:2010 (version 4) allows LittleCMS to use. Primaries
and curves: ITU-T H.273 (cICP, nclx), the PNG specification (gAMA, cHRM), Adobe RGB (1998).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

Row = tuple[float, float, float]
Matrix = tuple[Row, Row, Row]
#: White, red, green, blue, each as x and y.
Chromaticities = tuple[float, float, float, float, float, float, float, float]

_D65 = (0.3127, 0.3290)
_SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# H.273, table 2. 2 (unspecified) and what is not here count as sRGB's.
_PRIMARIES: dict[int, Chromaticities] = {
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_D50: Row = (0.9642, 1.0, 0.8249)
_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_HDR_STEPS = 4096
# Diffuse white of HDR pictures (ITU-R BT.2408): brighter highlights are white too.
_WHITE_NITS = 203.0


def coded_profile(primaries: object, transfer: object) -> bytes | None:
    """For H.273's numbers, as cICP and nclx have them; None where they say sRGB, or nothing."""
    space = _PRIMARIES.get(primaries) if isinstance(primaries, int) else None
    curve = _coded_curve(transfer) if isinstance(transfer, int) else None
    if space is None and curve is None:
        return None
    return _profile(space or _SRGB, curve or _srgb_curve())


def gamma_profile(gamma: object, chromaticity: object) -> bytes | None:
    """For PNG's gAMA (such as 0.45455) and cHRM (white, red, green, blue); None where they make no sense."""
    space = _SRGB
    if isinstance(chromaticity, Sequence) and len(chromaticity) == 8:
        space = tuple(map(float, chromaticity))  # type: ignore[assignment]
    curve = _srgb_curve()
    if isinstance(gamma, float) and 0.1 <= gamma <= 5:
        # 1/2.2 is how files have always said "as screens are".
        curve = curve if abs(1 / gamma - 2.2) < 0.05 else _power_curve(1 / gamma)
    try:
        return _profile(space, curve)
    except (ZeroDivisionError, OverflowError, ValueError, struct.error):
        return None


@lru_cache(maxsize=1)
def profile_of_adobe_rgb() -> bytes:
    return _profile(_ADOBE, _power_curve(563 / 256))


def _coded_curve(transfer: int) -> bytes | None:
    match transfer:
        case 4:
            return _power_curve(2.2)
        case 5:
            return _power_curve(2.8)
        case 8:
            return _power_curve(1.0)
        case 16:
            return _table(_pq)
        case 18:
            return _table(_hlg)
    return None  # BT.709's own curve means: as screens show it


def _pq(value: float) -> float:
    """SMPTE ST 2084: 0..1 -> light, diffuse white at 1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = value ** (1 / m2)
    return float(10_000 / _WHITE_NITS * (max(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg(value: float) -> float:
    """BT.2100's HLG on a screen of 1,000 nits: 0..1 -> light, diffuse white at 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = value * value / 3 if value <= 0.5 else (math.exp((value - c) / a) + b) / 12
    return float(1_000 / _WHITE_NITS * scene**1.2)


def _power_curve(gamma: float) -> bytes:
    return b"para" + struct.pack(">IHHi", 0, 0, 0, _fixed(gamma))


def _srgb_curve() -> bytes:
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + struct.pack(">IHH5i", 0, 3, 0, *map(_fixed, numbers))


def _table(curve: Callable[[float], float]) -> bytes:
    levels = (min(65_535, round(65_535 * curve(step / (_HDR_STEPS - 1)))) for step in range(_HDR_STEPS))
    return b"curv" + struct.pack(f">II{_HDR_STEPS}H", 0, _HDR_STEPS, *levels)


@lru_cache(maxsize=16)
def _profile(space: Chromaticities, curve: bytes) -> bytes:
    colorants = _colorants(space)
    tags = [(b"wtpt", _xyz(_D50))]
    tags += [(name, _xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI", start + len(body), b"\0" * 4, 0x04300000) + b"mntrRGB XYZ "
    header = (header.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + body


def _colorants(space: Chromaticities) -> tuple[Row, Row, Row]:
    """The light of full red, green and blue (XYZ), as seen under D50."""
    white = _light(space[0], space[1])
    red, green, blue = (_light(space[n], space[n + 1]) for n in (2, 4, 6))
    amounts = _times(_inverse(_columns(red, green, blue)), white)
    cones, target = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
    adapted = []
    for light, amount in zip((red, green, blue), amounts, strict=True):
        seen = _times(_BRADFORD, tuple(amount * value for value in light))  # type: ignore[arg-type]
        scaled = tuple(value * to / of for value, to, of in zip(seen, target, cones, strict=True))
        adapted.append(_times(_inverse(_BRADFORD), scaled))  # type: ignore[arg-type]
    return adapted[0], adapted[1], adapted[2]


def _light(x: float, y: float) -> Row:
    return x / y, 1.0, (1 - x - y) / y


def _columns(a: Row, b: Row, c: Row) -> Matrix:
    return (a[0], b[0], c[0]), (a[1], b[1], c[1]), (a[2], b[2], c[2])


def _times(matrix: Matrix, vector: Row) -> Row:
    rows = [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
    return rows[0], rows[1], rows[2]


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    whole = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return (
        ((e * i - f * h) / whole, (c * h - b * i) / whole, (b * f - c * e) / whole),
        ((f * g - d * i) / whole, (a * i - c * g) / whole, (c * d - a * f) / whole),
        ((d * h - e * g) / whole, (b * g - a * h) / whole, (a * e - b * d) / whole),
    )


def _xyz(light: Row) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *map(_fixed, light))


def _fixed(value: float) -> int:
    return round(value * 65_536)
