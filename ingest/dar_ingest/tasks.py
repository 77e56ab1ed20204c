"""Celery, as far as it is used: one task, whose message says "look at this shard".

A message is acknowledged before the work, because the ledger and not the broker knows what is done: one that is lost is
sent again by the sweeper, and one that comes twice finds nothing to do. The pool is solo: the worker's process starts
and supervises decoder processes, which a daemonic child may not, and limits them itself.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state
from kombu.exceptions import OperationalError

from dar_ingest.broker import reached
from dar_ingest.runtime import Runtime, Send
from dar_search.errors import ServiceUnreachable, WorkerEnded
from dar_search.ingestion.pipeline.working import Worker
from dar_search.settings import Settings

_LOG = logging.getLogger(__name__)

LOOK_AT_SHARD = "dar_ingest.look_at_shard"
_SOCKET_SECONDS = 5


def celery_app(settings: Settings) -> Celery:
    """Celery on the settings' broker. It connects when a message is sent or a worker starts. Raises SettingsError."""
    url, tls = reached(settings.ingest.broker or "", settings.ingest.broker_ca_file)
    app = Celery("dar_ingest", broker=url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls,
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=settings.ingest.queue,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        # A worker answers no question while it works; and on RabbitMQ a second one of the same machine could not start,
        # whose queue for questions has the same name and is the first one's alone.
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_channel_error_retry=True,  # a queue that was deleted, or a channel that the broker closed, is made anew
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
        try:
            app.send_task(LOOK_AT_SHARD, (job, shard))
        except OperationalError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise
            raise ServiceUnreachable(
                f"The broker's certificate is not trusted: {error}",
                "Name its authority (ingest.broker_ca_file), and the broker as its certificate does.",
            ) from error

    return send


def run_worker(runtime: Runtime) -> None:
    """A Celery worker with its sweeper, until a signal: what is in hand then is finished, the rest given back.

    Raises WorkerEnded where Celery ends it for another reason.
    """
    app = celery_app(runtime.settings)
    app.steps["consumer"].add(_OneMessage)
    worker = runtime.worker()
    app.task(_looking(worker), name=LOOK_AT_SHARD)
    sweeper = runtime.sweeper(sender(app))
    asked: list[str] = []

    def stopping(sig: str, **_: Any) -> None:
        asked.append(sig)
        worker.stop()

    def leave(number: int, frame: Any) -> None:
        asked.append("SIGTERM")
        sys.exit(0)

    signals.worker_shutting_down.connect(stopping)
    signal.signal(signal.SIGTERM, leave)  # until Celery has its own way to end
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
    if not asked:
        raise WorkerEnded(
            "The worker was ended by Celery, and nobody asked for it.", "Its log says why; start it again."
        )


class _OneMessage(bootsteps.Step):  # type: ignore[misc]
    """Before a shard is worked on, its message is acknowledged, and no other is on its way to this worker.

    Celery acknowledges on its event loop, which does not turn while the solo pool works; and for an acknowledged
    message RabbitMQ sends the next, to wait beside the work. A message that waits longer than the broker's time limit
    has its channel closed, and meanwhile no other worker can have it.
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        look = consumer.on_task_request

        def acknowledge_and_look(request: Any) -> None:
            if state.should_stop is not None:
                return  # it came while the consumer was being cancelled: the broker gives it to another worker
            lost = consumer.connection_errors + consumer.channel_errors
            try:
                consumer.task_consumer.cancel()
                request.message.ack()
            except lost as error:
                # The broker will bring it again, which does no harm.
                _LOG.warning("A message could not be acknowledged (%s: %s).", type(error).__name__, error)
            request.acknowledged = True
            look(request)
            # From the event loop: where the broker or the queue is gone this raises, and Celery connects again. Some of
            # those who bring a message here drop what it raises.
            consumer.call_soon(consumer.task_consumer.consume)

        consumer.on_task_request = acknowledge_and_look


def _looking(worker: Worker) -> Any:
    def look_at_shard(job: str, shard: int) -> None:
        worker.work(str(job), int(shard))

    return look_at_shard


def _is_redis(settings: Settings) -> bool:
    return str(settings.ingest.broker).startswith("redis")
