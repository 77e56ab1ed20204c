"""The query-rewriter service: a Flask app over `dar_search.rewriting` and `dar_search.retrieval`."""
