"""Real OpenSearch clusters for tests: OPENSEARCH_URL, else Docker through testcontainers, else the local node.

DAR_TEST_OPENSEARCH names the version that Docker or the local node runs: 2.19 (if it is not set), 3.5 or 3.9. What a
cluster lacks is a reason to skip a test, and no failure: a version has a plugin or has not, whatever is installed here.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from dar_search.settings import load_settings
from dar_search.stores.node import DEFAULT_VERSION, ClusterRequest, LocalCluster, read_coordinates
from dar_search.stores.opensearch.cluster.calls import Cluster
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.cluster.features import detect

URL_VARIABLE = "OPENSEARCH_URL"
VERSION_VARIABLE = "DAR_TEST_OPENSEARCH"
#: Of a run's clusters. Read once: tests of the command take such variables away.
VERSION = os.environ.get(VERSION_VARIABLE) or DEFAULT_VERSION


@contextmanager
def any_cluster() -> Iterator[str]:
    """The address of a cluster with all plugins that its version has; started if need be, and ended then."""
    with ExitStack() as stack:
        yield os.environ.get(URL_VARIABLE) or _in_docker(stack) or stack.enter_context(local_cluster()).url


def local_cluster(nodes: int = 1, *, without: tuple[str, ...] = (), version: str = VERSION) -> LocalCluster:
    """A local cluster, not yet started: for tests that kill nodes or leave plugins out (those that it has)."""
    coordinates = read_coordinates(version)
    plugins = coordinates.names_without([name for name in without if name in coordinates.plugins])
    return LocalCluster(ClusterRequest(nodes, version, plugins, quick=True, seconds=300))


def need(url: str, plugin: str) -> str:
    """The cluster's address. Skips the test where it lacks "knn" or "neural-search"."""
    client = connect(url, load_settings())
    try:
        features = detect(Cluster(client, retry_seconds=0))
    finally:
        client.close()
    if not (features.has_knn if plugin == "knn" else features.hybrid):
        pytest.skip(f"the cluster (OpenSearch {features.version}) has no {plugin}")
    return url


def _in_docker(stack: ExitStack) -> str | None:
    """The address of a container, or None where no Docker engine answers or it cannot have the image."""
    if not _engine_answers():
        return None
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    image = f"opensearchproject/opensearch:{read_coordinates(VERSION).version}"
    try:
        container = (
            DockerContainer(image)
            .with_env("discovery.type", "single-node")
            .with_env("DISABLE_SECURITY_PLUGIN", "true")
            .with_env("DISABLE_INSTALL_DEMO_CONFIG", "true")
            .with_env("OPENSEARCH_JAVA_OPTS", "-Xms512m -Xmx512m")
            .waiting_for(HttpWaitStrategy(9200).for_status_code(200))
        )
        container.ports["9200/tcp"] = ("127.0.0.1",)  # any free port, of loopback alone
        stack.enter_context(container)
    except DockerException as error:
        sys.stderr.write(f"Docker answers, but {image} does not start ({error}): a local node is used.\n")
        return None
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(9200)}"


def _engine_answers() -> bool:
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        # docker's client leaves its socket to the garbage collector where no engine answers.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=5)
            client.close()
        except DockerException:
            answers = False
        else:
            answers = True
        gc.collect()
    return answers
