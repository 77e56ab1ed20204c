"""Used from Python, the library writes nothing to standard output, to standard error only by logging, and leaves the
host application's own set-up alone: its root logger, its warnings, its signals, its retries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import checkpoints, generative_checkpoints

ROOT = Path(__file__).parents[2]

# What a host application has set up, by value; `changed` names what is not as it was.
_HOST = """
import logging, os, signal, sys, threading, warnings
import stamina, structlog

def state():
    root = logging.getLogger()
    return {
        "root logger": (list(root.handlers), root.level, list(root.filters), logging.root.manager.disable),
        "showwarning": warnings.showwarning,
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook),
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)],
        "retries": (stamina.instrumentation.get_on_retry_hooks(), stamina.is_active()),
        "structlog": structlog.is_configured(),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
        "folder": os.getcwd(),
    }

before = state()

def changed():
    now = state()
    return [name for name in now if now[name] != before[name]]
"""

_EXAMPLE = """
from dar_search import Dialogue, Turn
from dar_search.bootstrap import load_encoder, load_imaginer, load_reformulator, open_store
from dar_search.method.retrieval import SearchOptions, search
from dar_search.method.rewriting import rewrite
from dar_search.settings import load_settings

settings = load_settings(encoder="demo", reformulator="demo")
encoder = load_encoder(settings)
dialogue = Dialogue("a red balloon", (Turn("where is it?", "at the beach"),))
query = rewrite(
    dialogue, encoder, load_reformulator(settings), load_imaginer(settings, encoder), schedule=settings.weights
)
assert query.legs["imagination"].status == query.legs["reformulation"].status == "ok", query.legs
store = open_store(settings.store, settings)
index = store.create("listed", encoder.provenance)
assert search(query, index, SearchOptions(size=5)).hits == ()
store.close()
"""

_TRIED_AGAIN = """
import socket
from dar_search import Dialogue
from dar_search.bootstrap import open_store
from dar_search.client import DarClient
from dar_search.errors import DarError
from dar_search.models import catalogue
from dar_search.settings import load_settings

with socket.create_server(("127.0.0.1", 0)) as free:
    address = f"http://127.0.0.1:{free.getsockname()[1]}"
try:
    open_store(address, load_settings(opensearch={"retry_seconds": 1})).names()
    raise AssertionError
except DarError:
    pass
answer = catalogue.reformulator("endpoint:m", options={"url": f"{address}/v1"}).reformulate(Dialogue("a car"))
assert answer.reformulator == "rules"
assert not DarClient(address).ready()
"""

_MODELS = """
from PIL import Image
from dar_search import Dialogue
from dar_search.models import catalogue

for name in ENCODERS:
    encoder = catalogue.encoder(name, device="cpu")
    encoder.encode_texts(["a red car"])
    encoder.encode_images([Image.new("RGB", (40, 30), "red")])
    encoder.provenance
demo = catalogue.encoder("demo", device="cpu")
for name in IMAGINERS:
    assert catalogue.imaginer(name, demo, device="cpu").imagine("a red car", count=1, seed=0, steps=1)
assert catalogue.reformulator(CHAT, device="cpu", options={"most_tokens": 4}).reformulate(Dialogue("a car")).note
"""


def _run(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, whose output is all that anything in it writes, C libraries too."""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_DATA_HOME": str(tmp_path / "data")}
    return subprocess.run(
        [sys.executable, "-c", f"{_HOST}\n{script}\nassert not changed(), changed()"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_the_readmes_example_writes_nothing_and_leaves_the_host_alone(tmp_path: Path) -> None:
    done = _run(_EXAMPLE, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_tried_again_is_said_by_logging_alone_and_calls_no_hook_of_the_hosts(tmp_path: Path) -> None:
    hooked = "stamina.instrumentation.set_on_retry_hooks([lambda _: os._exit(9)])\nbefore = state()\n"
    done = _run(hooked + _TRIED_AGAIN, tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # Python's own last resort shows warnings of loggers that nobody has set up.
    first, second = done.stderr.splitlines()
    assert "Trying again for up to" in first
    assert "rules answers" in second
    # The usual hooks print where structlog is installed.
    assert _run("before = state()\n" + _TRIED_AGAIN, tmp_path).stdout == ""


def test_a_host_that_has_set_up_logging_gets_records_and_nothing_else_is_written(tmp_path: Path) -> None:
    said = "said = []\nclass Keep(logging.Handler):\n    def emit(self, record): said.append(record.name)\n"
    own = f"{said}logging.getLogger().addHandler(Keep())\nbefore = state()\n"
    done = _run(f"{own}{_TRIED_AGAIN}\nassert set(said) == {NAMES}, said", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


NAMES = {"dar_search.stores.opensearch.cluster.calls", "dar_search.models.reformulators.fallback", "opensearch"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    checkpoints.clip_folder(root / "clip")
    checkpoints.siglip_folder(root / "siglip")
    checkpoints.blip_folder(root / "blip")
    generative_checkpoints.chat_folder(root / "chat", "qwen2")
    generative_checkpoints.picture_model_folder(root / "sd", "sd")
    generative_checkpoints.picture_model_folder(root / "sd3", "sd3")
    return root


def test_no_model_library_writes_anything(folders: Path, tmp_path: Path) -> None:
    encoders = ["demo", *(f"transformers:{folders / kind}" for kind in ("clip", "siglip", "blip"))]
    imaginers = ["demo", "demo-pictures", f"diffusers:{folders / 'sd'}", f"diffusers:{folders / 'sd3'}"]
    names = f"ENCODERS, IMAGINERS, CHAT = {encoders!r}, {imaginers!r}, {f'chat:{folders}/chat'!r}\n"
    done = _run(names + _MODELS, tmp_path)
    lines = [line for line in done.stderr.splitlines() if "rules answers" not in line]
    assert (done.returncode, done.stdout, lines) == (0, "", [])
