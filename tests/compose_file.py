"""docker-compose.yml as a compose implementation reads it, without an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE_FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
PROFILES = ("dashboards", "llm")
SECRET = re.compile(r"(PASSWORD|KEY)$")
_BIN = Path(sys.executable).parent
# podman-compose asks for podman's version before anything else, and for nothing more to print a configuration.
_PODMAN = "#!/bin/sh\necho podman version 5.4.0\n"


def example_values() -> dict[str, str]:
    """The lines of .env.example."""
    lines = (line.partition("=") for line in EXAMPLE.read_text("utf-8").splitlines() if line and line[0] != "#")
    return {name: value for name, _, value in lines}


def filled_in(**changes: str) -> dict[str, str]:
    """.env.example with a secret of its own in each place for one, and these changes."""
    values = example_values()
    secrets = {name: f"{name.lower().replace('_', '')}0123456789abcdef" for name in values if SECRET.search(name)}
    return values | secrets | changes


def configuration(values: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What `podman-compose config` says, with these values as .env and all profiles."""
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    podman = folder / "podman"
    podman.write_text(_PODMAN)
    podman.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in values}
    profiles = [part for profile in PROFILES for part in ("--profile", profile)]
    return subprocess.run(
        [_BIN / "podman-compose", "--file", COMPOSE_FILE, "--env-file", folder / ".env", *profiles, "config"],
        cwd=ROOT,
        env=kept | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


def resolved(values: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """The file with everything filled in."""
    done = configuration(values, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found
