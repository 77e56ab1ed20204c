"""Finds a model's files, here or on the Hugging Face hub, and lets nothing but safetensors weights through.

Whatever loads a model first asks here for a folder, then loads from that folder alone: no library picks weights
from elsewhere, and none runs code that comes with a model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import socket
import threading
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed, UnsafeWeights, WeightsMissing
from dar_search.models import checkpoint_files
from dar_search.models.checkpoint_files import PICKLED as PICKLED
from dar_search.models.checkpoint_files import SAFE as SAFE
from dar_search.settings.proxies import named_proxy

_CONNECT_SECONDS = 10
# How the names of weights begin that transformers and diffusers load from a folder.
_LOOKED_FOR = ("model", "diffusion_pytorch_model")
_SAMPLES, _SAMPLE_BYTES = 256, 65536
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_digests: dict[tuple[str, int, int], str] = {}
_digests_lock = threading.Lock()


def require(*packages: str, extra: str = "models") -> None:
    """Raises ModelFailed, with the command that installs them, where one of the packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelFailed(
            f"This needs {' and '.join(missing)}, not installed here.",
            f'Install what is missing with: pip install "dar-search[{extra}]"',
        )


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
            return cached_folder(source, patterns=patterns, ignore=ignore)
        except WeightsMissing:
            pass
    return _fetched(source, patterns, ignore)


def cached_folder(source: str, *, patterns: Sequence[str] = (), ignore: Sequence[str] = ()) -> Path:
    """A hub model's folder in the local cache, without asking the hub. Raises WeightsMissing."""
    require("huggingface_hub")
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    name, revision_name = _split_revision(source)
    try:
        found = huggingface_hub.snapshot_download(
            name,
            revision=revision_name,
            local_files_only=True,
            allow_patterns=list(patterns) or None,
            ignore_patterns=list(ignore) or None,
        )
    except EntryNotFoundError as error:
        raise _not_fetched(source, error) from error
    return Path(found)


def hub_files(source: str) -> list[str]:
    """The names of all files of a hub repository. Raises WeightsMissing."""
    require("huggingface_hub")
    import huggingface_hub

    _require_hub(source)
    name, revision_name = _split_revision(source)
    try:
        return list(huggingface_hub.HfApi().list_repo_files(name, revision=revision_name))
    except Exception as error:  # the hub client's errors share no base class
        raise _not_fetched(source, error) from error


def hub_file(repository: str, filename: str) -> Path:
    """One safetensors file of a hub repository, from the local cache if it is there.

    Raises WeightsMissing; UnsafeWeights where the repository has no such file.
    """
    require("huggingface_hub")
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    name, revision = _split_revision(repository)
    try:
        return Path(huggingface_hub.hf_hub_download(name, filename, revision=revision, local_files_only=True))
    except EntryNotFoundError:
        pass
    _require_hub(repository)
    try:
        return Path(huggingface_hub.hf_hub_download(name, filename, revision=revision))
    except Exception as error:  # the hub client's errors share no base class
        raise _not_fetched(repository, error, filename) from error


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


def _fetched(source: str, patterns: Sequence[str], ignore: Sequence[str]) -> Path:
    require("huggingface_hub")
    import huggingface_hub

    _require_hub(source)
    name, revision_name = _split_revision(source)
    try:
        found = huggingface_hub.snapshot_download(
            name, revision=revision_name, allow_patterns=list(patterns), ignore_patterns=list(ignore) or None
        )
    except Exception as error:  # the hub client's errors share no base class
        raise _not_fetched(source, error) from error
    return Path(found)


def _split_revision(source: str) -> tuple[str, str | None]:
    name, _, revision_name = source.partition("@")
    return name, revision_name or None


def _require_hub(source: str) -> None:
    """Raises WeightsMissing at once where the hub cannot be reached: its client would try for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or named_proxy(constants.ENDPOINT):
        return
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _not_fetched(source, error) from error


def _not_fetched(source: str, error: Exception, filename: str = "") -> WeightsMissing | UnsafeWeights:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    name = source.partition("@")[0]
    if isinstance(error, GatedRepoError):
        hint = f"Accept the licence on the page of {name}, then set HF_TOKEN and try again."
        return WeightsMissing(f"The model {source!r} is gated.", hint)
    if isinstance(error, RepositoryNotFoundError):
        hint = "Check the name or the path; a private model needs HF_TOKEN."
        return WeightsMissing(f"The hub has no model {source!r}, and here is no folder {source!r}.", hint)
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return UnsafeWeights(
            f"The hub's {source!r} has no {filename or 'such file'}: its weights are pickled, and refused.",
            "Choose a model with .safetensors files, or convert it on a machine that may run it.",
        )
    if constants.HF_HUB_OFFLINE:
        hint = "Unset HF_HUB_OFFLINE and run: dar models fetch, or copy the model's folder here and name its path."
        return WeightsMissing(
            f"The weights of {source!r} are not on this machine (neither a folder of that path nor in the hub's "
            "cache), and HF_HUB_OFFLINE is set.",
            hint,
        )
    hint = "With a network, run: dar models fetch. Without one, copy the model's folder here and name its path."
    return WeightsMissing(
        f"The weights of {source!r} are not on this machine (neither a folder of that path nor in the hub's cache) and "
        f"cannot be fetched ({type(error).__name__}).",
        hint,
    )
