"""Settings of models: options from every place, secrets hidden, the model process and the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from dar_search.errors import SettingsError
from dar_search.settings import load_settings

Configure = Callable[[str], Path]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("DAR_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "user-config")


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Configure:
    def write(text: str) -> Path:
        path = tmp_path / "dar.toml"
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        monkeypatch.setenv("DAR_CONFIG", str(path))
        return path

    return write


def test_options_of_models_come_from_the_file_and_from_variables_together(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    configure('[imaginer_options]\nguidance = 0.0\nnegative_prompt = "text"\n')
    monkeypatch.setenv("DAR_IMAGINER_OPTIONS__WIDTH", "384")
    monkeypatch.setenv("DAR_ENCODER_OPTIONS", '{"compile": true}')
    settings = load_settings()
    assert settings.imaginer_options == {"guidance": 0.0, "negative_prompt": "text", "width": "384"}
    assert settings.encoder_options == {"compile": True}


@pytest.mark.parametrize("key", ["hush-hush", "12345678", "1e5"])
def test_an_endpoints_key_is_hidden_wherever_settings_are_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__KEY", key)
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__URL", "http://localhost:8000/v1")
    settings = load_settings()
    assert settings.reformulator_options["key"] == SecretStr(key)
    for shown in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert key not in shown
        assert "http://localhost:8000/v1" in shown


def test_a_key_that_would_not_come_back_as_it_was_written_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS", '{"key": 1e5}')
    with pytest.raises(SettingsError, match="key is text") as caught:
        load_settings()
    assert "100000" not in str(caught.value)


def test_a_file_that_everybody_reads_may_not_hold_an_endpoints_key(configure: Configure) -> None:
    path = configure('[reformulator_options]\nkey = "hush"\n')
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=r"key = \{ env"):
        load_settings()
    path.write_text('[reformulator_options]\nkey = { env = "MY_KEY" }\n')
    assert load_settings().reformulator_options["key"].env == "MY_KEY"


def test_an_option_that_is_no_plain_value_is_refused() -> None:
    with pytest.raises(SettingsError, match="width is text"):
        load_settings(imaginer_options={"width": {"a": 1}})


@pytest.mark.parametrize(("said", "mode"), [("false", "off"), ("1", "separate"), ("shared", "shared")])
def test_the_model_process_is_chosen_by_a_word_or_by_yes_and_no(
    monkeypatch: pytest.MonkeyPatch, said: str, mode: str
) -> None:
    monkeypatch.setenv("DAR_MODEL_PROCESS__MODE", said)
    monkeypatch.setenv("DAR_MODEL_PROCESS__BATCH_SECONDS", "5")
    settings = load_settings()
    assert settings.model_process.mode == mode
    assert settings.model_process.batch_seconds == 5


def test_an_unknown_setting_of_the_model_process_names_the_nearest(configure: Configure) -> None:
    configure("[model_process]\nbatch_second = 5\n")
    with pytest.raises(SettingsError, match='Did you mean "batch_seconds"'):
        load_settings()


def test_the_caches_address_is_checked_and_its_password_hidden() -> None:
    settings = load_settings(imagination_cache="redis://me:hush@cache:6379/0")
    assert settings.imagination_cache == "redis://me:hush@cache:6379/0"
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()
    with pytest.raises(SettingsError, match="neither memory, nor none, nor redis"):
        load_settings(imagination_cache="memcached://x")


def test_a_table_among_the_options_comes_from_the_file_or_as_json_from_a_variable(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("[reformulator_options.extra.chat_template_kwargs]\nenable_thinking = false\n")
    assert load_settings().reformulator_options["extra"] == {"chat_template_kwargs": {"enable_thinking": False}}
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__EXTRA", '{"reasoning_effort": "low", "top_k": 1}')
    assert load_settings().reformulator_options["extra"]["reasoning_effort"] == "low"
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__EXTRA", "low")
    with pytest.raises(SettingsError, match="extra is a table"):
        load_settings()


def test_a_file_that_everybody_reads_may_not_hold_a_proxys_password(configure: Configure) -> None:
    path = configure('[opensearch]\nproxy = "http://me:hush@proxy:3128"\n')
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=r"proxy = \{ env"):
        load_settings()
    path.write_text('[opensearch]\nproxy = "http://proxy:3128"\n')
    assert load_settings().opensearch.proxy == SecretStr("http://proxy:3128")
