"""Runs one server process and ends it with its parent. Started as a script, with the standard library alone.

Its standard input is a pipe that the parent holds: a line `stop` ends the server gently, `kill` at once, and the
pipe's end (the parent is gone, however it went) at once too, and removes the folder that the parent would have
removed. Should the warden itself be killed, the kernel kills the server. Exits as the server did.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

_GENTLE_SECONDS = 30
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> NoReturn:
    """Arguments: uid and gid to run as ("-" to stay), a log file, a folder to remove ("-" for none), the command."""
    uid, gid, log, folder, *command = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    with Path(log).open("ab") as output:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=_end_with_parent
        )
    ended, orphaned = _watch(server)
    if orphaned and folder != "-":
        shutil.rmtree(folder, ignore_errors=True)
    # A server killed by signal n is reported the way shells do.
    sys.exit(ended if ended >= 0 else 128 - ended)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == 1:  # the warden died before the call
            os._exit(1)


def _watch(server: subprocess.Popen[bytes]) -> tuple[int, bool]:
    """Waits for the server's end or the parent's word. Returns the exit status, and whether the parent is gone."""
    # A dead child writes into this pipe, so that one select waits for both.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while server.poll() is None:
        ready, _, _ = select.select([sys.stdin, reader], [], [])
        if reader in ready:
            os.read(reader, 4096)
        if sys.stdin in ready:
            word = sys.stdin.readline().strip()
            if word == "stop":
                server.terminate()
                try:
                    server.wait(_GENTLE_SECONDS)
                except subprocess.TimeoutExpired:
                    server.kill()
            else:
                server.kill()
            return server.wait(), not word
    return server.returncode, False


if __name__ == "__main__":
    main(sys.argv[1:])
