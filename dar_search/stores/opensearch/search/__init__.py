"""Searching an index: filters as queries, legs joined on the server or here, pictures by their content."""
