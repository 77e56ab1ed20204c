"""README.md's snippets run, one after the other, as a reader would run them."""

from pathlib import Path

import pytest

from dar_search.demo.picture_files import draw_gallery
from tests.programs import found, needed
from tests.snippets import reader_environment, run_snippet, snippets

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    drawn = draw_gallery(folder / "photos", 60)
    assert drawn.drawn == 60
    return folder


def test_every_snippet_runs_or_says_why_it_is_not_run(folder: Path) -> None:
    running = [snippet for snippet in snippets(README) if snippet.runs and snippet.language != "text"]
    assert len(running) >= 8
    env = reader_environment(folder)
    without_curl = [snippet for snippet in running if "curl" not in snippet.text]
    for snippet in running if found("curl") else without_curl:
        if snippet.language == "toml":
            (folder / "run.toml").write_text(snippet.text, "utf-8")
        else:
            run_snippet(snippet.language, snippet.text, folder, env)
    needed("curl")


def test_readme_names_every_command() -> None:
    from dar_search.cli.commands import BUILT_IN

    text = README.read_text("utf-8")
    assert [name for name in BUILT_IN if f"dar {name}" not in text] == []
