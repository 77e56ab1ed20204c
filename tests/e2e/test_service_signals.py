"""The services' commands, told to end before they have begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DAR = Path(sys.executable).with_name("dar")


@pytest.mark.parametrize("broker", [(), ("--broker", "memory://")])
def test_a_worker_that_has_only_begun_ends_in_order(tmp_path: Path, broker: tuple[str, ...]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
    process = subprocess.Popen(
        [DAR, "ingest-work", "--store", f"sqlite:{tmp_path / 'store.db'}", *broker],
        env=kept | {"HOME": str(tmp_path), "DAR_ENCODER": "demo"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert any("Working on the jobs" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
