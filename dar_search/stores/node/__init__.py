"""A real OpenSearch on this machine, without Docker: `LocalCluster` starts one to three nodes from Maven Central."""

from dar_search.stores.node.cluster import LocalCluster
from dar_search.stores.node.coordinates import read_coordinates

__all__ = ["LocalCluster", "read_coordinates"]
