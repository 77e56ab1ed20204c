"""A real nginx before a node: TLS, passwords, client certificates, tokens, a path prefix, forbidden paths."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from dar_search.stores.node.process import ReservedPort
from tests.programs import found

USER, PASSWORD, TOKEN = "dar-reader", "s3cret:with/odd@signs", "t0ken-of-the-test"
FORBIDDEN = (
    '{"error":{"root_cause":[{"type":"security_exception","reason":"no permissions for [%s] and User [name=dar-reader]"'
    '}],"type":"security_exception","reason":"no permissions for [%s] and User [name=dar-reader]"},"status":403}'
)


@dataclass(frozen=True)
class Doors:
    """Addresses of one node behind nginx, and the files that open them."""

    password: str
    certificate: str
    token: str
    api_key: str
    prefix: str
    small: str
    forbidding: Mapping[str, str]
    ca_file: Path
    client_certificate: Path
    client_key: Path
    log: Path


def _server(port: int, inside: str, *, tls: str = "") -> str:
    listen = f"listen 127.0.0.1:{port}{' ssl' if tls else ''};"
    return f"server {{ {listen} server_name localhost; {tls} {inside} }}"


@contextmanager
def nginx_before(url: str, folder: Path, forbidden: Mapping[str, tuple[str, str]]) -> Iterator[Doors]:
    """Starts nginx in a folder.

    Args:
        forbidden: name of a door -> (an nginx location, the action that is answered as not permitted there).
    """
    program = found("nginx")
    assert program
    ca = trustme.CA()
    files = {name: folder / name for name in ("ca.pem", "server.pem", "client.pem", "client.key", "users")}
    ca.cert_pem.write_to_path(files["ca.pem"])
    ca.issue_cert("localhost", "cluster.internal").private_key_and_cert_chain_pem.write_to_path(files["server.pem"])
    client = ca.issue_cert("reader@example.org")
    client.cert_chain_pems[0].write_to_path(files["client.pem"])
    client.private_key_pem.write_to_path(files["client.key"])
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    files["users"].write_text(f"{USER}:{{SHA}}{digest}\n")

    ports = {
        name: ReservedPort() for name in ("password", "certificate", "token", "api_key", "prefix", "small", *forbidden)
    }
    tls = f"ssl_certificate {files['server.pem']}; ssl_certificate_key {files['server.pem']};"
    onward = f"proxy_pass {url};"
    need_client = f"{tls} ssl_client_certificate {files['ca.pem']}; ssl_verify_client on;"
    servers = [
        _server(
            ports["password"].number,
            f'auth_basic "cluster"; auth_basic_user_file {files["users"]}; location / {{ {onward} }}',
            tls=tls,
        ),
        _server(ports["certificate"].number, f"location / {{ {onward} }}", tls=need_client),
        _server(ports["prefix"].number, f"location /search/ {{ proxy_pass {url}/; }}"),
        _server(ports["small"].number, f"client_max_body_size 1k; location / {{ {onward} }}"),
        *(
            _server(
                ports[name].number,
                f'location / {{ if ($http_authorization != "{scheme} {TOKEN}") {{ return 401; }} {onward} }}',
            )
            for name, scheme in (("token", "Bearer"), ("api_key", "ApiKey"))
        ),
        *(
            _server(
                ports[name].number,
                f"location {where} {{ default_type application/json; return 403 '{FORBIDDEN % (action, action)}'; }} "
                f"location / {{ {onward} }}",
            )
            for name, (where, action) in forbidden.items()
        ),
    ]
    with _running(program, folder, servers, list(ports.values())) as log:
        address = {name: f"localhost:{port.number}" for name, port in ports.items()}
        yield Doors(
            password=f"https://{address['password']}",
            certificate=f"https://{address['certificate']}",
            token=f"http://{address['token']}",
            api_key=f"http://{address['api_key']}",
            prefix=f"http://{address['prefix']}/search",
            small=f"http://{address['small']}",
            forbidding={name: f"http://{address[name]}" for name in forbidden},
            ca_file=files["ca.pem"],
            client_certificate=files["client.pem"],
            client_key=files["client.key"],
            log=log,
        )


@contextmanager
def compressing_nginx(url: str, folder: Path) -> Iterator[str]:
    """The address of an nginx before a service, which compresses whatever it is asked to."""
    program = found("nginx")
    assert program
    port = ReservedPort()
    compress = "gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any; gzip_http_version 1.0;"
    server = _server(port.number, f"{compress} location / {{ proxy_http_version 1.1; proxy_pass {url}; }}")
    with _running(program, folder, [server], [port]):
        yield f"http://localhost:{port.number}"


@contextmanager
def _running(program: str, folder: Path, servers: list[str], ports: list[ReservedPort]) -> Iterator[Path]:
    """nginx with these servers, once it listens at these ports; its log."""
    temporary = " ".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    owner = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; {owner} worker_processes 1; pid {folder / 'nginx.pid'}; events {{ }}\n"
        f"http {{ access_log off; {temporary} proxy_set_header Authorization '';\n" + "\n".join(servers) + "\n}\n"
    )
    log = folder / "nginx.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-e", str(log), "-p", str(folder), "-c", str(configuration)], stdout=output, stderr=output
        )
    try:
        for port in ports:
            _wait_for(port.number, process, log)
        yield log
    finally:
        process.terminate()
        process.wait()
        for port in ports:
            port.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            time.sleep(0.01)  # a listening socket announces itself in no other way
        else:
            return
