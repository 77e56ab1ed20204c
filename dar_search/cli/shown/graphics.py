"""Drawing a picture in a terminal: which way it understands, and the escape sequences of each.

kitty's graphics protocol, iTerm2's inline images and sixel draw real pictures; half-block characters in two colours
a cell work wherever there is colour.
"""

from __future__ import annotations

import base64
import io
import os
import re
import select
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import ControlType, Segment
from rich.style import Style

Protocol = Literal["kitty", "iterm2", "sixel", "blocks", "none"]
PROTOCOLS: tuple[Protocol, ...] = ("kitty", "iterm2", "sixel", "blocks", "none")
_USUAL_CELL = (10, 20)
_KITTY_CHUNK = 4096
_SIXEL_COLOURS = 255
_ANSWER_SECONDS = 0.3
# Marks text that takes no cells, so that Rich neither counts nor cuts it.
_UNMEASURED = ((ControlType.CURSOR_FORWARD, 0),)
_KITTY_QUESTION = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_CELL_QUESTION, _ATTRIBUTES_QUESTION = "\x1b[16t", "\x1b[c"


@dataclass(frozen=True, slots=True)
class Canvas:
    """How to draw. cell: width and height of a character in pixels (of half-blocks: 1 and 2)."""

    protocol: Protocol
    cell: tuple[int, int] = (1, 2)


def find_canvas(console: Console, wanted: str = "auto", environment: Mapping[str, str] = os.environ) -> Canvas:
    """What the console's terminal can draw; `wanted` names a protocol to use without asking."""
    if wanted == "none" or (wanted == "auto" and not console.is_terminal):
        return Canvas("none")
    blocks = Canvas("blocks" if console.color_system else "none")
    if wanted == "blocks":
        return Canvas("blocks")
    if wanted == "auto" and (console.is_dumb_terminal or environment.get("TERM") == "linux"):
        return blocks
    inside_another = "TMUX" in environment or environment.get("TERM", "").startswith("screen")
    answer = _ask_terminal(with_kitty=not inside_another)
    cell = _cell_size(answer)
    if wanted != "auto":
        return Canvas(wanted, cell)  # type: ignore[arg-type]  # the command line allows no other
    if "\x1b_Gi=31;OK" in answer:
        return Canvas("kitty", cell)
    if not inside_another and _is_iterm2(environment):
        return Canvas("iterm2", cell)
    attributes = re.search(r"\x1b\[\?([\d;]*)c", answer)
    if attributes and "4" in attributes[1].split(";")[1:]:
        return Canvas("sixel", cell)
    return blocks


def _is_iterm2(environment: Mapping[str, str]) -> bool:
    return environment.get("TERM_PROGRAM") in ("iTerm.app", "mintty") or environment.get("LC_TERMINAL") == "iTerm2"


def _cell_size(answer: str) -> tuple[int, int]:
    match = re.search(r"\x1b\[6;(\d{1,3});(\d{1,3})t", answer)
    return (max(1, int(match[2])), max(1, int(match[1]))) if match else _USUAL_CELL


def _ask_terminal(*, with_kitty: bool) -> str:
    """The terminal's answers; every terminal answers the last question, so this rarely waits. "" where none can."""
    try:
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return ""
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):
        return ""
    answer = b""
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)
        question = (_KITTY_QUESTION if with_kitty else "") + _CELL_QUESTION + _ATTRIBUTES_QUESTION
        sys.stdout.write(question)
        sys.stdout.flush()
        until = time.monotonic() + _ANSWER_SECONDS
        while not re.search(rb"\x1b\[\?[\d;]*c", answer):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                break
            answer += os.read(descriptor, 256)
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
    return answer.decode("latin-1")


class Drawing:
    """A picture of `columns` x `rows` cells, for Rich. `image`: RGBA, of exactly that many cells in pixels."""

    def __init__(self, image: Image.Image, canvas: Canvas) -> None:
        self.image = image.convert("RGBA")
        self.canvas = canvas
        self.columns, self.rows = image.width // canvas.cell[0], image.height // canvas.cell[1]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.canvas.protocol == "none":
            return
        if self.canvas.protocol == "blocks":
            yield from half_blocks(self.image)
            return
        # Room first, so that nothing scrolls while the picture is drawn; then draw, and go on below.
        sequence = {"kitty": kitty, "iterm2": iterm2, "sixel": sixel}[self.canvas.protocol](
            self.image, self.columns, self.rows
        )
        yield Segment("\n" * self.rows)
        yield Segment(f"\x1b[{self.rows}A\x1b7{sequence}\x1b8\x1b[{self.rows}B\r", None, _UNMEASURED)


def half_blocks(image: Image.Image) -> Iterator[Segment]:
    """Two pixels a character, one above the other; transparent ones stay the terminal's background."""
    pixels = np.asarray(image)
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            above_colour, below_colour = _colour(above), _colour(below)
            if above_colour is None and below_colour is None:
                yield Segment(" ")
            elif above_colour is None:
                yield Segment("▄", Style(color=below_colour))
            else:
                yield Segment("▀", Style(color=above_colour, bgcolor=below_colour))
        yield Segment("\n")


def _colour(pixel: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> str | None:
    red, green, blue, alpha = (int(value) for value in pixel)
    return f"#{red:02x}{green:02x}{blue:02x}" if alpha >= 128 else None


def kitty(image: Image.Image, columns: int, rows: int) -> str:
    """kitty's graphics protocol: the picture as PNG, in chunks, put at the cursor, which stays."""
    payload = _png_base64(image)
    chunks = [payload[start : start + _KITTY_CHUNK] for start in range(0, len(payload), _KITTY_CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        keys = f"a=T,f=100,c={columns},r={rows},C=1,q=2," if number == 0 else ""
        parts.append(f"\x1b_G{keys}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts)


def iterm2(image: Image.Image, columns: int, rows: int) -> str:
    """iTerm2's inline image, as large as the cells given."""
    size = f"width={columns};height={rows};preserveAspectRatio=0"
    return f"\x1b]1337;File=inline=1;{size}:{_png_base64(image)}\x07"


def sixel(image: Image.Image, columns: int, rows: int) -> str:
    """Sixel (VT340): six rows of pixels a band, a colour at a time, run lengths; transparent pixels are not painted."""
    paletted = image.convert("RGB").quantize(_SIXEL_COLOURS)
    indices = np.asarray(paletted).astype(np.int16)
    indices[np.asarray(image.convert("RGBA"))[:, :, 3] < 128] = -1
    indices = np.pad(indices, ((0, -len(indices) % 6), (0, 0)), constant_values=-1)
    palette = np.asarray(paletted.getpalette()).reshape(-1, 3)
    parts = [f'\x1bP0;1;0q"1;1;{image.width};{image.height}']
    parts += [
        f"#{colour};2;" + ";".join(str(round(int(value) * 100 / 255)) for value in palette[colour])
        for colour in np.unique(indices[indices >= 0])
    ]
    weights = (1 << np.arange(6))[:, None]
    for band in np.split(indices, len(indices) // 6):
        for colour in np.unique(band[band >= 0]):
            bits = ((band == colour) * weights).sum(axis=0)
            parts.append(f"#{colour}{_run_lengths(bits)}$")
        parts.append("-")
    return "".join(parts) + "\x1b\\"


def _run_lengths(bits: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    starts = np.flatnonzero(np.diff(bits, prepend=-1))
    lengths = np.diff(starts, append=len(bits))
    return "".join(
        (f"!{length}" if length > 3 else "") + chr(63 + bits[start]) * (1 if length > 3 else length)
        for start, length in zip(starts, lengths, strict=True)
    )


def _png_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
