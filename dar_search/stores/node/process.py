"""One server process: its folder, configuration, start, end."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dar_search.errors import StoreUnavailable
from dar_search.settings import owner_only
from dar_search.stores.node.home import THAI_POLICY
from dar_search.stores.node.java import Java

LOOPBACK = "127.0.0.1"
_TAIL_LINES = 30
_WARDEN = Path(__file__).with_name("warden.py")
# One light compiler and the plainest collector.
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_LOG_CONFIGURATION = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True, slots=True)
class User:
    """Whom the server runs as. None in place of a User: as the caller."""

    uid: int
    gid: int


class ReservedPort:
    """A loopback port that nobody else is given while this object lives, though a server may listen on it.

    The socket is bound and never listens; on Linux a second socket may bind the same port if both ask to reuse it,
    which OpenSearch does. Raises StoreUnavailable where the port is taken.
    """

    def __init__(self, number: int = 0) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((LOOPBACK, number))
        except OSError as error:
            self._socket.close()
            raise StoreUnavailable(
                f"Port {number} cannot be used: {error.strerror}.", "Name another, or 0 for any free one."
            ) from error
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Server:
    """What all nodes of a cluster have in common.

    Attributes:
        home: with lib, modules and plugins; shared, never written.
        folder: has a folder for each node.
        java_options: that this version of the server wants.
        quick: starts with half the work, and then searches slower.
        disposable: a folder to remove if this process dies, or None.
    """

    home: Path
    folder: Path
    java: Java
    java_options: tuple[str, ...]
    main_class: str
    heap: str
    quick: bool
    user: User | None
    disposable: Path | None


class Node:
    """A server process that can be started, ended, killed and started again with the same data and ports.

    Args:
        name: node-1 and so on; also the folder's name under `server.folder`.
        settings: of opensearch.yml, flat.
    """

    def __init__(self, name: str, server: Server, settings: Mapping[str, str]) -> None:
        self.name = name
        self.folder = server.folder / name
        self._server = server
        self._warden: subprocess.Popen[bytes] | None = None
        self._write_files(settings)

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "output.log"

    @property
    def running(self) -> bool:
        return self._warden is not None and self._warden.poll() is None

    def start(self) -> None:
        """Starts the process, and does not wait until it answers."""
        if self.running:
            return
        uid, gid = (str(self._server.user.uid), str(self._server.user.gid)) if self._server.user else ("-", "-")
        self._warden = subprocess.Popen(
            [
                *(sys.executable, "-I", _WARDEN, uid, gid, self.log, self._server.disposable or "-"),
                *self._command(),
            ],
            stdin=subprocess.PIPE,
            cwd=self.folder,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the node in order
        )

    def become(self, server: Server) -> None:
        """Another server from its next start on, with the same data, ports and settings."""
        self._server = server

    def stop(self) -> None:
        """Ends the process gently: what was written is on disk, connections are closed."""
        self._tell(b"stop\n")

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        self._tell(b"kill\n")

    def wait(self) -> None:
        """Returns when the process has ended, by itself or by `stop` or `kill`."""
        if self._warden is not None:
            self._warden.wait()

    def tail(self) -> str:
        """The log's last lines, without the frames of stack traces, which would fill them all."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join([line for line in lines if not re.match(r"\s+(at |\.\.\. \d+ more)", line)][-_TAIL_LINES:])

    def _tell(self, word: bytes) -> None:
        warden, self._warden = self._warden, None
        if warden is None or warden.stdin is None:
            return
        try:
            warden.stdin.write(word)
            warden.stdin.close()
        except BrokenPipeError:  # it has ended already
            pass
        finally:
            warden.wait()

    def _write_files(self, settings: Mapping[str, str]) -> None:
        for name in ("config", "data", "logs", "tmp"):
            owner_only.make_folder(self.folder / name)
        paths = {"path.data": f"{self.folder / 'data'}", "path.logs": f"{self.folder / 'logs'}"}
        lines = {"node.name": self.name, **paths, **settings}
        (self.folder / "config" / "opensearch.yml").write_text(
            "".join(f"{key}: {value}\n" for key, value in lines.items())
        )
        (self.folder / "config" / "log4j2.properties").write_text(_LOG_CONFIGURATION)
        if self._server.user:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self._server.user.uid, self._server.user.gid, follow_symlinks=False)

    def _command(self) -> list[str]:
        thai = [] if self._server.java.thai else [f"-Djava.security.policy={self._server.home / THAI_POLICY}"]
        vector = ["--add-modules=jdk.incubator.vector"] if self._server.java.vector else []
        return [
            str(self._server.java.command),
            *(*vector, *thai, *(_QUICK if self._server.quick else ())),
            *(f"-Xms{self._server.heap}", f"-Xmx{self._server.heap}", "-Xshare:auto", "-XX:+ExitOnOutOfMemoryError"),
            f"-XX:ErrorFile={self.folder / 'logs' / 'crash-%p.log'}",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            "-Dfile.encoding=UTF-8",
            *self._server.java_options,
            "-Djna.nosys=true",
            "-Dio.netty.noUnsafe=true",
            "-Dio.netty.noKeySetOptimization=true",
            "-Dio.netty.recycler.maxCapacityPerThread=0",
            "-Dlog4j2.disable.jmx=true",
            "-Dlog4j.shutdownHookEnabled=false",
            f"-Dopensearch.path.home={self._server.home}",
            f"-Dopensearch.path.conf={self.folder / 'config'}",
            "-Dopensearch.distribution.type=tar",
            "-Dopensearch.bundled_jdk=false",
            *("-cp", f"{self._server.home / 'lib'}/*", self._server.main_class),
        ]


def readable_by(user: User | None, java: Java, cache: Path) -> Java:
    """The same runtime at a place that the user can read: copied into the cache where its own folder is closed (a
    virtual environment in root's home)."""
    if user is None or open_to_all(java.home):
        return java
    copied = cache / f"java-{java.version}"
    if not copied.is_dir():
        partial = copied.with_name(f".{copied.name}-{os.getpid()}")
        shutil.copytree(java.home, partial, symlinks=False)
        try:
            partial.rename(copied)
        except OSError:  # another process was first
            shutil.rmtree(partial)
    return Java(copied, java.version, java.vector, java.thai)


def open_to_all(path: Path) -> bool:
    """Whether everybody may enter and list a folder, and those that it is in."""
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path.resolve(), *path.resolve().parents))
