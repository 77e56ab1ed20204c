"""OpenSearch as a store of pictures and as a ledger of jobs."""
