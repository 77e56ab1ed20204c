"""A real OpenSearch on this machine, without Docker: `LocalCluster` starts one to three nodes from Maven Central."""

from dar_search.stores.node.cluster import LocalCluster
from dar_search.stores.node.coordinates import DEFAULT_VERSION, read_coordinates, versions
from dar_search.stores.node.request import ClusterRequest

__all__ = ["DEFAULT_VERSION", "ClusterRequest", "LocalCluster", "read_coordinates", "versions"]
