"""The ingest service: a Flask app and Celery tasks over `dar_search.ingestion`."""
