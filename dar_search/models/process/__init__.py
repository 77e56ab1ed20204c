"""Models in a process of their own: spawned, supervised, killed and restarted without harm to the caller's process.

`supervisor.ModelProcess` is the caller's side, `worker` the other; `tickets` says who waits for what and forms the
batches; `remote` puts the model ports on top; `hosted` is what the worker loads.
"""
