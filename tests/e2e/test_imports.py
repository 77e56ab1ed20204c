"""Starting is light: neither the library nor the command's help loads a model library or a web framework."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "open_clip", "flask", "celery", "opensearchpy", "matplotlib")


def loaded_after(code: str) -> list[str]:
    """Which heavy modules a fresh interpreter has loaded after running `code`."""
    program = f"import json, sys\n{code}\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_import_dar_search_loads_nothing_heavy() -> None:
    assert loaded_after("import dar_search") == []


@pytest.mark.parametrize("arguments", [["--help"], ["ingest", "--help"], ["demo", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from dar_search.cli.main import run\nassert run({arguments!r}) == 0"
    assert loaded_after(code) == []


def test_the_check_itself_sees_a_heavy_module() -> None:
    assert loaded_after("import sys, types\nsys.modules['flask'] = types.ModuleType('flask')") == ["flask"]


def test_python_m_dar_search_is_the_dar_command() -> None:
    done = subprocess.run([sys.executable, "-m", "dar_search", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dar-search ")
