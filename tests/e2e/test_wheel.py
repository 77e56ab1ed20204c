"""The installed wheel does what the checkout does: built, put into an empty environment, run far from the sources."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def uv() -> Path:
    found = Path(sys.executable).with_name("uv")
    assert found.exists(), "`make install` puts uv into the environment that runs the tests"
    return found


@pytest.fixture(scope="module")
def installed(uv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that holds the wheel, its `models` extra, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT, cwd=folder)
    (wheel,) = (folder / "dist").glob("dar_search-*.whl")
    # The versions that the checkout's environment holds: those are what the other tests have tried.
    frozen = run(uv, "pip", "freeze", "--python", sys.executable, "--exclude-editable", cwd=folder)
    (folder / "constraints.txt").write_text(frozen)
    run(uv, "venv", "--quiet", "--python", sys.executable, folder / "env", cwd=folder)
    python = folder / "env/bin/python"
    run(
        *(uv, "pip", "install", "--quiet", "--python", python),
        *("--constraints", folder / "constraints.txt", f"{wheel}[models]"),
        cwd=folder,
    )
    return folder / "env"


def clean_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_", "PYTHON"))}
    kept.pop("VIRTUAL_ENV", None)
    return kept | {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "CI": "true"}


def test_the_demo_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    env = clean_environment(tmp_path)
    where = run(installed / "bin/python", "-c", "import dar_search; print(dar_search.__file__)", cwd=tmp_path, env=env)
    assert where.startswith(str(installed))
    printed = run(installed / "bin/dar", "demo", "--size", "300", "--json", cwd=tmp_path, env=env)
    answer = json.loads(printed)
    assert [row["round"] for row in answer["rounds"]] == list(range(11))


def test_the_wheel_holds_what_the_package_reads_at_run_time(installed: Path) -> None:
    (package,) = installed.glob("lib/python3*/site-packages/dar_search")
    assert (package / "py.typed").exists()
    assert list((package / "demo/bundle").rglob("*.safetensors"))
    assert not [path for path in package.rglob("*") if path.suffix in {".pt", ".bin", ".pkl", ".ckpt"}]


def test_the_first_ingest_without_a_network_ends_with_the_one_line_way_on(installed: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    env = clean_environment(tmp_path) | {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path / "hub")}
    command = [installed / "bin/dar", "ingest", ".", "--index", "photos"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "cannot be reached" in line
    assert "dar models fetch" in line
    assert "--encoder demo" in line
