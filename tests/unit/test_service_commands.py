"""The commands that run the two services: what their options and their help say, without running one."""

from __future__ import annotations

import pytest
from dar_ingest.command import ingest_serve
from dar_query_rewriter.command import serve
from typer import Typer
from typer.testing import CliRunner

from dar_search.cli.options.service import metrics_address, with_service
from dar_search.errors import SettingsError
from dar_search.settings import Settings
from dar_search.settings.service import ServiceSettings


@pytest.mark.parametrize(("command", "section"), [(serve, "query"), (ingest_serve, "ingest")])
def test_the_help_names_the_tables_of_the_other_settings(command: object, section: str) -> None:
    app = Typer(rich_markup_mode="rich")
    app.command()(command)  # type: ignore[type-var]
    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    assert f"[{section}] and [service] in the TOML file" in shown


@pytest.mark.parametrize("section", ["query", "ingest"])
def test_an_option_replaces_the_setting_and_what_is_not_given_stays(section: str) -> None:
    settings = Settings(store="sqlite:unused.sqlite")
    changed = with_service(settings, section, "serve", host="::1", port=0, admin_port=None)  # type: ignore[arg-type]
    own = getattr(changed, section)
    assert (own.host, own.port, own.admin_port) == ("::1", 0, getattr(settings, section).admin_port)


def test_a_wrong_option_is_named_as_the_person_wrote_it() -> None:
    with pytest.raises(SettingsError, match="--admin-port") as caught:
        with_service(Settings(store="sqlite:unused.sqlite"), "query", "serve", admin_port=99_999)
    assert caught.value.hint == "See: dar serve --help"


def test_metrics_on_an_address_of_ipv6_are_shown_as_an_address_that_can_be_asked() -> None:
    settings = Settings(store="sqlite:unused.sqlite", service=ServiceSettings(admin_host="::"))
    assert metrics_address(settings, 8951) == "http://[::]:8951/metrics"
    assert metrics_address(settings, 0) == ""
