"""Other frameworks' doors to a query service, over `dar_search.client`; each needs its own extra."""
