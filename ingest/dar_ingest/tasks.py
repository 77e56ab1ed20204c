"""Celery, as far as it is used: one task, whose message says "look at this shard".

A message is acknowledged before the work, because the ledger and not the broker knows what is done: one that is lost is
sent again by the sweeper, and one that comes twice finds nothing to do. The pool is solo: the worker's process starts
and supervises decoder processes, which a daemonic child may not, and limits them itself.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from dar_ingest.runtime import Runtime, Send
from dar_search.ingestion.working import Worker
from dar_search.settings import Settings

LOOK_AT_SHARD = "dar_ingest.look_at_shard"
_SOCKET_SECONDS = 5


def celery_app(settings: Settings) -> Celery:
    """Celery on the settings' broker. It connects when a message is sent or a worker starts."""
    app = Celery("dar_ingest", broker=settings.ingest.broker, set_as_current=False)
    app.conf.update(
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=settings.ingest.queue,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_heartbeat=0,  # nobody answers one while a shard is worked on: RabbitMQ would take the worker for dead
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_SOCKET_SECONDS,
        broker_transport_options={"socket_connect_timeout": _SOCKET_SECONDS} if _is_redis(settings) else {},
    )
    return app


def sender(app: Celery) -> Send:
    """Sends the message. Raises what the broker's client raises."""

    def send(job: str, shard: int) -> None:
        app.send_task(LOOK_AT_SHARD, (job, shard))

    return send


def run_worker(runtime: Runtime) -> None:
    """A Celery worker with its sweeper, until a signal: what is in hand then is finished, the rest given back."""
    app = celery_app(runtime.settings)
    worker = runtime.worker()
    app.task(_looking(worker), name=LOOK_AT_SHARD)
    sweeper = runtime.sweeper(sender(app))

    def stopping(**_: Any) -> None:
        worker.stop()

    signals.worker_shutting_down.connect(stopping)
    sweeper.start()
    try:
        app.Worker(
            pool="solo",
            concurrency=1,
            queues=[runtime.settings.ingest.queue],
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
            loglevel="WARNING",
            quiet=True,
        ).start()
    finally:
        worker.stop()
        sweeper.stop()
        signals.worker_shutting_down.disconnect(stopping)
        app.close()


def _looking(worker: Worker) -> Any:
    def look_at_shard(job: str, shard: int) -> None:
        worker.work(str(job), int(shard))

    return look_at_shard


def _is_redis(settings: Settings) -> bool:
    return str(settings.ingest.broker).startswith("redis")
