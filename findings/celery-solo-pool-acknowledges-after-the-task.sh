#!/bin/bash
# Celery 5.7.0, pool "solo", with task_acks_late off (the default) and a broker that is read through an event loop
# (Redis here, RabbitMQ too).
#
# One would guess: "early acknowledgement" means that the message is acknowledged just before the task runs, in each pool:
# that is what the documentation of task_acks_late says ("acknowledged ... just before the task is executed").
# True: the acknowledgement is only put on the worker's event loop (Consumer.call_soon_ack -> hub.call_soon), and with the
# solo pool that loop does not turn while the task runs. The message stays unacknowledged until the task has ended: a
# worker that dies gets the task delivered again, and RabbitMQ closes the channel of a task that is longer than its
# consumer_timeout. The threads pool acknowledges before, as said.
#
# Needs python3 with venv, and redis-server. Exits 0 while this is so.
set -u
T=$(mktemp -d); trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$T"' EXIT; pids=(); cd "$T" || exit 2
command -v redis-server > /dev/null || { echo "redis-server is not installed"; exit 2; }
python3 -m venv venv && venv/bin/pip install --quiet celery==5.7.0 kombu==5.7.0 redis==8.1.0 packaging==26.4 || exit 2
PORT=$(venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$PORT" --bind 127.0.0.1 --save "" --dir "$T" > /dev/null & pids+=($!)
cat > tasks.py <<PY
import time, redis
from celery import Celery
app = Celery("tasks", broker="redis://127.0.0.1:$PORT/0")
app.conf.worker_prefetch_multiplier = 1
@app.task
def look():
    """Says how many messages are unacknowledged while it runs."""
    client = redis.Redis(port=$PORT, protocol=2)
    deadline = time.monotonic() + 2  # long enough for another thread to acknowledge
    while (left := client.hlen("unacked")) and time.monotonic() < deadline:
        pass
    client.rpush("answer", left)
PY
cat > ask.py <<'PY'
import sys, redis
from tasks import app, look
look.delay()
answer = redis.Redis(port=int(sys.argv[1]), protocol=2, socket_timeout=90).blpop("answer", 60)
print(answer[1].decode() if answer else "no answer")
PY
export PYTHONPATH=$T
unacknowledged() {  # POOL -> messages unacknowledged while the task runs
  venv/bin/celery -A tasks worker --pool "$1" --concurrency 1 --loglevel ERROR > "$1.log" 2>&1 & local worker=$!; pids+=("$worker")
  venv/bin/python ask.py "$PORT"; kill "$worker"; wait "$worker" 2>/dev/null
}
venv/bin/python -c 'import celery, kombu, redis; print("celery", celery.__version__, "kombu", kombu.__version__, "redis", redis.__version__)'
solo=$(unacknowledged solo); threads=$(unacknowledged threads)
echo "messages unacknowledged while the task runs: solo $solo, threads $threads"
[ "$solo" = 1 ] && [ "$threads" = 0 ]
