"""Real message brokers on loopback ports of their own, which tests stop, start and empty."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import kombu
import redis
import trustme

from tests.programs import free_port, needed

_START_SECONDS = 60.0


def wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers():
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < deadline, f"{process.args!r} does not answer"
        time.sleep(0.02)


class Certificate:
    """A server's certificate as files, and what vouches for it."""

    def __init__(self, folder: Path, authority: trustme.CA, *names: str) -> None:
        leaf = authority.issue_cert(*names)
        self.authority, self.chain, self.key = folder / "ca.pem", folder / "chain.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        leaf.private_key_pem.write_to_path(str(self.key))
        for number, part in enumerate(leaf.cert_chain_pems):
            part.write_to_path(str(self.chain), append=number > 0)


class RedisServer:
    """A redis-server without files. certificate: it listens for TLS, beside its open port."""

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        self._program = needed("redis-server")
        self._folder = folder
        self._certificate = certificate
        self.port, self.tls_port = free_port(), free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if (certificate := self._certificate) is not None:
            command += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", str(certificate.chain), "--tls-key-file", str(certificate.key)]
            command += ["--tls-ca-cert-file", str(certificate.authority)]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        client = redis.Redis(port=self.port, socket_timeout=5, protocol=2)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        wait_until(answers, self.process)
        client.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def lose_everything(self) -> None:
        client = redis.Redis(port=self.port, protocol=2)
        client.flushall()
        client.close()

    def unacknowledged(self) -> int:
        """Messages that a worker has and has not acknowledged."""
        client = redis.Redis(port=self.port, protocol=2)
        count = client.hlen("unacked")
        client.close()
        return int(count)

    def close_connections(self) -> None:
        """As an idle limit of a firewall would."""
        client = redis.Redis(port=self.port, protocol=2)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.close()

    def close(self) -> None:
        self.stop()


class RabbitServer:
    """A RabbitMQ with all its files in a folder, and an Erlang port mapper of its own. certificate: see RedisServer."""

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        needed("rabbitmq-server")  # its wrapper, which changes the user; the program itself is started
        (program,) = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server")
        self._program = program
        self._folder = folder
        self.port, self.tls_port = free_port(), free_port()
        mapper = str(free_port())
        self._environment = os.environ | {
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": mapper,
            "RABBITMQ_NODENAME": f"dar-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "configuration"),
        }
        (folder / "plugins").write_text("[].")
        (folder / "environment").touch()
        if certificate is not None:
            (folder / "configuration.conf").write_text(
                f"listeners.ssl.default = 127.0.0.1:{self.tls_port}\n"
                f"ssl_options.cacertfile = {certificate.authority}\n"
                f"ssl_options.certfile = {certificate.chain}\nssl_options.keyfile = {certificate.key}\n"
            )
        self._mapper = subprocess.Popen([needed("epmd"), "-address", "127.0.0.1", "-port", mapper])
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        with (self._folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [self._program], env=self._environment, stdout=output, stderr=output, process_group=0
            )

        def answers() -> bool:
            try:
                with kombu.Connection(self.url, connect_timeout=5) as connection:
                    connection.connect()
            except (OSError, kombu.exceptions.KombuError):
                return False
            return True

        wait_until(answers, self.process)

    def stop(self) -> None:
        """As a crash would."""
        os.killpg(self.process.pid, 9)  # the script that starts it, and it
        self.process.wait()

    def lose_everything(self) -> None:
        with kombu.Connection(self.url) as connection:
            connection.default_channel.queue_purge("dar-ingest")

    def unacknowledged(self) -> int:
        """Messages that a worker has and has not acknowledged, those that wait at it among them."""
        listed = self._control("list_queues", "--quiet", "--no-table-headers", "messages_unacknowledged")
        return sum(int(count) for count in listed.split())

    def close_connections(self) -> None:
        """As a time limit of the broker would: from its side, with a reason."""
        self._control("close_all_connections", "a test")

    def wait_for_consumer(self) -> None:
        """Until a worker listens to the queue."""
        wait_until(
            lambda: "dar-ingest" in self._control("list_consumers", "--quiet", "--no-table-headers"), self.process
        )

    def delete_queue(self) -> None:
        self._control("delete_queue", "dar-ingest")

    def _control(self, *arguments: str) -> str:
        command = [str(self._program.with_name("rabbitmqctl")), "-n", self._environment["RABBITMQ_NODENAME"]]
        return subprocess.run(
            [*command, *arguments], env=self._environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def close(self) -> None:
        self.stop()
        self._mapper.kill()
        self._mapper.wait()


Broker = RedisServer | RabbitServer
