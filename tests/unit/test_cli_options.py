"""Options mean the same before and after the command, and commands load nothing that they do not need."""

import json
from importlib.metadata import EntryPoint

import pytest
import typer

from dar_search.cli import commands
from dar_search.cli.main import run
from dar_search.cli.options.grouping import grouped, unwrapped
from dar_search.cli.options.shared import (
    CommonOptions,
    EncoderOptions,
    RankingOptions,
    RewritingOptions,
    settings_from,
)
from dar_search.cli.shown.output import plain
from dar_search.errors import SettingsError, StoreUnavailable
from dar_search.settings.masking import masked

SEEN: list[tuple[CommonOptions, EncoderOptions]] = []


@grouped
def probe(common: CommonOptions, encoder: EncoderOptions) -> int:
    """A command of another package."""
    SEEN.append((common, encoder))
    return 3


@grouped
def breaks(common: CommonOptions) -> None:
    raise {"store": StoreUnavailable("The store is away.", "Start it."), "bug": KeyError("x")}[common.store or "bug"]


def as_app() -> None:
    """Also a command."""


APP = typer.Typer()
APP.command()(as_app)
NOT_A_COMMAND = 7


def raises_on_import() -> None: ...


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    values = {
        "probe": f"{here}:probe",
        "breaks": f"{here}:breaks",
        "app": f"{here}:APP",
        "broken": "no_such_module_anywhere:command",
        "nonsense": f"{here}:NOT_A_COMMAND",
        "search": f"{here}:probe",
    }
    entries = [EntryPoint(name, value, commands.GROUP) for name, value in values.items()]
    monkeypatch.setitem(__import__("sys").modules, here, __import__("sys").modules[__name__])
    monkeypatch.setattr(commands, "entry_points", lambda group: entries if group == commands.GROUP else [])
    monkeypatch.delenv("DAR_STORE", raising=False)
    SEEN.clear()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--store", "sqlite:a", "--encoder", "demo", "probe"],
        ["probe", "--json", "--store", "sqlite:a", "--encoder", "demo"],
        ["--json", "--store", "sqlite:other", "probe", "--store", "sqlite:a", "--encoder", "demo"],
    ],
)
def test_common_options_may_stand_before_or_after_the_command_and_the_later_one_wins(arguments: list[str]) -> None:
    assert run(arguments) == 3
    ((common, encoder),) = SEEN
    assert (common.json, common.store, common.debug, encoder.encoder) == (True, "sqlite:a", False, "demo")


def test_what_stood_before_one_command_does_not_reach_the_next() -> None:
    run(["--store", "sqlite:a", "probe"])
    run(["probe"])
    assert [common.store for common, _ in SEEN] == ["sqlite:a", None]


def test_help_lists_the_commands_of_other_packages_and_warns_of_broken_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    captured = capsys.readouterr()
    assert "A command of another package." in captured.out
    assert "Also a command." in captured.out
    assert 'The command "broken" of no_such_module_anywhere cannot be loaded' in captured.err
    assert '"nonsense"' in captured.err


def test_a_broken_plugin_fails_alone_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["broken", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "feature_missing"
    assert "no_such_module_anywhere" in error["message"]
    assert run(["probe"]) == 3
    assert "broken" not in capsys.readouterr().err


def test_a_plugin_cannot_replace_a_built_in_command() -> None:
    assert commands.available()["search"].value.startswith("dar_search.")


def test_every_built_in_command_is_there() -> None:
    missing = set(commands.BUILT_IN) - set(commands.available())
    assert not missing


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--jsno"], "--json"),
        (["probe", "--stor", "x"], "--store"),
        (["serch"], "search"),
        (["prob"], "probe"),
        ([], "Missing command"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert run([*arguments]) == 2
    captured = capsys.readouterr()
    assert named in captured.err or (not arguments and "Usage" in captured.out)
    assert len([line for line in captured.err.splitlines() if not line.startswith("warning: ")]) <= 1


def test_an_expected_error_is_one_line_and_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["breaks", "--store", "store", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {"code": "store_unavailable", "message": "The store is away.", "hint": "Start it."}
    }
    assert captured.err.splitlines() == ["error: The store is away. Start it."]


def test_an_unexpected_error_is_one_line_and_a_traceback_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["breaks"]) == 1
    quiet = capsys.readouterr()
    assert quiet.out == ""
    assert quiet.err.startswith("error: Unexpected error: KeyError")
    assert "--debug" in quiet.err
    assert len(quiet.err.splitlines()) == 1
    assert run(["breaks", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_options_become_settings(tmp_path: object) -> None:
    settings = settings_from(
        CommonOptions(store="sqlite:a"),
        EncoderOptions(encoder="open_clip:ViT-B-32/openai", device="cpu"),
        RewritingOptions(imaginer="prior:x", imagine=4, seed=7, schedule="0.5/0.5"),
        RankingOptions(keyword_weight=0.4, fusion="rrf"),
    )
    assert (settings.store, settings.device, settings.imaginer) == ("sqlite:a", "cpu", "prior:x")
    assert (settings.imagine_count, settings.imagine_seed, settings.schedule) == (4, 7, "0.5/0.5")
    assert (settings.knn_weight, settings.fusion, settings.keyword) == (0.6, "rrf", True)


@pytest.mark.parametrize("options", [RewritingOptions(text_only=True), RewritingOptions(imagine=0)])
def test_imagining_nothing_needs_no_imaginer(options: RewritingOptions) -> None:
    assert settings_from(options, RewritingOptions(imaginer=None)).imaginer in ("none", "demo")
    assert settings_from(options).imaginer == "none"


def test_a_keyword_weight_of_zero_searches_no_captions() -> None:
    assert settings_from(RankingOptions(keyword_weight=0.0)).keyword is False


def test_a_config_file_that_is_not_there_is_refused(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(SettingsError, match="no file"):
        settings_from(CommonOptions(config=Path("nowhere.toml")))


def test_outside_text_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[31m\x07\u202eb\nc") == "a\ufffd[31m\ufffd\ufffdb c"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://me:hunter2@host:9200/x",
        "Authorization: Basic hunter2",
        '{"authorization": "Bearer hunter2"}',
        "password=hunter2&x=1",
        "OPENSEARCH_PASSWORD: hunter2",
        "api_key=hunter2",
        "aws_session_token='hunter2'",
    ],
)
def test_logs_mask_secrets(text: str) -> None:
    assert "hunter2" not in masked(text)
    assert "***" in masked(text)


def test_help_paragraphs_are_joined_and_examples_kept() -> None:
    assert unwrapped("One\ntwo.\n\n  dar a\n  dar b\n\nThree\nfour.") == "One two.\n\n  dar a\n  dar b\n\nThree four."
