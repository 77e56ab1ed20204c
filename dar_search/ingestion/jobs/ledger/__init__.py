"""The ledger's rules, over rows that an adapter keeps (SQLite and OpenSearch: `stores`)."""
