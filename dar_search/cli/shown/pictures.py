"""Rows of small pictures with a line or two of text under each, in the terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageOps, UnidentifiedImageError
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from dar_search.cli.shown.graphics import Canvas, Drawing
from dar_search.cli.shown.output import plain

TILE = (18, 8)
_GAP = 2
# A thumbnail is small; what is far larger was not made by us.
_MOST_PIXELS = 4_000_000


def print_pictures(
    console: Console, canvas: Canvas, pictures: Sequence[bytes | None], labels: Sequence[Sequence[str]]
) -> None:
    """Pictures (encoded; None: no picture) side by side, as many as fit a row, each over its lines of text."""
    if canvas.protocol == "none":
        return
    columns, rows = TILE
    fitting = max(1, (console.width + _GAP) // (columns + _GAP))
    for start in range(0, len(pictures), fitting):
        tiles = [opened(picture) for picture in pictures[start : start + fitting]]
        if any(tiles):
            console.print(Drawing(contact_sheet(tiles, canvas, columns, rows), canvas), end="")
        for line in zip(*labels[start : start + fitting], strict=True):
            console.print(Text((" " * _GAP).join(_fitted(text, columns) for text in line)), overflow="crop")
        console.print()


def contact_sheet(
    tiles: Sequence[Image.Image | None], canvas: Canvas, columns: int, rows: int, gap: int = _GAP
) -> Image.Image:
    """The tiles in one row, each as large as fits into columns x rows cells, on a transparent ground (RGBA)."""
    cell_width, cell_height = canvas.cell
    sheet = Image.new("RGBA", ((len(tiles) * (columns + gap) - gap) * cell_width, rows * cell_height))
    for number, tile in enumerate(tiles):
        if tile is None:
            continue
        # A half-block pixel is as wide as it is high only where a cell is twice as high as wide: near enough.
        fitted = ImageOps.contain(tile.convert("RGBA"), (columns * cell_width, rows * cell_height))
        sheet.paste(fitted, (number * (columns + gap) * cell_width, rows * cell_height - fitted.height))
    return sheet


def opened(picture: bytes | None) -> Image.Image | None:
    """A thumbnail's pixels; None where there is none or it does not decode."""
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture), formats=("WEBP", "PNG", "JPEG")) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            return image.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None


def _fitted(text: str, width: int) -> str:
    clean = plain(text)
    return set_cell_size(clean if cell_len(clean) <= width else clean[: width - 1] + "…", width)
