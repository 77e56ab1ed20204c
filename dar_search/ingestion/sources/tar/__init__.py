"""Tar shards: their members, which sidecar is whose, and the source that lists them."""
