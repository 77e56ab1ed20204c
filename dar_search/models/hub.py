"""The Hugging Face hub: what of it is in the local cache, and fetching the rest."""

from __future__ import annotations

import socket
import threading
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from dar_search.errors import UnknownModel, UnsafeWeights, WeightsMissing
from dar_search.models.packages import require
from dar_search.settings.proxies import named_proxy

_CONNECT_SECONDS = 10


def address() -> str:
    """The hub's host, or that of the mirror which HF_ENDPOINT names."""
    require("huggingface_hub")
    from huggingface_hub import constants

    return urllib.parse.urlsplit(constants.ENDPOINT).netloc.rpartition("@")[2]


def cache_folder() -> Path:
    """Where the hub's files are kept on this machine."""
    require("huggingface_hub")
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def reachable(seconds: float = _CONNECT_SECONDS) -> bool:
    """Whether something listens at the hub's address, known after at most `seconds`: its client would try for half a
    minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if named_proxy(constants.ENDPOINT):
        return True
    place = urllib.parse.urlsplit(constants.ENDPOINT)
    port = place.port or (443 if place.scheme == "https" else 80)
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((place.hostname or "", port), timeout=seconds).close()
            answered.set()
        except OSError:
            return

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)  # looking a name up has no limit of its own
    return answered.is_set()


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


def cached_file(repository: str, filenames: Sequence[str]) -> Path | None:
    """The first of these files of a hub repository that is in the local cache."""
    require("huggingface_hub")
    import huggingface_hub
    from huggingface_hub.utils._validators import validate_repo_id

    name, revision = _split_revision(repository)
    try:
        validate_repo_id(name)
    except ValueError:
        raise UnknownModel(f"{name!r:.120} is no name of a model on the hub.", "Such names are ORG/NAME.") from None
    for filename in filenames:
        found = huggingface_hub.try_to_load_from_cache(name, filename, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def hub_file(repository: str, filenames: Sequence[str]) -> Path:
    """The first of these safetensors files that a hub repository has, from the local cache if one is there.

    Raises WeightsMissing; UnsafeWeights where the repository has none of them.
    """
    if found := cached_file(repository, filenames):
        return found
    import huggingface_hub

    _require_hub(repository)
    name, revision = _split_revision(repository)
    unsafe: UnsafeWeights | None = None
    for filename in filenames:
        try:
            return Path(huggingface_hub.hf_hub_download(name, filename, revision=revision))
        except Exception as error:  # the hub client's errors share no base class
            missing = _not_fetched(repository, error, filename)
            if not isinstance(missing, UnsafeWeights):
                raise missing from error
            unsafe = missing
    raise unsafe or _not_fetched(repository, OSError())


def fetched_folder(source: str, patterns: Sequence[str], ignore: Sequence[str]) -> Path:
    """A hub model's folder in the local cache, brought up to date. Raises WeightsMissing."""
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
    """Raises WeightsMissing where the hub cannot be reached."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not reachable():
        raise _not_fetched(source, ConnectionError())


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
