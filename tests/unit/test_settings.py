"""Settings come from four places in one order, and a wrong one says where it came from."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from dar_search.data import ScoreFusion, VectorWeights
from dar_search.errors import SettingsError
from dar_search.settings import Settings, load_settings, mask, unknown_variables

Configure = Callable[[str], Path]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("DAR_", "OPENSEARCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "user-config")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "user-data")


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Configure:
    def write(text: str) -> Path:
        path = tmp_path / "dar.toml"
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        monkeypatch.setenv("DAR_CONFIG", str(path))
        return path

    return write


def test_the_defaults_need_no_server_and_no_download(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.store == f"sqlite:{tmp_path / 'user-data' / 'images.sqlite'}"
    assert (settings.encoder, settings.reformulator, settings.imaginer) == ("auto", "rules", "none")
    assert settings.score_fusion == ScoreFusion()
    assert [settings.weights.at(round) for round in (0, 2)] == [VectorWeights(0.8, 0.2), VectorWeights(0.5, 0.5)]


def test_every_setting_is_described_and_has_a_default() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed in ([], ["opensearch"])  # a table, described setting by setting
    assert not any(field.is_required() for field in Settings.model_fields.values())


def test_an_option_beats_the_environment_beats_the_file_beats_opensearchs_variables(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", "http://variable:9200")
    assert load_settings().store == "http://variable:9200"
    configure('store = "http://file:9200"')
    assert load_settings().store == "http://file:9200"
    monkeypatch.setenv("DAR_STORE", "http://environment:9200")
    assert load_settings().store == "http://environment:9200"
    assert load_settings(store="sqlite:option.db").store == "sqlite:option.db"
    assert load_settings(store=None).store == "http://environment:9200"


def test_the_users_own_configuration_file_is_read_without_a_variable(tmp_path: Path) -> None:
    (tmp_path / "user-config").mkdir()
    (tmp_path / "user-config" / "config.toml").write_text("depth = 50", "utf-8")
    assert load_settings().depth == 50


def test_nested_settings_of_all_places_come_together(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> None:
    configure('[opensearch]\nusername = "from-file"\n')
    monkeypatch.setenv("OPENSEARCH_USERNAME", "from-variable")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "hush")
    opensearch = load_settings().opensearch
    assert opensearch.username == "from-file"
    assert opensearch.password is not None
    assert "hush" not in repr(opensearch)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_ENCODER", "")
    monkeypatch.setenv("OPENSEARCH_URL", "")
    settings = load_settings()
    assert settings.encoder == "auto"
    assert settings.store.startswith("sqlite:")


def test_the_imaginer_of_another_encoder_is_not_the_demos() -> None:
    assert load_settings(encoder="open_clip:ViT-B-32/openai").imaginer == "none"
    assert load_settings(encoder="open_clip:ViT-B-32/openai", imaginer="prior:/p").imaginer == "prior:/p"


@pytest.mark.parametrize("weight", [0, 0.1, 0.35, 0.7, 1])
def test_the_legs_weights_sum_to_one(weight: float) -> None:
    fusion = load_settings(knn_weight=weight, fusion="rrf", rank_constant=10).score_fusion
    assert fusion == ScoreFusion("rrf", weight, pytest.approx(1 - weight), 10)
    assert fusion.knn + fusion.keyword == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("dtype", "float8", "bfloat16"),
        ("device", "gpu", "cuda:NUMBER"),
        ("schedule", "fast", "released"),
        ("schedule", "1:0.5/0.5", "ascend"),
        ("fusion", "borda", "rrf"),
        ("knn_weight", "1.5", "less than or equal to 1"),
        ("knn_weight", "nan", "finite"),
        ("depth", "0", "greater than or equal to 1"),
        ("depth", "many", "integer"),
        ("imagine_count", "65", "64"),
        ("imagine_steps", "0", "1"),
        ("imagine_seed", "-1", "0"),
        ("store", "photos.db", "sqlite:PATH"),
        ("store", "ftp://host", "sqlite:PATH"),
    ],
)
def test_a_wrong_value_names_the_setting_the_place_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"DAR_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert f'"{name}" is "{value}" (from DAR_{name.upper()})' in caught.value.message
    assert allowed in text
    assert "\n" not in text

    monkeypatch.delenv(f"DAR_{name.upper()}")
    with pytest.raises(SettingsError, match="given as an option"):
        load_settings(**{name: value})

    path = configure(f'{name} = "{value}"')
    with pytest.raises(SettingsError, match=f"from {path}"):
        load_settings()


def test_a_wrong_value_of_opensearchs_variables_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", "host-without-scheme")
    with pytest.raises(SettingsError, match="from OPENSEARCH_URL"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "meant"), [('encodr = "demo"', "encoder"), ("[opensearch]\nusernme = 'me'", "username"), ("zzz = 1", "")]
)
def test_an_unknown_key_in_the_file_is_refused_with_a_suggestion(configure: Configure, text: str, meant: str) -> None:
    path = configure(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(path) in caught.value.message
    assert (f'Did you mean "{meant}"?' if meant else "There are: ") in caught.value.hint


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match='Did you mean "encoder"'):
        load_settings(encoders="demo")


def test_unknown_variables_are_found_with_what_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_ENCODR", "x")
    monkeypatch.setenv("DAR_OPENSEARCH__PASSWORD", "x")
    monkeypatch.setenv("DAR_DEPTH", "5")
    assert unknown_variables() == {"DAR_ENCODR": "DAR_ENCODER"}


@pytest.mark.parametrize("text", ["encoder = ", "\x00", "[[[[", "a" * 100])
def test_a_broken_file_is_a_one_line_error(configure: Configure, text: str) -> None:
    path = configure(text)
    with pytest.raises(SettingsError, match="is not a TOML file") as caught:
        load_settings()
    assert str(path) in str(caught.value)


def test_a_named_file_that_is_missing_or_not_text_is_an_error(configure: Configure) -> None:
    path = configure("")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        load_settings()
    path.unlink()
    with pytest.raises(SettingsError, match=r"DAR_CONFIG names .* which is no file"):
        load_settings()


def test_a_nested_variable_that_is_no_json_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_OPENSEARCH", "{")
    with pytest.raises(SettingsError, match="opensearch"):
        load_settings()


def test_secrets_are_masked_in_repr_and_dumps_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_OPENSEARCH__PASSWORD", "hush-1")
    monkeypatch.setenv("DAR_OPENSEARCH__PROXY", "http://me:hush-4@proxy:3128")
    monkeypatch.setenv("DAR_STORE", "https://me:hush-2@host:9200")
    monkeypatch.setenv("DAR_INGEST__LEDGER", "https://me:hush-4@host:9200")
    monkeypatch.setenv("DAR_INGEST__BROKER", "amqp://me:hush-5@host//;amqp://me:hush-6@other//")
    settings = load_settings()
    assert settings.store == "https://me:hush-2@host:9200"
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hush" not in shown
        assert "host:9200" in shown
    monkeypatch.setenv("DAR_STORE", "me:hush-3@host")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("https://me:pass@host:9200/x", "https://***@host:9200/x"),
        ("https://me:p@ss@host", "https://***@host"),
        ("https://host:9200", "https://host:9200"),
        ("sqlite:/home/me@work/images.sqlite", "sqlite:/home/me@work/images.sqlite"),
        ("profile:me@home", "profile:me@home"),
        ("opensearch:a@b", "opensearch:a@b"),
        ("profile:home,https://me:pass@host", "profile:home,https://***@host"),
        ("opensearch://me:pass@host", "opensearch://***@host"),
        ("me:pass@host", "***@host"),
        ("https://me:pa/ss@host/x", "https://***@host/x"),
        ("http://me:p@a:9200,https://you:q/r@b", "http://***@a:9200,https://***@b"),
        ("https://a:9200,https://b/x?at=me@host", "https://a:9200,https://b/x?at=me@host"),
        ("https://[::1]:9200/a@2x.jpg", "https://[::1]:9200/a@2x.jpg"),
        ("redis://:pass@a/0;redis://:word@b/0", "redis://***@a/0;redis://***@b/0"),
    ],
)
def test_an_address_is_shown_without_its_user_and_password(address: str, masked: str) -> None:
    assert mask(address) == masked


def test_settings_are_frozen_and_travel_to_another_process() -> None:
    settings = load_settings(store="https://me:hush@host", depth=7)
    with pytest.raises(ValueError, match="frozen"):
        settings.depth = 8  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_home_folder_is_understood() -> None:
    assert load_settings(data_folder="~/pictures").data_folder == Path.home() / "pictures"
