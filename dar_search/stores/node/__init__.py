"""A real OpenSearch on this machine, without Docker: `LocalCluster` starts one to three nodes from Maven Central."""

from dar_search.stores.node.cluster import LocalCluster

__all__ = ["LocalCluster"]
