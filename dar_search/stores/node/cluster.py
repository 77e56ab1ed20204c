"""A cluster of one to three nodes on this machine: started, waited for, ended with its parent."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import shutil
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from dar_search.errors import SettingsError, StoreUnavailable
from dar_search.stores.node.coordinates import Coordinates, read_coordinates
from dar_search.stores.node.home import cache_folder, prepared_home
from dar_search.stores.node.java import Java, find_java
from dar_search.stores.node.process import LOOPBACK, Node, ReservedPort, Server, User, open_to_all, readable_by
from dar_search.stores.node.request import ClusterRequest
from dar_search.stores.opensearch.cluster.features import NO_FAISS, NO_FAISS_ATTRIBUTE

_POLL_SECONDS = 0.05
# An unprivileged user that every Unix has; a server started by root runs as it.
_UNPRIVILEGED = "nobody"


class LocalCluster:
    """A real OpenSearch cluster on loopback, as a context manager.

    The first start lays the server out from Maven Central into a cache. It runs without TLS and without users: for
    development and tests, on a machine that is yours.

    Attributes:
        urls: one address a node.
    """

    def __init__(self, request: ClusterRequest | None = None) -> None:
        self._request = request = request or ClusterRequest()
        self._user = user = _unprivileged_user()
        coordinates = read_coordinates(request.version)
        home, java = _laid_out(request, coordinates, user)

        self.version = coordinates.version
        self._disposable = None if request.data else _temporary_folder(user)
        self._ports: list[ReservedPort] = []
        try:
            web = [self._reserved(request.port + index if request.port else 0) for index in range(request.nodes)]
            inner = [self._reserved(0) for _ in range(request.nodes)]
            self._folder = self._disposable or _kept_folder(request.data, user)
        except BaseException:
            self._release()
            raise
        self.urls = tuple(f"http://{LOOPBACK}:{number}" for number in web)
        server = self._server(coordinates, home, java)
        self._nodes = tuple(
            Node(_name(index), server, {**_settings(index, web, inner), **request.settings})
            for index in range(len(web))
        )

    @property
    def url(self) -> str:
        """The first node's address."""
        return self.urls[0]

    @property
    def logs(self) -> tuple[Path, ...]:
        """Each node's log file."""
        return tuple(node.log for node in self._nodes)

    def start(self) -> LocalCluster:
        """Starts all nodes, and waits until the cluster is whole. Raises StoreUnavailable with the log's tail."""
        try:
            for node in self._nodes:
                node.start()
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Ends all nodes; gently where the data is kept."""
        for node in self._nodes:
            if self._disposable:
                node.kill()
            else:
                node.stop()
        self._release()

    def kill(self, index: int) -> None:
        """Ends a node (the first is 0) as a crash would. Returns when it has ended."""
        self._nodes[index].kill()

    def restart(self, index: int, *, wait: bool = True) -> None:
        """Starts an ended node again, with its data and ports, and (or not) waits until the cluster is whole."""
        self._nodes[index].start()
        if wait:
            self.wait()

    def upgrade(self, index: int, version: str) -> None:
        """Ends a node gently, starts it again as another version with its data and ports, and waits until the cluster
        is whole. The cluster has that version when all nodes do."""
        request = replace(self._request, version=version, plugins=None)
        coordinates = read_coordinates(version)
        server = self._server(coordinates, *_laid_out(request, coordinates, self._user))
        self._nodes[index].stop()
        self._nodes[index].become(server)
        self.restart(index)

    def wait(self, status: str = "yellow") -> None:
        """Returns when every running node answers and all are one cluster of at least this status."""
        deadline = time.monotonic() + self._request.seconds
        running = [(node, url) for node, url in zip(self._nodes, self.urls, strict=True) if node.running]
        for node, url in running:
            query = f"wait_for_nodes={len(running)}&wait_for_status={status}&timeout=1s"
            while not _whole(url, query):
                if not node.running:
                    raise _ended_badly(node, "ended at its start")
                if time.monotonic() > deadline:
                    raise _ended_badly(node, f"was not ready in {self._request.seconds:g} s")
                time.sleep(_POLL_SECONDS)

    def wait_for_end(self, ended: threading.Event) -> None:
        """Returns when the event is set. Raises StoreUnavailable where a node ends before that."""
        lost: list[Node] = []

        def watch(node: Node) -> None:
            node.wait()
            lost.append(node)
            ended.set()

        for node in self._nodes:
            threading.Thread(target=watch, args=(node,), daemon=True).start()
        ended.wait()
        if lost:
            raise _ended_badly(lost[0], "ended by itself")

    def __enter__(self) -> LocalCluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _server(self, coordinates: Coordinates, home: Path, java: Java) -> Server:
        return Server(
            home=home,
            folder=self._folder,
            java=java,
            java_options=coordinates.java_options,
            main_class=coordinates.main_class,
            heap=self._request.heap,
            quick=self._request.quick,
            user=self._user,
            disposable=self._disposable,
        )

    def _reserved(self, number: int) -> int:
        self._ports.append(ReservedPort(number))
        return self._ports[-1].number

    def _release(self) -> None:
        for port in self._ports:
            port.close()
        if self._disposable:
            shutil.rmtree(self._disposable, ignore_errors=True)


def _laid_out(request: ClusterRequest, coordinates: Coordinates, user: User | None) -> tuple[Path, Java]:
    """The server's home and the Java that runs it, both readable by the user that it runs as."""
    cache = request.cache or cache_folder()
    plugins = coordinates.plugins_named(tuple(coordinates.plugins if request.plugins is None else request.plugins))
    java = find_java(coordinates.java_lowest, coordinates.java_highest, request.java)
    home = prepared_home(coordinates, plugins, thai=java.thai, cache=cache, report=request.report)
    return home, readable_by(user, java, cache)


def _name(index: int) -> str:
    return f"node-{index + 1}"


def _settings(index: int, web: Sequence[int], inner: Sequence[int]) -> dict[str, str]:
    """A node's lines of opensearch.yml. web, inner: the ports for HTTP and between the nodes, one a node."""
    return {
        "cluster.name": "dar-local",
        "network.host": LOOPBACK,
        "http.port": str(web[index]),
        "transport.port": str(inner[index]),
        "discovery.seed_hosts": json.dumps([f"{LOOPBACK}:{number}" for number in inner]),
        "cluster.initial_cluster_manager_nodes": json.dumps([_name(other) for other in range(len(inner))]),
        # A developer's disk is often fuller than a server's may be; a full one still fails to write.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        # Maven Central's k-NN plugin comes without them: an index with faiss would end the node.
        f"node.attr.{NO_FAISS_ATTRIBUTE}": NO_FAISS,
    }


def _whole(url: str, query: str) -> bool:
    """Asks the node, which itself waits up to a second; False where it does not answer yet."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    try:
        connection.request("GET", f"/_cluster/health?{query}")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return answer.get("timed_out") is False


def _ended_badly(node: Node, what: str) -> StoreUnavailable:
    """With the log's telling line in the message, and its tail as a note: the log itself may be removed."""
    tail = node.tail()
    telling = [line for line in tail.splitlines() if re.search(r"(Exception|Error)\b", line)]
    error = StoreUnavailable(
        f"OpenSearch's {node.name} {what}: {telling[-1] if telling else 'its log does not say why'}",
        "More memory or time may help (heap, seconds); `dar dev opensearch --data FOLDER` keeps the log.",
    )
    error.add_note(tail)
    return error


def _unprivileged_user() -> User | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return User(entry.pw_uid, entry.pw_gid)


def _temporary_folder(user: User | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dar-opensearch-"))
    if user:
        os.chown(folder, user.uid, user.gid)
    return folder


def _kept_folder(data: Path | None, user: User | None) -> Path:
    folder = Path(data or ".").expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if user and not open_to_all(folder):
        raise SettingsError(
            f"A server that root starts runs as {_UNPRIVILEGED}, which cannot enter {folder}.",
            "Name a folder that everybody may enter, such as one in /var/lib, or start it as another user.",
        )
    return folder
