"""docker-compose.yml and the Dockerfiles: read by tools that need no engine, and held to what the file promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dar_search.settings import Settings, load_settings
from tests.compose_file import (
    COMPOSE_FILE,
    PROFILES,
    ROOT,
    SECRET,
    configuration,
    example_values,
    filled_in,
    resolved,
)

BIN = Path(sys.executable).parent
DOCKERFILES = (ROOT / "ingest" / "Dockerfile", ROOT / "query_rewriter" / "Dockerfile")
CONFIDENTIAL = re.compile(r"PASSWORD|KEY|AUTH$|BROKER|CACHE$")
RUN_ONCE = {"certificates", "roles", "llm-model"}
# Where the Dockerfile or the image of others writes while it starts.
NOT_READ_ONLY = {"opensearch", "dashboards"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = resolved(filled_in(), tmp_path_factory.mktemp("compose"))["services"]
    return found


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The services as they are written, nothing filled in."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))["services"]
    return found


def test_the_file_fits_the_compose_specification() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_all_services_are_there(services: dict[str, Any]) -> None:
    always = {name for name, about in services.items() if not about.get("profiles")}
    assert always == {"certificates", "opensearch", "roles", "redis", "ingest", "worker", "query"}
    assert {tuple(about["profiles"]) for about in services.values() if about.get("profiles")} == {
        (profile,) for profile in PROFILES
    }


def test_no_secret_has_a_default(tmp_path: Path) -> None:
    secrets = sorted(name for name, value in example_values().items() if SECRET.search(name) and not value)
    assert secrets == sorted(name for name in example_values() if SECRET.search(name))
    required = [name for name in secrets if name != "DASHBOARDS_PASSWORD"]  # a profile's: without it no such user
    text = COMPOSE_FILE.read_text("utf-8")
    for name in required:
        assert set(re.findall(rf"\$\{{{name}([^}}]*)\}}", text)) == {":?write it into .env"}
    done = configuration(filled_in(QUERY_KEY=""), tmp_path)
    assert done.returncode != 0
    assert "QUERY_KEY" in done.stderr


def test_no_secret_is_written_into_the_file(written: dict[str, Any]) -> None:
    for name, about in written.items():
        for variable, value in about.get("environment", {}).items():
            if CONFIDENTIAL.search(variable) and "CA_FILE" not in variable:
                assert re.search(r"\$\{[A-Z_]+(:\?[^}]+|:-)\}", str(value)), f"{name}: {variable}"


def test_every_variable_of_the_file_is_explained_in_the_example() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE_FILE.read_text("utf-8")))
    assert used == set(example_values())


def test_every_service_has_limits_and_rights_of_its_own(services: dict[str, Any]) -> None:
    for name, about in services.items():
        limits = about["deploy"]["resources"]["limits"]
        assert float(limits["cpus"]) > 0, name
        assert re.fullmatch(r"\d+[mg]", limits["memory"]), name
        user, _, group = about["user"].partition(":")
        assert int(user) > 0, name
        assert int(group) > 0, name
        assert about["cap_drop"] == ["ALL"], name
        assert about["security_opt"] == ["no-new-privileges:true"], name
        assert about.get("read_only", False) is (name not in NOT_READ_ONLY), name
        assert "privileged" not in about, name


def test_every_lasting_service_has_a_health_check_and_comes_back(services: dict[str, Any]) -> None:
    for name, about in services.items():
        assert about["restart"] == ("no" if name in RUN_ONCE else "unless-stopped"), name
        assert ("healthcheck" in about) is (name not in RUN_ONCE), name
    for name in ("ingest", "query"):
        assert "/_dar/health" in services[name]["healthcheck"]["test"][-1]


def test_services_wait_until_what_they_need_is_healthy_or_done(services: dict[str, Any]) -> None:
    for name, about in services.items():
        for needed, how in (about.get("depends_on") or {}).items():
            done = needed in RUN_ONCE
            wanted = "service_completed_successfully" if done else "service_healthy"
            assert how["condition"] == wanted, f"{name} needs {needed}"
    for name in ("ingest", "worker", "query"):
        assert set(services[name]["depends_on"]) == {"opensearch", "roles", "redis"}


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = {name: about["ports"] for name, about in services.items() if about.get("ports")}
    assert set(published) == {"opensearch", "ingest", "query", "dashboards"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_every_image_of_others_is_pinned_by_version_and_digest(services: dict[str, Any]) -> None:
    """A tag can be moved by whoever owns it; a digest names the same bytes for ever."""
    others = [about["image"] for about in services.values() if "build" not in about]
    for text in (*_inline(services), *(path.read_text("utf-8") for path in DOCKERFILES)):
        others += _bases(text)
    assert len(others) == 8
    unpinned = [
        image for image in others if not re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+(-[\w-]+)?@sha256:[0-9a-f]{64}", image)
    ]
    assert unpinned == []


def test_an_image_has_one_digest_wherever_it_is_named() -> None:
    texts = [path.read_text("utf-8") for path in (COMPOSE_FILE, *DOCKERFILES)]
    named = re.findall(r"([\w./-]+:?)([\w.-]*)@(sha256:\w+)", "\n".join(texts))
    digests: dict[str, set[str]] = {}
    for name, tag, digest in named:
        digests.setdefault(f"{name}{tag}", set()).add(digest)
    assert all(len(found) == 1 for found in digests.values()), digests


@pytest.mark.parametrize("name", ["ingest", "worker", "query"])
def test_every_setting_of_a_service_is_one(
    name: str, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    named = {
        variable: str(value) for variable, value in services[name]["environment"].items() if variable[:4] == "DAR_"
    }
    for variable, value in named.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert settings.store == "https://opensearch:9200"
    settings.opensearch.check()
    settings.query.check()
    for variable, value in named.items():
        if value:
            assert _is_set(settings, variable.removeprefix("DAR_").lower().split("__")), variable


def _is_set(settings: Settings, path: list[str]) -> bool:
    """Whether the variable did set what it names, all the way down."""
    found: Any = settings
    for name in path:
        if isinstance(found, dict):
            return name in found
        if name not in found.model_fields_set:
            return False
        found = getattr(found, name)
    return True


@pytest.mark.parametrize("command", [("ingest-serve",), ("ingest-work",), ("serve",), ("jobs", "list")])
def test_the_commands_are_there(command: tuple[str, ...], services: dict[str, Any]) -> None:
    used = [about.get("command") for about in services.values()]
    used += [about["healthcheck"]["test"][1:] for about in services.values() if "healthcheck" in about]
    assert any(line and list(line)[: len(command) + 1] == ["dar", *command] for line in used)
    done = subprocess.run([BIN / "dar", *command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_linter_finds_nothing_in_the_dockerfiles(services: dict[str, Any]) -> None:
    done = subprocess.run([BIN / "hadolint", *DOCKERFILES], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    for text in _inline(services):
        done = subprocess.run([BIN / "hadolint", "-"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_has_two_stages_an_ordinary_user_and_torch_for_cpus(dockerfile: Path) -> None:
    text = dockerfile.read_text("utf-8")
    assert len(re.findall(r"^FROM python:\$\{PYTHON\}", text, re.MULTILINE)) == 2
    assert re.search(r"^ARG PYTHON=3\.1[12]\.\d+-slim-", text, re.MULTILINE)
    assert "ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["1000:1000"]


def test_the_builder_gets_what_the_wheel_is_made_of_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    wanted = {"pyproject.toml", "README.md", "LICENSE", "dar_search", "ingest", "query_rewriter", "opensearch"}
    assert let_in == wanted


def _bases(dockerfile: str) -> list[str]:
    """What each FROM names, its build arguments filled in as they are by default."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    named = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    return [re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], image) for image in named]


def _inline(services: dict[str, Any]) -> list[str]:
    builds = [about.get("build") for about in services.values()]
    found = [build["dockerfile_inline"] for build in builds if isinstance(build, dict) and "dockerfile_inline" in build]
    assert found
    return sorted(set(found))
