"""A process that writes to an embedded store for ever, until it is killed.

    python -m tests.integration.sqlite_writer PATH NUMBER

It upserts a batch at a time; every fourth act deletes the first of the last three. It says what it is about to do and,
once that is done, that it is done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dar_search.data import ImageRecord, Provenance
from dar_search.stores.sqlite.store import SQLiteStore
from tests.contract.gallery import random_units

DIMENSION, BATCH = 16, 25
PROVENANCE = Provenance("e", "r", DIMENSION, "p")


def batch(number: int) -> list[ImageRecord]:
    """BATCH records whose ids, words and metadata tell the number."""
    vectors = random_units(BATCH, DIMENSION, seed=number)
    return [
        ImageRecord(
            f"{number:06d}-{n:02d}",
            vectors[n],
            f"file:///{number}/{n}.png",
            digest=str(number),
            caption=f"batch number{number} with a dog",
            metadata={"batch": number, "tags": (f"b{number}", "all")},
            thumbnail=bytes(3_000),
        )
        for n in range(BATCH)
    ]


def main(path: Path, number: int) -> None:
    index = SQLiteStore(path).open("photos")
    while True:
        if number % 4 == 3:
            say("deletes", number - 3)
            index.delete([record.id for record in batch(number - 3)])
        else:
            say("writes", number)
            index.write(batch(number))
        say("done")
        number += 1


def say(*words: str | int) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
