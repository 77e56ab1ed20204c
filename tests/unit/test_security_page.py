"""SECURITY.md names tests for what it says, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`((?:test_|Test)\w+)`", TEXT)
    assert len(named) >= 4
    assert [name for name in named if not re.search(rf"\b(?:def|class) {name}\b", sources)] == []


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:tests/[a-z]+/)?test_[\w*]+\.py)`", TEXT)
    assert len(named) >= 10
    assert [name for name in named if not list((ROOT / "tests").rglob(name.rsplit("/", 1)[-1]))] == []
