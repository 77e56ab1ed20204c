"""How large a cluster has to be: the table of opensearch/README.md.

    python bench/sizing.py                      prints the table (no cluster needed)
    python bench/sizing.py measure --url URL    measures the two figures of the disk that it stands on

Memory: the HNSW graph with float vectors takes about 1.1 * (4 d + 8 m) bytes a vector (OpenSearch's documentation of
k-NN). Disk: measured, see DISK_BYTES. Everything twice, for a replica. One shard holds at most 5 million pictures and a
node gives its graphs at most 40 GB (of 64, the heap and the system have the rest), so that a lost node's shards move in
minutes and one search keeps no more than a few cores busy.
"""

from __future__ import annotations

import argparse
import math
import sys
import uuid
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DIMENSION, M = 512, 16
# Measured by `measure`, 1,000 pictures with captions, one segment: all but thumbnails, and each byte of a thumbnail.
DISK_BYTES = 8_600
DISK_OF_THUMBNAIL = 1.37
THUMBNAIL_BYTES = 3_000
COPIES = 2
SHARD_PICTURES = 5_000_000
NODE_BYTES = 40e9
PACES = (100, 1_000)  # pictures encoded in a second, by all workers together
SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


def graph_bytes(dimension: int = DIMENSION, m: int = M) -> float:
    """Of one vector in memory."""
    return 1.1 * (4 * dimension + 8 * m)


def rows() -> list[list[str]]:
    """A row for each size: pictures, primary shards, memory, nodes, disk, hours at each pace."""
    found = []
    for pictures in SIZES:
        memory = COPIES * pictures * graph_bytes()
        disk = COPIES * pictures * (DISK_BYTES + THUMBNAIL_BYTES * DISK_OF_THUMBNAIL)
        nodes = max(2 if pictures <= 1_000_000 else 3, math.ceil(memory / NODE_BYTES))
        hours = [_time(pictures / pace) for pace in PACES]
        shards = math.ceil(pictures / SHARD_PICTURES)
        found.append([f"{pictures:,}", f"{shards:,}", _size(memory), f"{nodes:,}", _size(disk), *hours])
    return found


def table() -> str:
    """As Markdown."""
    head = ["pictures", "primary shards", "memory for graphs", "data nodes of 64 GB", "disk"]
    head += [f"encoding, {pace:,} a second" for pace in PACES]
    lines = [head, ["---:"] * len(head), *rows()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measure(url: str, pictures: int = 1_000) -> tuple[float, float]:
    """Bytes on disk of a picture without its thumbnail, and of each byte of a thumbnail."""
    import numpy as np
    from stores_opensearch import records, unit_rows

    from dar_search.data import Provenance
    from dar_search.settings import load_settings
    from dar_search.stores.opensearch.cluster.connection import connect
    from dar_search.stores.opensearch.store import OpenSearchStore

    settings, chance = load_settings(opensearch={"timeout": 600}), np.random.default_rng(0)
    store, client = OpenSearchStore(url, settings), connect(url, settings)
    measured = []
    for thumbnail in (0, THUMBNAIL_BYTES):
        name = f"sizing-{uuid.uuid4().hex[:10]}"
        index = store.create(name, Provenance("bench", "1", DIMENSION, "none"))
        try:
            made = records(unit_rows(pictures, DIMENSION))
            index.write([replace(one, thumbnail=chance.bytes(thumbnail) or None) for one in made])
            client.indices.forcemerge(index=name, max_num_segments=1)
            client.indices.flush(index=name)
            client.indices.refresh(index=name)
            stats = client.indices.stats(index=name, metric="store")
            measured.append(stats["_all"]["primaries"]["store"]["size_in_bytes"] / pictures)
        finally:
            store.drop(name)
    store.close()
    client.close()
    return measured[0], (measured[1] - measured[0]) / THUMBNAIL_BYTES


def _size(number: float) -> str:
    for unit in ("MB", "GB", "TB", "PB"):
        number /= 1000 if unit != "MB" else 1e6
        if number < 1000:
            return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
    raise ValueError("more than petabytes")


def _time(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 5 * 86_400 else f"{seconds / 86_400:.0f} days"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["table", "measure"], default="table")
    parser.add_argument("--url", default="http://127.0.0.1:9200")
    arguments = parser.parse_args()
    if arguments.what == "measure":
        whole, part = measure(arguments.url)
        print(f"{whole:,.0f} bytes a picture without its thumbnail, {part:.2f} for each byte of a thumbnail")
    else:
        print(table())


if __name__ == "__main__":
    main()
