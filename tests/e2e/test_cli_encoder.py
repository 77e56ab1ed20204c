"""Which encoder a command takes where none is named, and how it comes here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from werkzeug.test import Client

from dar_search import __version__
from dar_search.bootstrap import open_store, with_encoder_of
from dar_search.data import Provenance
from dar_search.errors import SettingsError
from dar_search.models import catalogue, presets
from dar_search.models.choosing import with_preset
from dar_search.models.encoders.open_clip_encoder import place_on_hub
from dar_search.serving import wsgi
from dar_search.serving.metrics import Metrics
from dar_search.serving.process.waiting import made_when_known
from dar_search.serving.runner import Served
from dar_search.settings import Settings, load_settings
from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder
from tests.hub_mirror import hub_mirror

_CLOSED = "http://127.0.0.1:1"  # nothing listens there


@pytest.fixture(autouse=True)
def none_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing names an encoder, and this machine has fetched none."""
    monkeypatch.delenv("DAR_ENCODER")
    monkeypatch.setenv("HF_HOME", str(home / "hub"))
    # In this process the hub's client may have read its variables already.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub" / "hub"))


@pytest.fixture
def light_demo(light_models: FakeEncoder) -> FakeEncoder:
    """Under the name that indices know."""
    light_models.provenance = replace(light_models.provenance, encoder="demo")
    return light_models


def _dar(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's client reads its variables when it is imported."""
    command = [sys.executable, "-m", "dar_search", *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)


def test_without_the_weights_and_without_a_network_one_line_says_the_two_ways_on(photos: Path) -> None:
    done = _dar("ingest", str(photos), "--index", "photos", HF_ENDPOINT=_CLOSED)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    default = presets.preset("cpu").encoder
    assert default.name in line
    assert f"{default.download_mb} MB" in line
    assert default.licence in line
    assert "127.0.0.1:1 cannot be reached" in line
    assert f'dar models fetch --encoder "{default.name}"' in line
    assert str(Path.cwd() / "hub" / "hub") in line
    assert "--encoder demo" in line


def test_from_a_mirror_it_is_fetched_once_with_consent_and_then_needs_no_network(photos: Path, home: Path) -> None:
    """The real class and size with random weights: ViT-B-32."""
    torch, open_clip, safetensors = (pytest.importorskip(name) for name in ("torch", "open_clip", "safetensors.torch"))
    torch.manual_seed(1)
    model = open_clip.create_model("ViT-B-32", precision="fp16", load_weights=False)
    default = presets.preset("cpu").encoder
    repository = home / "mirror" / default.hub
    repository.mkdir(parents=True)
    safetensors.save_file(model.state_dict(), repository / "open_clip_model.safetensors")
    with hub_mirror(home / "mirror") as mirror:
        asked = _dar("ingest", str(photos), "--index", "photos", HF_ENDPOINT=mirror.url)
        assert asked.returncode == 1
        assert "add --yes" in asked.stderr
        assert not mirror.given
        done = _dar("ingest", str(photos), "--index", "photos", "--yes", HF_ENDPOINT=mirror.url)
        assert done.returncode == 0, done.stderr
        assert f"encoder {default.name}, 512 dimensions" in done.stderr
        assert mirror.given == [f"{default.hub}/open_clip_model.safetensors"]
    shutil.rmtree(home / "mirror")
    found = _dar("search", "--index", "photos", "--caption", "grey", "--json", HF_ENDPOINT=_CLOSED)
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)["hits"]) == 6


def test_an_index_names_its_encoder(dar: Dar, photos: Path, light_demo: FakeEncoder) -> None:
    assert dar("ingest", photos, "--index", "photos", "--encoder", "demo").status == 0
    for command in (
        ("ingest", photos, "--index", "photos"),
        ("search", "--index", "photos", "--caption", "grey"),
        ("rewrite", "--index", "photos", "--caption", "grey"),
        ("rewrite", "--caption", "grey"),
    ):
        done = dar(*command)
        assert done.status == 0, done.err
    assert dar("chat", "--index", "photos", "--pictures", "none", typed="grey\n").status == 0


def test_an_encoder_in_a_folder_is_found_again_by_its_content(dar: Dar, photos: Path, home: Path) -> None:
    folder = home / "models" / "mine"
    shutil.copytree(catalogue.BUNDLE / "encoder", folder)
    assert dar("ingest", photos, "--index", "photos", "--encoder", f"open_clip:{folder}").status == 0
    assert oct((home / "data" / "encoders.json").stat().st_mode)[-3:] == "600"
    assert dar("search", "--index", "photos", "--caption", "grey").status == 0
    folder.rename(home / "models" / "yours")
    lost = dar("search", "--index", "photos", "--caption", "grey")
    assert lost.status == 2
    assert "--encoder open_clip:PATH/mine" in lost.err
    elsewhere = f"open_clip:{home / 'models' / 'yours'}"
    assert dar("search", "--index", "photos", "--caption", "grey", "--encoder", elsewhere).status == 0


def test_the_demos_encoder_says_once_that_it_knows_no_photographs(dar: Dar, photos: Path) -> None:
    done = dar("ingest", photos, "--index", "photos", "--encoder", "demo")
    assert done.err.count("are not the demo's drawings") == 1
    drawn = photos.parent / "drawn"
    drawn.mkdir()
    Image.new("RGB", (192, 192)).save(drawn / "0.png")
    assert "drawings" not in dar("ingest", drawn, "--index", "drawn", "--encoder", "demo").err


def test_a_preset_names_all_three_and_options_go_before_it(
    dar: Dar, photos: Path, light_demo: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dar("ingest", photos, "--index", "photos", "--preset", "demo").status == 0
    monkeypatch.setenv("DAR_PRESET", "demo")
    found = dar("search", "--index", "photos", "--caption", "grey", "--json")
    assert found.status == 0, found.err
    assert found.json["legs"]["imagination"]["status"] == "ok"
    silent = dar("search", "--index", "photos", "--caption", "grey", "--imaginer", "none", "--json")
    assert silent.status == 0
    assert silent.json["legs"]["imagination"]["status"] == "off"
    wrong = dar("search", "--index", "photos", "--caption", "grey", "--preset", "demmo")
    assert wrong.status == 2
    assert "Did you mean demo?" in wrong.err


def test_a_typed_preset_goes_before_the_environment_and_asks_before_it_fetches(
    dar: Dar, photos: Path, light_demo: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAR_PRESET", "gpu")
    monkeypatch.setenv("DAR_ENCODER", "open_clip:ViT-B-32/openai")
    assert dar("ingest", photos, "--index", "photos", "--preset", "demo").status == 0
    monkeypatch.delenv("DAR_ENCODER")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", _CLOSED)
    asked = dar("ingest", photos, "--index", "real", "--preset", "cpu")
    assert asked.status == 1
    assert "The preset cpu has open_clip:ViT-B-32" in asked.err


def test_what_a_preset_says_of_its_models_is_nothing_for_others() -> None:
    settings = with_preset(load_settings(preset="cpu", imaginer="demo"))
    assert (settings.imaginer, settings.imaginer_options, settings.imagine_steps) == ("demo", {}, None)
    whole = with_preset(load_settings(preset="cpu"))
    assert whole.imaginer_options == {"width": 384, "height": 384}
    for one in presets.presets():
        assert with_preset(load_settings(preset=one.name)) == load_settings(preset=one.name, **one.settings)


def test_where_search_may_not_fetch_it_says_the_command_that_does(dar: Dar, home: Path) -> None:
    settings = load_settings()
    with closing(open_store(settings.store, settings)) as store:
        store.create("photos", Provenance("transformers:some/model", "sha256:0.0", 4, "squash 4x4"))
        store.create("odd", Provenance("transformers:a/b/c", "sha256:0.0", 4, "squash 4x4"))
    done = dar("search", "--index", "photos", "--caption", "grey")
    assert done.status == 1
    assert 'dar models fetch --encoder "transformers:some/model"' in done.err
    odd = dar("search", "--index", "odd", "--caption", "grey")
    assert odd.status == 2
    assert "no name of a model" in odd.err
    with closing(open_store(settings.store, settings)) as store:
        store.drop("odd")
        with pytest.raises(SettingsError, match="not on this machine"):  # a service fetches nothing that an index names
            with_encoder_of(settings, store)


def test_a_service_waits_for_its_encoder_with_health_answered(home: Path) -> None:
    settings = load_settings()
    known = threading.Event()

    def make(found: Settings, metrics: Metrics) -> Served:
        assert found.encoder == "demo"
        known.set()
        return Served(lambda environ, start: wsgi.answer_json(start, 200, {"made": True}), metrics, lambda: None)

    served = made_when_known(settings, make)
    client = Client(served.app)
    assert client.get("/_dar/health").json == {"alive": True, "version": __version__}
    ready = client.get("/_dar/ready")
    assert (ready.status_code, ready.json["ready"]) == (503, False)  # type: ignore[index]
    refused = client.post("/_dar/v1/search", json={})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    with closing(open_store(settings.store, settings)) as store:
        store.create("lost", Provenance("open_clip:lost", "sha256:0.0", 4, "squash 4x4"))  # passed over
        store.create("photos", Provenance("demo", "1", 4, "squash 4x4"))
    assert known.wait(60)
    while "made" not in client.get("/any").text:
        pass
    served.close()


def test_indices_of_several_encoders_leave_a_choice(
    dar: Dar, photos: Path, home: Path, light_demo: FakeEncoder
) -> None:
    folder = home / "mine"
    shutil.copytree(catalogue.BUNDLE / "encoder", folder)
    assert dar("ingest", photos, "--index", "a", "--encoder", "demo").status == 0
    assert dar("ingest", photos, "--index", "b", "--encoder", f"open_clip:{folder}").status == 0
    done = dar("rewrite", "--caption", "grey")
    assert done.status == 2
    assert "several encoders" in done.err
    assert "--encoder" in done.err
    assert "several encoders" in dar("doctor").out


def test_a_service_takes_the_encoder_of_its_indices_and_without_any_says_what_to_set(home: Path) -> None:
    settings = load_settings()
    with closing(open_store(settings.store, settings)) as store:
        with pytest.raises(SettingsError, match=r"No encoder is named, .* has no index") as none:
            with_encoder_of(settings, store)
        assert "DAR_PRESET=cpu" in none.value.hint
        store.create("photos", Provenance("demo", "1", 4, "squash 4x4"))
        chosen = with_encoder_of(settings, store)
        assert (chosen.encoder, chosen.imaginer) == ("demo", "demo")
        named = load_settings(encoder="open_clip:ViT-B-32/openai")
        assert with_encoder_of(named, store) is named


def test_the_presets_repositories_are_those_of_open_clips_table() -> None:
    tagged = [part for one in presets.presets() for part in one.parts if part.name.startswith("open_clip:")]
    assert len(tagged) == 3
    for part in tagged:
        assert place_on_hub(part.name.removeprefix("open_clip:"))[0] == part.hub
