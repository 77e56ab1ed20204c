"""The `dar` command in this process, with light models in place of the bundled ones, and everything else real."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dar_search.cli.main import run
from dar_search.models import catalogue
from tests.fakes import FakeEncoder, FakeImaginer


@dataclass(frozen=True)
class Outcome:
    """What a command did. out, err: what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one JSON object."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Dar = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user's folder, where the default store and settings are, and an environment without our variables."""
    for name in [name for name in os.environ if name.startswith(("DAR_", "OPENSEARCH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAR_ENCODER", "demo")  # what is there without a network (test_cli_encoder names none)
    monkeypatch.setenv("DAR_MODEL_PROCESS__WARM_MINUTES", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DAR_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dar(home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Dar:
    """Runs `dar ...`; `typed` is its standard input."""

    def call(*arguments: str | Path, typed: str = "") -> Outcome:
        stdin = io.TextIOWrapper(io.BytesIO(typed.encode()), "utf-8")
        monkeypatch.setattr("sys.stdin", stdin)
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return call


@pytest.fixture
def light_models(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """The names "demo" mean light models; other names go to the real catalogue."""
    light = FakeEncoder(dimension=24)
    real_encoder, real_imaginer = catalogue.encoder, catalogue.imaginer

    def encoder(name: str, **options: Any) -> Any:
        return light if name == "demo" else real_encoder(name, **options)

    def imaginer(name: str, model: Any, **options: Any) -> Any:
        return FakeImaginer(model) if name == "demo" else real_imaginer(name, model, **options)

    monkeypatch.setattr(catalogue, "encoder", encoder)
    monkeypatch.setattr(catalogue, "imaginer", imaginer)
    return light


@pytest.fixture
def photos(home: Path) -> Path:
    """Six grey pictures with captions and a JSONL file: photos.jsonl."""
    folder = home / "photos"
    folder.mkdir()
    rows = []
    for number in range(6):
        Image.new("RGB", (40, 30), (40 * number,) * 3).save(folder / f"{number}.png")
        city = "Paris" if number % 2 else "Rome"
        row = {
            "path": f"photos/{number}.png",
            "caption": f"picture number {number}",
            "city": city,
            "year": 2000 + number,
        }
        rows.append(json.dumps(row))
    (home / "photos.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def indexed(dar: Dar, photos: Path) -> Path:
    assert dar("ingest", "photos.jsonl", "--index", "photos").status == 0
    return photos
