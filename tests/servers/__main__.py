"""`make test-servers`: what needs an OpenSearch, on each version that can be had here; a summary at the end.

All of it runs on 2.19 and 3.5; the ledger alone on 3.9, which has no k-NN here; then what takes several versions at
once. Its exit status is 1 if anything failed. Arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.clusters import URL_VARIABLE, VERSION_VARIABLE
from tests.servers.conftest import SWITCH

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/servers"
LEDGER = "tests/contract"


@dataclass(frozen=True)
class Run:
    """name: as the summary shows it; version: of the run's clusters; arguments: pytest's."""

    name: str
    version: str
    arguments: tuple[str, ...]


RUNS = (
    Run("2.19", "2.19", ("-m", "cluster", "--ignore", HERE)),
    Run("3.5", "3.5", ("-m", "cluster", "--ignore", HERE)),
    Run("3.9 (ledger)", "3.9", ("-m", "cluster", "-k", "ledger", LEDGER)),
    Run("2.19 and 3.5 together", "2.19", (HERE,)),
)


@dataclass(frozen=True)
class Outcome:
    """What a run came to. failed: names of tests; skipped: reason -> how many; told: what tests recorded."""

    run: Run
    seconds: float
    passed: int
    failed: tuple[str, ...]
    skipped: Counter[str]
    told: tuple[str, ...]

    def lines(self) -> list[str]:
        counts = f"{self.passed} passed, {len(self.failed)} failed, {self.skipped.total()} skipped"
        return [
            f"{self.run.name}: {counts}, {self.seconds:.0f} s",
            *(f"  failed: {name}" for name in self.failed),
            *(f"  skipped {count}: {reason}" for reason, count in self.skipped.most_common()),
            *(f"  {line}" for line in self.told),
        ]


def outcome(run: Run, options: list[str]) -> Outcome:
    """Runs pytest, which shows what it does, and reads its report. Raises where it comes to no report."""
    env = {name: value for name, value in os.environ.items() if name != URL_VARIABLE}
    env |= {VERSION_VARIABLE: run.version, SWITCH: "1"}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={report}",
            *run.arguments,
            *options,
        ]
        subprocess.run(command, cwd=ROOT, env=env)
        cases = list(ElementTree.parse(report).iter("testcase"))  # pytest's own
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = Counter(str(skip.get("message")) for case in cases for skip in case.iter("skipped"))
    told = [
        f"{case.get('name')}: {one.get('name')} {one.get('value')}"
        for case in cases
        for one in case.iter("property")
        if run.arguments == (HERE,)
    ]
    names = tuple(f"{case.get('classname')}::{case.get('name')}" for case in failed)
    passed = len(cases) - len(failed) - skipped.total()
    return Outcome(run, time.monotonic() - began, passed, names, skipped, tuple(told))


def main(options: list[str]) -> int:
    outcomes = [outcome(run, options) for run in RUNS]
    print("\nBy version of OpenSearch")
    print("\n".join(line for one in outcomes for line in one.lines()))
    return int(any(one.failed or not one.passed for one in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
