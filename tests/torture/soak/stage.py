"""The real parts on loopback: a node behind a proxy, Redis, both services and a Celery worker, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import urllib3

from tests.brokers import RedisServer
from tests.clusters import local_cluster
from tests.programs import free_port
from tests.torture.service_arena import picture
from tests.torture.soak.spoiling_proxy import SpoilingProxy

INDEX, LEDGER = "soak", "soak-ledger"
ALBUMS, ALBUM, LARGE = 8, 6, 600
#: Of a list of pictures that are not there; their names are long, so that the page of failures is some megabytes.
MISSING, NAME = 1_500, 3_000
SERVICES = ("query", "ingest")
PARTS = (*SERVICES, "worker")
COMMANDS = {"query": "serve", "ingest": "ingest-serve", "worker": "ingest-work"}
DECODER, MODEL = "dar_search.ingestion.decoding.decoder_process", "dar_search.models.process.worker"
_START_SECONDS = 300.0
#: What is lost to a fault comes back in seconds, so that a soak has time for all of them.
_HASTE = {
    "DAR_INGEST__BEAT_SECONDS": "0.5",
    "DAR_INGEST__LEASE_SECONDS": "6",
    "DAR_INGEST__RESEND_SECONDS": "2",
    "DAR_INGEST__RESUME_SECONDS": "2",
    "DAR_INGEST__SWEEP_SECONDS": "1",
    "DAR_INGEST__DECODERS": "1",
    "DAR_MODEL_PROCESS__MODE": "shared",
    "DAR_OPENSEARCH__TIMEOUT": "6",
    "DAR_OPENSEARCH__CONNECT_TIMEOUT": "2",
    "DAR_OPENSEARCH__RETRY_SECONDS": "10",
    "OMP_NUM_THREADS": "1",
}


class Stage:
    """Everything that is soaked; use `on_stage`.

    Attributes:
        folder: pictures, logs, and the environment that the parts run in.
        cluster: the node's own address, past the proxy.
        python: the parts' interpreter: the project's own environment under another path, which can be taken away.
        ended: a line for each part that ended, unless it was ended by `kill`.
    """

    def __init__(self, folder: Path, cluster: str, proxy: SpoilingProxy, redis: RedisServer) -> None:
        self.folder, self.cluster, self.proxy, self.redis = folder, cluster, proxy, redis
        self.python = _environment_of_its_own(folder / "environment")
        self.ports = {name: free_port() for name in SERVICES}
        self.admin_ports = {name: free_port() for name in SERVICES}
        self.ended: list[str] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_up, name="keeper")
        self._paint()

    @property
    def store_port(self) -> int:
        return int(self.proxy.url.rsplit(":", 1)[1])

    def address(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def admin(self, service: str) -> str:
        return f"http://127.0.0.1:{self.admin_ports[service]}"

    def album(self, number: int) -> Path:
        return self.folder / "pictures" / f"album-{number % ALBUMS}"

    @property
    def large(self) -> Path:
        """A folder whose job takes some time: several shards."""
        return self.folder / "pictures" / "large"

    @property
    def missing(self) -> Path:
        return self.folder / "pictures" / "missing.jsonl"

    def start(self) -> None:
        """Starts all parts, and waits until both services are ready."""
        for part in PARTS:
            self._start(part)
        for service in SERVICES:
            self.wait_for(f"{self.address(service)}/_dar/ready", service)
        self._keeper.start()

    def wait_for(self, url: str, part: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                if urllib3.request("GET", url, retries=False, timeout=10).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass  # it does not listen yet
            if self._running[part].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{part} is not ready: {self.log(part).read_text('utf-8', 'replace')[-3000:]}")
            time.sleep(0.2)

    def process(self, part: str) -> psutil.Process | None:
        """The part's first process; None while it is being started again."""
        with self._lock:
            running = self._running[part]
        try:
            return psutil.Process(running.pid) if running.poll() is None else None
        except psutil.NoSuchProcess:
            return None

    def family(self, part: str, module: str = "") -> list[psutil.Process]:
        """The part's processes, or those of them that run a module."""
        first = self.process(part)
        if first is None:
            return []
        try:
            family = [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        return [one for one in family if not module or module in _command(one)]

    def kill(self, part: str, *, whole: bool = False) -> None:
        """As an out-of-memory killer does, the first process alone; or all that have not made themselves independent.
        It is started again, as by a supervisor."""
        with self._lock:
            running = self._running[part]
            if whole:
                _end_group(running.pid)
            running.kill()
            running.wait()
            self._start(part)

    def begin_anew(self) -> None:
        """All parts, for what comes next: one of them did not come back by itself."""
        for part in PARTS:
            self.kill(part, whole=True)
        for service in SERVICES:
            self.wait_for(f"{self.address(service)}/_dar/ready", service)

    def log(self, part: str) -> Path:
        return self.folder / f"{part}.log"

    def close(self) -> None:
        self._closing.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, part: str) -> None:
        with self.log(part).open("ab") as log:
            self._running[part] = subprocess.Popen(
                [self.python, "-m", "dar_search", COMMANDS[part]],
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _keep_up(self) -> None:
        """Parts that end are started again, and written down."""
        while not self._closing.wait(0.5):
            for part in PARTS:
                with self._lock:
                    status = self._running[part].poll()
                    if status is None or not self.python.exists():
                        continue
                    self._start(part)
                self.ended.append(f"{part} ended with status {status}")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
        return kept | _HASTE | self._settings()

    def _settings(self) -> Mapping[str, str]:
        return {
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "DAR_DATA_FOLDER": str(self.folder / "data"),
            "DAR_STORE": self.proxy.url,
            "DAR_ENCODER": "demo",
            "DAR_IMAGINATION_CACHE": self.redis.url.removesuffix("0") + "1",
            "DAR_INGEST__LEDGER": self.proxy.url,
            "DAR_INGEST__LEDGER_INDEX": LEDGER,
            "DAR_INGEST__BROKER": self.redis.url,
            "DAR_INGEST__SOURCES": json.dumps([str(self.folder / "pictures")]),
            "DAR_INGEST__PORT": str(self.ports["ingest"]),
            "DAR_INGEST__ADMIN_PORT": str(self.admin_ports["ingest"]),
            "DAR_QUERY__PORT": str(self.ports["query"]),
            "DAR_QUERY__ADMIN_PORT": str(self.admin_ports["query"]),
            "DAR_QUERY__SERVED_INDICES": json.dumps([INDEX]),
        }

    def _paint(self) -> None:
        for folder, count, first in (
            *((self.album(number), ALBUM, 100 * number) for number in range(ALBUMS)),
            (self.large, LARGE, 10_000),
        ):
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:04}.png").write_bytes(picture(first + number))
        name = "/".join(["x" * 199] * (NAME // 200))
        self.missing.write_text("".join(json.dumps({"path": f"{name}/{n}.png"}) + "\n" for n in range(MISSING)))


@contextmanager
def on_stage(folder: Path) -> Iterator[Stage]:
    """All parts, started; ended with the block. The folder is new."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        cluster = stack.enter_context(local_cluster())
        proxy = stack.enter_context(SpoilingProxy(cluster.url))
        redis = RedisServer(folder)
        stack.callback(redis.close)
        stage = Stage(folder, cluster.url, proxy, redis)
        stack.callback(stage.close)
        stage.start()
        yield stage


def _environment_of_its_own(folder: Path) -> Path:
    """A virtual environment that is this one's under another path -> its interpreter."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    library = Path(sysconfig.get_path("purelib")).parent
    (folder / "lib").mkdir()
    (folder / "lib" / library.name).symlink_to(library)
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    return python


def _end_group(group: int) -> None:
    """Returns when none of it is left but its leader, whose parent is to wait for it."""
    os.killpg(group, signal.SIGKILL)
    while any(process.status() != psutil.STATUS_ZOMBIE for process in _group(group)):
        time.sleep(0.05)


def _group(group: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group:
                yield process


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
