"""The same pictures as a folder, as lists, and as other programs leave them: for tests that compare what comes of them.

img2dataset's layouts are those of its version 1.47, made with `resize_mode=no` and a column carried along.
"""

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.ingestion_runs import picture

FAILED = "HTTP Error 404: Not Found"


def folder(root: Path, count: int) -> Path:
    """Pictures with captions and metadata beside them."""
    root.mkdir()
    for number in range(count):
        (root / f"{number:03}.jpg").write_bytes(picture(number))
        (root / f"{number:03}.txt").write_text(f"picture {number}")
        (root / f"{number:03}.json").write_text(json.dumps({"city": "Paris", "year": 2000 + number}))
    return root


def csv_list(path: Path, pictures: Path, count: int) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "caption", "city", "year"])
        rows.writerows([pictures / f"{n:03}.jpg", f"picture {n}", "Paris", 2000 + n] for n in range(count))
    return path


def parquet_list(path: Path, pictures: Path, count: int, **columns: Any) -> Path:
    numbers = range(count)
    table = {
        "path": [str(pictures / f"{number:03}.jpg") for number in numbers],
        "caption": [f"picture {number}" for number in numbers],
        "city": ["Paris"] * count,
        "year": [2000 + number for number in numbers],
    }
    pq.write_table(pa.table({**table, **columns}), path, row_group_size=7)
    return path


def img2dataset(root: Path, form: str, count: int, shard_size: int = 10) -> Path:
    """form: webdataset, files or parquet. Each shard has one row more, which could not be downloaded."""
    root.mkdir()
    for shard, start in enumerate(range(0, count, shard_size)):
        name = f"{shard:05}"
        numbers = range(start, min(start + shard_size, count))
        rows = [_row(number, shard) for number in numbers]
        missing = {"url": "http://example.org/gone.jpg", "key": f"{shard:05}9999", "status": "failed_to_download"}
        rows.insert(1, {**dict.fromkeys(rows[0]), **missing, "error_message": FAILED})
        schema = pa.schema({**_SCHEMA, "jpg": pa.binary()} if form == "parquet" else _SCHEMA)
        if form == "parquet":
            rows = [{**row, "jpg": picture(row["year"] - 2000) if row["year"] else None} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows, schema), root / f"{name}.parquet", row_group_size=4)
        status = {"success": len(numbers), FAILED: 1}
        (root / f"{name}_stats.json").write_text(json.dumps({"count": len(rows), "status_dict": status}))
        for row in [row for row in rows if row["year"]] if form != "parquet" else ():
            _put(root, name, form, row)
    return root


def embeddings(root: Path, vectors: NDArray[Any], paths: Sequence[str], part: int = 10, **columns: list[Any]) -> Path:
    """As clip-retrieval writes them."""
    (root / "img_emb").mkdir(parents=True)
    (root / "metadata").mkdir()
    for number, start in enumerate(range(0, len(vectors), part)):
        rows = slice(start, start + part)
        np.save(root / "img_emb" / f"img_emb_{number}.npy", vectors[rows])
        table = {"image_path": list(paths[rows]), **{name: values[rows] for name, values in columns.items()}}
        pq.write_table(pa.table(table), root / "metadata" / f"metadata_{number}.parquet")
    return root


_SCHEMA = {
    "city": pa.string(),
    "year": pa.int64(),
    "caption": pa.string(),
    "url": pa.string(),
    "key": pa.string(),
    "status": pa.string(),
    "error_message": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "exif": pa.string(),
    "sha256": pa.string(),
}


def _row(number: int, shard: int) -> dict[str, Any]:
    sizes = {"width": 96, "height": 64, "original_width": 96, "original_height": 64}
    return {
        "city": "Paris",
        "year": 2000 + number,
        "caption": f"picture {number}",
        "url": f"http://example.org/{number}.jpg",
        "key": f"{shard:05}{number:04}",
        "status": "success",
        "error_message": None,
        **sizes,
        "exif": "{}",
        "sha256": "0" * 64,
    }


def _put(root: Path, shard: str, form: str, row: dict[str, Any]) -> None:
    """A sample's files, in a folder or at the end of a tar."""
    data = picture(row["year"] - 2000)
    files = {"jpg": data, "txt": row["caption"].encode(), "json": json.dumps(row, indent=4).encode()}
    if form == "files":
        (root / shard).mkdir(exist_ok=True)
        for suffix, content in files.items():
            (root / shard / f"{row['key']}.{suffix}").write_bytes(content)
        return
    with tarfile.open(root / f"{shard}.tar", "a") as tar:
        for suffix, content in files.items():
            member = tarfile.TarInfo(f"{row['key']}.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
