"""The snippets of a page, run as its reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SNIPPET = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = {"sh": ["bash", "-e", "-c"], "python": [sys.executable, "-c"]}


@dataclass(frozen=True)
class Snippet:
    """Attributes: runs (whether it is run; where not, the page says why)."""

    language: str
    text: str
    runs: bool


def snippets(page: Path) -> list[Snippet]:
    return [Snippet(language, text, not marked) for marked, language, text in _SNIPPET.findall(page.read_text("utf-8"))]


def reader_environment(folder: Path) -> dict[str, str]:
    """What a reader has in a folder: `dar` on the path, no settings, nothing stored. In place of the encoder that a
    reader's machine would fetch, the demo's; and no model stays behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
    return kept | {
        "DAR_ENCODER": "demo",
        "DAR_MODEL_PROCESS__WARM_MINUTES": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


def run_snippet(language: str, text: str, folder: Path, env: Mapping[str, str]) -> None:
    """Runs it in a folder: it must succeed, and print something."""
    done = subprocess.run([*_PROGRAM[language], text], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.stdout.strip(), f"{text}\nprinted nothing"
