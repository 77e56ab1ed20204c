"""The layout: what the folders show, that no import runs in a circle, and that prose names files that are there."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    name: ROOT / where
    for name, where in {
        "dar_search": "dar_search",
        "dar_ingest": "ingest/dar_ingest",
        "dar_query_rewriter": "query_rewriter/dar_query_rewriter",
    }.items()
}
# The group of entry points by which other packages add commands: a name of its own.
ENTRY_POINTS = "dar_search.commands"
CODE = ("dar_search", "ingest", "query_rewriter", "opensearch", "bench", "training", "tests")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "THIRD_PARTY.md",
    "ingest/README.md",
    "query_rewriter/README.md",
    "opensearch/README.md",
    "bench/RESULTS.md",
)

# A path of a file below a folder.
_PATH = re.compile(r"(?<![\w/.:<-])(?:[a-z_]+/)+[a-z_]+\.(?:py|toml|json|md|sh)\b")
# A file of a folder that the text is about.
_FILE = re.compile(r"`([a-z_]+\.py)`")
# A module without the package's name before it: `stores.bodies`, `ingestion.failures`.
_SHORT = re.compile(
    r"`((?:method|answering|values|ingestion|stores|models|evaluation|demo|serving|client|cli)(?:\.(?!py\b)\w+)+)"
)
# A module, with or without a name in it.
_MODULE = re.compile(r"(?<![\w./])(?:dar_search|dar_ingest|dar_query_rewriter)(?:\.\w+)+")


def test_no_import_runs_in_a_circle() -> None:
    graph = grimp.build_graph(*PACKAGES)
    try:
        TopologicalSorter(
            {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
        ).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_root_of_the_library_can_be_drawn_from_memory() -> None:
    modules = [path.name for path in PACKAGES["dar_search"].glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= 10, modules


def test_no_folder_shows_more_than_about_fifteen_files() -> None:
    full = {}
    for root in PACKAGES.values():
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir() and path.name != "__pycache__")):
            modules = [path for path in folder.glob("*.py") if path.stem != "__init__"]
            if len(modules) > 16:
                full[str(folder.relative_to(ROOT))] = len(modules)
    assert full == {}


def test_the_top_of_ingestion_shows_at_most_seven_names() -> None:
    shown = [path.name for path in (ROOT / "dar_search" / "ingestion").iterdir() if not path.name.startswith("__")]
    assert len([name for name in shown if tracked(f"dar_search/ingestion/{name}")]) <= 7, shown


def test_every_path_that_prose_names_is_there() -> None:
    wrong = []
    names = {path.name for folder in CODE for path in (ROOT / folder).rglob("*.py")}
    for place, text in prose():
        for named in _PATH.findall(text):
            folders = {ROOT, *(ROOT / one for one in CODE), place.parent, place.parent.parent, *PACKAGES.values()}
            if not any((folder / named).exists() for folder in folders):
                wrong.append(f"{place.relative_to(ROOT)}: {named}")
        wrong += [f"{place.relative_to(ROOT)}: {named}" for named in _FILE.findall(text) if named not in names]
        for named in (*_MODULE.findall(text), *(f"dar_search.{short}" for short in _SHORT.findall(text))):
            if named != ENTRY_POINTS and not importable(named.split(".")):
                wrong.append(f"{place.relative_to(ROOT)}: {named}")
    assert wrong == []


def prose() -> Iterator[tuple[Path, str]]:
    """Each file with its docstrings and comments, and the pages."""
    for page in PAGES:
        yield ROOT / page, (ROOT / page).read_text("utf-8")
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text("utf-8")
            tree = ast.parse(source)
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
            tokens = tokenize.generate_tokens(io.StringIO(source).readline)
            yield path, "\n".join([*texts, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


def importable(parts: list[str]) -> bool:
    """Whether the parts lead to a module, or to a name that a module's text has."""
    place = PACKAGES[parts[0]]
    for part in parts[1:]:
        if (place / part).is_dir():
            place = place / part
        elif (place / f"{part}.py").exists():
            place = place / f"{part}.py"
        else:
            text = (place if place.is_file() else place / "__init__.py").read_text("utf-8")
            return re.search(rf"\b{part}\b", text) is not None
    return True


def tracked(path: str) -> bool:
    """Whether there is source in it: a folder that git left with nothing but caches does not count."""
    place = ROOT / path
    return place.is_file() or any(file.suffix != ".pyc" for file in place.rglob("*") if file.is_file())
