"""The stack of docker-compose.yml as processes of this machine: the same commands with the same environment.

What differs is listed in `Stack`: where a container's host, port or folder is on this machine, and times that make a
killed process's work pass on in seconds. nginx speaks TLS before the node, with the certificate that the compose file's
own first step made; behind it a gate holds the roles and users that the compose file's second step put there.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.compose_file import ROOT
from tests.programs import found, free_port

#: Short, so that what a killed process held is taken over in seconds; one encoder for a service's models, one decoder.
HASTE = {
    "DAR_INGEST__BEAT_SECONDS": "0.5",
    "DAR_INGEST__LEASE_SECONDS": "4",
    "DAR_INGEST__RESEND_SECONDS": "2",
    "DAR_INGEST__RESUME_SECONDS": "2",
    "DAR_INGEST__SWEEP_SECONDS": "0.5",
    "DAR_INGEST__BATCH_SIZE": "8",
    "DAR_INGEST__DECODERS": "1",
    "DAR_MODEL_PROCESS__MODE": "shared",
    "OMP_NUM_THREADS": "1",
}
_PORTS = {"ingest": ("DAR_INGEST__PORT", 8960), "query": ("DAR_QUERY__PORT", 8950)}
_ADMIN_PORTS = {"ingest": "DAR_INGEST__ADMIN_PORT", "query": "DAR_QUERY__ADMIN_PORT"}
_PATIENCE = 120.0


class Stack:
    """Processes by the names of their services. `stop` ends all that were started.

    Args:
        services: of the compose file, everything filled in.
        folder: where containers' volumes are.
        pictures: the folder that is mounted as /pictures.
        gate: the address of the node, behind its gate.
        extra: variables that tests may not share with others, such as an index's name.
    """

    def __init__(
        self, services: Mapping[str, Any], folder: Path, pictures: Path, gate: str, extra: Mapping[str, str]
    ) -> None:
        self._services, self._folder, self._gate, self._extra = services, folder, gate, dict(extra)
        self._tls = free_port()
        self._redis = free_port()
        self.ports = {name: free_port() for name in _PORTS}
        self.admin_ports = {name: free_port() for name in _ADMIN_PORTS}
        self._places = {
            "https://opensearch:9200": f"https://localhost:{self._tls}",
            "@redis:6379": f"@127.0.0.1:{self._redis}",
            "exec redis-server -": f"exec redis-server - --bind 127.0.0.1 --port {self._redis}",
            "redis-cli ping": f"redis-cli -p {self._redis} ping",
            "0.0.0.0": "127.0.0.1",
            "/pictures": str(pictures),
            "/security": str(ROOT / "opensearch" / "security"),
            "/roles": str(ROOT / "opensearch" / "roles"),
            "/certificates/": f"{folder}/certificates/",
            "/var/lib/dar": str(folder / "data"),
            "dir /data": f"dir {folder}/redis",
            **{f"127.0.0.1:{inside}": f"127.0.0.1:{self.ports[name]}" for name, (_, inside) in _PORTS.items()},
        }
        for place in ("certificates/authority", "certificates/node", "data", "redis", "nginx", "home", "tmp"):
            (folder / place).mkdir(parents=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def authority(self) -> Path:
        return self._folder / "certificates/authority/ca.pem"

    def run_once(self, name: str) -> str:
        """A service that ends by itself; what it said. It has to succeed."""
        done = subprocess.run(
            self._command(name), env=self._environment(name), cwd=self._folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, name: str) -> None:
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                self._command(name),
                env=self._environment(name),
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_nginx(self) -> None:
        """TLS with the certificate of the first step; who may do what is the gate's matter."""
        folder, node = self._folder / "nginx", self._folder / "certificates/node"
        program = found("nginx")
        assert program
        temporary = " ".join(
            f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        owner = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"daemon off; {owner} worker_processes 1; pid {folder}/nginx.pid; events {{ }}\n"
            f"http {{ access_log off; {temporary} client_max_body_size 100m;\n"
            f"server {{ listen 127.0.0.1:{self._tls} ssl; ssl_certificate {node}/node.pem;\n"
            f"ssl_certificate_key {node}/node.key;\n"
            f"location / {{ proxy_pass {self._gate}; proxy_http_version 1.1; proxy_set_header Connection ''; }} }} }}\n"
        )
        command = [program, "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        with self.log("nginx").open("ab") as log:
            self._running["nginx"] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str) -> None:
        """As when a container is killed: all its processes, at once."""
        process = self._running.pop(name)
        assert process.poll() is None, f"{name} had ended: {self.tail(name)}"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in list(self._running):
            process = self._running.pop(name)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        kind, *rest = self._services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *rest] if kind == "CMD-SHELL" else rest
        placed = [self._placed(part) for part in command]
        return subprocess.run(placed, env=self._environment(name), capture_output=True).returncode == 0

    def wait_for(self, names: tuple[str, ...]) -> None:
        """Until these are healthy."""
        for name in names:
            self.until(lambda name=name: self.healthy(name), f"{name} is not healthy", name)  # type: ignore[misc]

    def until(self, there: Callable[[], bool], what: str, name: str) -> None:
        """Until it is so, while the service lives."""
        deadline = time.monotonic() + _PATIENCE
        while not there():
            assert self._running[name].poll() is None, f"{name} ended: {self.tail(name)}"
            assert time.monotonic() < deadline, f"{what}: {self.tail(name)}"
            time.sleep(0.05)  # other processes announce what they have done in no other way

    def ask(self, name: str, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """A service's answer: its status and JSON; (0, None) where nobody answers."""
        headers = {"Content-Type": "application/json"} | ({} if key is None else {"X-DAR-Key": key})
        content = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        request = urllib.request.Request(url, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def metrics(self, name: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_ports[name]}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
            return text

    def cluster_status(self, user: str, password: str) -> int:
        """What a user gets who asks the node for its version, through TLS."""
        return _status(f"https://localhost:{self._tls}/", self.authority, user, password)

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def tail(self, name: str) -> str:
        return self.log(name).read_text("utf-8", "replace")[-3000:]

    def _command(self, name: str) -> list[str]:
        return [self._placed(part) for part in self._services[name]["command"]]

    def _environment(self, name: str) -> dict[str, str]:
        written = self._services[name].get("environment") or {}
        own = {variable: self._placed(str(value)) for variable, value in written.items() if value is not None}
        ports: dict[str, str] = {}
        if name in _PORTS:
            ports = {_PORTS[name][0]: str(self.ports[name]), _ADMIN_PORTS[name]: str(self.admin_ports[name])}
        programs = [str(Path(sys.executable).parent), *os.environ["PATH"].split(os.pathsep)]
        return {
            "PATH": os.pathsep.join(programs),
            "HOME": str(self._folder / "home"),
            "TMPDIR": str(self._folder / "tmp"),
            **own,
            **(HASTE | ports | self._extra if name in ("ingest", "worker", "query") else {}),
        }

    def _placed(self, text: str) -> str:
        for container, here in self._places.items():
            text = text.replace(container, here)
        return text


def _status(url: str, authority: Path, user: str, password: str) -> int:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
    try:
        trusted = ssl.create_default_context(cafile=str(authority))
        with urllib.request.urlopen(request, timeout=30, context=trusted) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
