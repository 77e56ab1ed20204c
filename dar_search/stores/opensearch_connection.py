"""Connections to OpenSearch: hosts, credentials, certificates -> a client."""

from dar_search.stores.opensearch_errors import mapped as mapped
