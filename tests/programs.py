"""Programs that tests start, and ports for them."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

#: Debian keeps servers in /usr/sbin, which is not in everybody's PATH.
_SERVERS = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"


def found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=_SERVERS)


def needed(*programs: str) -> str:
    """The first one's path; the test is skipped where one is not installed, and fails where nothing may be missing."""
    if missing := [program for program in programs if found(program) is None]:
        why = f"not installed: {', '.join(missing)}"
        if os.environ.get("DAR_TEST_REQUIRE_ALL"):
            pytest.fail(why)
        pytest.skip(why)
    return str(found(programs[0]))


def free_port() -> int:
    """Of loopback, and nobody's just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
