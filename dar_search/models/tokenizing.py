"""A model's tokenizer: that its files are there, that it is the model's, and a digest of what it is.

transformers makes a tokenizer up where a folder has no files of one: of its special tokens alone, so that all texts
are one and the same (seen with 5.24).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed, WeightsMissing
from dar_search.models import weights
from dar_search.models.checkpoint_files import require_real

CONFIG = "tokenizer_config.json"
# Each of these sets is a vocabulary; the first that is whole counts.
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("tekken.json",))
_SENTENCE_PIECES = ("*.model", "*.tiktoken")
_BESIDE = (CONFIG, "special_tokens_map.json", "added_tokens.json")
# What says where or with what a tokenizer was saved, or is for chats: none of it changes a text's tokens.
_INCIDENTAL = frozenset(
    {"name_or_path", "transformers_version", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file",
     "chat_template", "processor_class", "auto_map", "backend", "is_local", "local_files_only"}
)  # fmt: skip
# A vocabulary is padded to a round number at most: one of half the size is another model's.
_SMALLEST_SHARE = 0.5


def require_files(where: Path, *, model: str) -> None:
    """Raises WeightsMissing where a folder has no tokenizer's files, or what only stands in for one."""
    for path in files(where):
        require_real(path, model=model)
    pieces = [path for pattern in _SENTENCE_PIECES for path in where.glob(pattern)]
    if pieces or any(all((where / name).is_file() for name in names) for names in _VOCABULARIES):
        return
    half = [name for name in ("vocab.json", "merges.txt") if (where / name).is_file()]
    lacks = f", only {half[0]}, which needs the other of vocab.json and merges.txt" if half else ""
    raise WeightsMissing(
        f"{model} has no tokenizer in {where}{lacks}: none of tokenizer.json, vocab.json with merges.txt, vocab.txt, "
        "*.model.",
        "Copy the model's tokenizer files there, from where its weights are from, or fetch the model again.",
    )


def files(where: Path) -> list[Path]:
    """The files of a folder that make its tokenizer, by name."""
    names = {name for names in _VOCABULARIES for name in names} | set(_BESIDE)
    found = {path for name in names if (path := where / name).is_file() or path.is_symlink()}
    return sorted({*found, *(path for pattern in _SENTENCE_PIECES for path in where.glob(pattern))})


def digest(where: Path) -> str:
    """64 hex digits of the tokenizer's files, whatever the folder is called."""
    total = hashlib.sha256()
    for path in files(where):
        content = weights.digest(path)
        if path.name == CONFIG:
            known = {key: value for key, value in weights.read_config(path).items() if key not in _INCIDENTAL}
            content = json.dumps(known, sort_keys=True, separators=(",", ":"))
        total.update(f"{path.name}\0{content}\0".encode())
    return total.hexdigest()


def load(where: Path, *, model: str, kind: Any = None) -> Any:
    """A folder's tokenizer, of the class `kind` of transformers, or as its configuration says.

    Raises WeightsMissing where its files are not there, ModelFailed where they cannot be loaded.
    """
    import transformers

    require_files(where, model=model)
    try:
        return (kind or transformers.AutoTokenizer).from_pretrained(
            where, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library may raise anything
        there = ", ".join(path.name for path in files(where))
        raise ModelFailed(
            f"Loading {model} failed: its tokenizer cannot be made of {there}: {type(error).__name__}: "
            f"{str(error)[:200]}",
            "Is a file of it missing, such as spiece.model? Fetch the model's tokenizer again.",
        ) from error


def require_fit(tokenizer: Any, rows: int, *, model: str) -> None:
    """Raises ModelFailed for a tokenizer that cannot be that of a model whose text embedding has `rows` rows."""
    vocabulary = tokenizer.get_vocab()
    ordinary = len(set(vocabulary.values()) - set(tokenizer.all_special_ids))
    if ordinary < 2:
        raise ModelFailed(
            f"{model}'s tokenizer has {len(vocabulary)} tokens and no words among them: all texts would be alike.",
            "Its files are not the model's: copy them from where the weights are from.",
        )
    # A special token that a chat model's maker added for training alone may be without a row: no text has it.
    largest = max(set(vocabulary.values()) - set(tokenizer.all_special_ids))
    if largest >= rows:
        raise ModelFailed(
            f"{model}'s tokenizer has tokens up to number {largest:,}, its weights only {rows:,} of them: it is "
            "another model's tokenizer.",
            "Copy the tokenizer files from where the weights are from.",
        )
    if not fits(min(len(vocabulary), rows), rows):
        raise ModelFailed(
            f"{model}'s tokenizer has {len(vocabulary):,} tokens, its weights {rows:,}: it is another model's.",
            "Copy the tokenizer files from where the weights are from.",
        )


def require_clip_end(tokenizer: Any, end: int | None, *, model: str) -> None:
    """Raises ModelFailed for a tokenizer whose end of text a CLIP text encoder of transformers would not find.

    Its vector is that of the text's end, which the class finds by `end`, the configuration's number; configurations
    from before transformers 4.31 have 2, with which the class takes a text's largest token.
    """
    if not (ends_with_largest(tokenizer) if end == 2 else tokenizer.eos_token_id == end):
        raise ModelFailed(
            f"{model}'s tokenizer ends a text with token {tokenizer.eos_token_id}, its weights with another "
            f"(eos_token_id = {end}): it is another model's tokenizer, and all texts would be alike.",
            "Copy the tokenizer files from where the weights are from.",
        )


def fits(tokens: int, rows: int) -> bool:
    """Whether a vocabulary of so many tokens can be that of a text embedding of so many rows."""
    return rows * _SMALLEST_SHARE <= tokens <= rows


def ends_with_largest(tokenizer: Any) -> bool:
    """Whether no word's token has a larger number than the token at a text's end."""
    words = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)
    return tokenizer.eos_token_id is not None and int(tokenizer.eos_token_id) > max(words)
