"""The query-rewriter service: a Flask app over `dar_search.method.rewriting` and `dar_search.method.retrieval`."""
