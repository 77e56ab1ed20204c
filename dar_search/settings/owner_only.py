"""Files and folders for their owner alone: what people said or showed is in them.

What is there already keeps the mode that its owner gave it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

_FILE, _FOLDER = 0o600, 0o700


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, where they are not there. Raises OSError."""
    if not path.is_dir():
        if path.parent != path:
            make_folder(path.parent)
        path.mkdir(_FOLDER, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """For `open`: a file that it makes is for its owner alone."""
    return os.open(path, flags, _FILE)


def open_new(path: Path, mode: str = "w", **options: Any) -> IO[Any]:
    """Opens a file to write, as `open` does. Raises OSError."""
    return open(path, mode, opener=opener, **options)  # Path.open takes no opener


def write(path: Path, content: bytes | str) -> None:
    """Writes a whole file; text in UTF-8. Raises OSError."""
    with open_new(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
