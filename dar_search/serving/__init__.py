"""What both services share, without a web framework: WSGI middleware and plain functions.

`guard.guarded` puts the layers around a service's app, and `runner.run_service` serves it. From the outside in:
tracing (by option) > recording (request id, log line, metrics) > host > CORS > key > rate limit > body > the app.
"""
