"""A real OpenSearch on this machine, without Docker: `LocalCluster` starts one to three nodes from Maven Central."""

from dar_search.stores.node.cluster import LocalCluster
from dar_search.stores.node.coordinates import read_coordinates
from dar_search.stores.node.request import ClusterRequest

__all__ = ["ClusterRequest", "LocalCluster", "read_coordinates"]
