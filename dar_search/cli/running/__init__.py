"""What commands do beside printing: open indices, search, converse, check, serve the demo's page."""
