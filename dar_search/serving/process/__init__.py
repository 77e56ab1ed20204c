"""The process that answers: gunicorn's worker with bounds on what a caller can hold."""
