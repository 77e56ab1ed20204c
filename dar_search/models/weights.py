"""Finds a model's files, here or on the Hugging Face hub, and lets nothing but safetensors weights through.

Whatever loads a model first asks here for a folder, then loads from that folder alone: no library picks weights
from elsewhere, and none runs code that comes with a model.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dar_search.errors import WeightsMissing
from dar_search.models import checkpoint_files, hub
from dar_search.models.checkpoint_files import PICKLED as PICKLED
from dar_search.models.checkpoint_files import SAFE as SAFE
from dar_search.models.packages import require as require

# How the names of weights begin that transformers and diffusers load from a folder.
_LOOKED_FOR = ("model", "diffusion_pytorch_model")
_SAMPLES, _SAMPLE_BYTES = 256, 65536
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_digests: dict[tuple[str, int, int], str] = {}
_digests_lock = threading.Lock()


def looks_local(source: str) -> bool:
    """Whether `source` is meant as a path: it exists, or cannot be a hub repository's name."""
    return Path(source).expanduser().exists() or _REPOSITORY.fullmatch(source) is None


def folder(source: str, *, patterns: Sequence[str], ignore: Sequence[str] = (), fetch: bool = False) -> Path:
    """The folder of a model that is given by path or by hub name (ORG/NAME or ORG/NAME@REVISION).

    What is already fetched is used without asking the hub, so a model changes only by `dar models fetch`.
    patterns, ignore: which of a hub repository's files the model needs, as glob patterns.
    fetch: ask the hub for what is new even so.
    Raises WeightsMissing.
    """
    if looks_local(source):
        path = Path(source).expanduser()
        if path.is_file():
            raise WeightsMissing(f"{source!r} is a file, not a model's folder.", f"Name its folder: {path.parent}")
        if not path.is_dir():
            raise WeightsMissing(
                f"There is no model folder {source!r}.",
                "Give the path of an existing folder, or a hub name such as ORG/NAME.",
            )
        return path
    if not fetch:
        try:
            return hub.cached_folder(source, patterns=patterns, ignore=ignore)
        except WeightsMissing:
            pass
    return hub.fetched_folder(source, patterns, ignore)


def choose(where: Path, names: Iterable[str], *, model: str) -> Path:
    """The first of `names` that is a safetensors file in `where`.

    Raises UnsafeWeights where only pickled weights are there, WeightsMissing where none are, and ModelFailed for a
    damaged file.
    """
    for name in names:
        if (where / name).is_file():
            checkpoint_files.require_whole(where / name, model=model)
            return where / name
    raise checkpoint_files.no_weights(where, model=model)


def check(where: Path, *, model: str) -> list[Path]:
    """All safetensors files of a folder (not of its subfolders), by name.

    Raises UnsafeWeights, WeightsMissing, and ModelFailed for a damaged file.
    """
    found = [path for path in sorted(where.glob(f"*{SAFE}")) if not path.name.startswith(("adapter_model", "."))]
    if not found:
        raise checkpoint_files.no_weights(where, model=model)
    checkpoint_files.refuse_adapter(where, model=model)
    checkpoint_files.require_shards(where, model=model)
    if not any(path.name.startswith(_LOOKED_FOR) for path in found):
        raise WeightsMissing(
            f"{model} has weights under another name ({found[0].name}) than its library looks for.",
            f"Rename the file to model{SAFE}, where it is a whole model's.",
        )
    for path in found:
        checkpoint_files.require_whole(path, model=model)
    return found


def revision(files: Iterable[Path], config: object = None, texts: object = None) -> str:
    """A digest of weights (and of the configuration that shapes their output): "sha256:" and 16 hex digits.

    texts: what prepares texts for them, such as a digest of the tokenizer's files: adds "." and 16 hex digits. They
        stand apart because indices of earlier versions have none (`dar_search.stores.provenance`).

    It depends on the files' contents, names and order alone, so the same model has the same revision on every machine.
    """
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}\0{digest(path)}\0".encode())
    if config is not None:
        total.update(_canonical(config))
    content = f"sha256:{total.hexdigest()[:16]}"
    return content if texts is None else f"{content}.{hashlib.sha256(_canonical(texts)).hexdigest()[:16]}"


def _canonical(config: object) -> bytes:
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()


def fingerprint(files: Iterable[Path], config: object = None) -> str:
    """As `revision`, but of a large file only its size and samples from all over it: a key for caches.

    Hashing a text-to-image model would delay each start by half a minute, and a cache needs no proof.
    """
    total = hashlib.sha256(_canonical(config))
    for path in files:
        total.update(f"{path.name}\0{_sampled(path)}\0".encode())
    return f"sampled:{total.hexdigest()[:16]}"


def _sampled(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size <= _SAMPLES * _SAMPLE_BYTES:
            return digest(path)
        sample = hashlib.sha256(str(size).encode())
        with path.open("rb") as file:
            for number in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                sample.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise WeightsMissing(
            f"{path} cannot be read: {error.strerror or error}.", "Check the file's rights."
        ) from error
    return sample.hexdigest()


def digest(path: Path) -> str:
    """A file's SHA-256, in hex; remembered until its size or time of change differs. Raises WeightsMissing."""
    # The hub's cache names a large file by its SHA-256 already; hashing gigabytes again would delay each start.
    real = path.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name
    try:
        status = real.stat()
        key = (str(real), status.st_size, status.st_mtime_ns)
        with _digests_lock:
            if key in _digests:
                return _digests[key]
        with real.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsMissing(
            f"{path} cannot be read: {error.strerror or error}.", "Check the file's rights."
        ) from error
    with _digests_lock:
        _digests[key] = value
    return value


def read_config(path: Path) -> Mapping[str, Any]:
    """A JSON object from a model's folder. Raises WeightsMissing where it is absent or no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise checkpoint_files.no_config(path) from error
    except (OSError, ValueError) as error:
        if path.is_file():
            checkpoint_files.require_real(path, model=f"The model folder {path.parent.name}")
        raise WeightsMissing(f"{path} cannot be read as JSON: {error}.", "Fetch the model again.") from error
    if not isinstance(content, dict):
        raise WeightsMissing(f"{path} holds no JSON object.", "Fetch the model again.")
    return content
