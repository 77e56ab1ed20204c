"""What both services share, above WSGI and below any web framework: keys, limits, logs, metrics, the server."""
