"""README.md's snippets run, one after the other, as a reader would run them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dar_search.demo.picture_files import draw_gallery

README = Path(__file__).resolve().parents[2] / "README.md"
SNIPPET = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(sh|python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    language: str
    text: str
    runs: bool


def snippets() -> Iterator[Snippet]:
    for marked, language, text in SNIPPET.findall(README.read_text("utf-8")):
        yield Snippet(language, text, not marked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    drawn = draw_gallery(folder / "photos", 60)
    assert drawn.drawn == 60
    return folder


def test_every_snippet_runs_or_says_why_it_is_not_run(folder: Path) -> None:
    found = list(snippets())
    assert sum(snippet.runs for snippet in found) >= 8
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
    env = kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    for snippet in found:
        if not snippet.runs:
            continue
        if snippet.language == "toml":
            (folder / "run.toml").write_text(snippet.text, "utf-8")
            continue
        command = {"sh": ["bash", "-e", "-c"], "python": [sys.executable, "-c"]}[snippet.language]
        done = subprocess.run([*command, snippet.text], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{snippet.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), f"{snippet.text}\nprinted nothing"


def test_readme_names_every_command() -> None:
    from dar_search.cli.commands import BUILT_IN

    text = README.read_text("utf-8")
    assert [name for name in BUILT_IN if f"dar {name}" not in text] == []
