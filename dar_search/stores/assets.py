"""The data files in opensearch/: templates, search pipelines, the local node's coordinates."""

from __future__ import annotations

from pathlib import Path

# A checkout has them in opensearch/, beside the package; a wheel carries them inside it (see pyproject.toml).
_FOLDERS = (Path(__file__).parents[1] / "opensearch_assets", Path(__file__).parents[2] / "opensearch")


def assets(name: str) -> Path:
    """The path of one file or folder of opensearch/, such as "local-node.toml".

    Raises FileNotFoundError where this installation lacks it, which is a defect of its packaging.
    """
    for folder in _FOLDERS:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"opensearch/{name} is not part of this installation")
