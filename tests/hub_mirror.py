"""A mirror of a model hub on loopback: a folder ORG/NAME/FILE, served as the hub's client asks for it.

The client finds it by HF_ENDPOINT. What it asks is documented with huggingface_hub (`file_download`, `hf_api`): the
facts of a repository as JSON, and of each file a HEAD with its commit, ETag and size, and a GET.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_FILE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/[\w.-]+/([\w./-]+)")
_FACTS = re.compile(r"/api/models/([\w.-]+/[\w.-]+)(/revision/[\w.-]+)?")
_BLOCK = 1 << 20


@dataclass
class Mirror:
    """url: for HF_ENDPOINT. given: the files that were sent whole, ORG/NAME/FILE, in order."""

    url: str
    given: list[str] = field(default_factory=list)


@contextmanager
def hub_mirror(folder: Path) -> Iterator[Mirror]:
    mirror = Mirror("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            if found := _FACTS.fullmatch(path):
                self._facts(folder / found[1], found[1], with_body=with_body)
            elif (found := _FILE.fullmatch(path)) and (folder / found[1] / found[2]).is_file():
                self._file(folder / found[1] / found[2], f"{found[1]}/{found[2]}", with_body=with_body)
            else:
                self._missing(path)

        def _missing(self, path: str) -> None:
            found = _FILE.fullmatch(path)
            here = found is not None and (folder / found[1]).is_dir()
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if here else "RepoNotFound")
            if here:
                self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _facts(self, repository: Path, name: str, *, with_body: bool) -> None:
            if not repository.is_dir():
                self._missing("")
                return
            files = sorted(path.relative_to(repository) for path in repository.rglob("*") if path.is_file())
            siblings = [{"rfilename": file.as_posix()} for file in files]
            body = json.dumps({"id": name, "modelId": name, "sha": _COMMIT, "siblings": siblings}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def _file(self, path: Path, name: str, *, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(name.encode()).hexdigest()[:40]}"')
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if not with_body:
                return
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    self.wfile.write(block)
            mirror.given.append(name)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
