"""The training pictures, rendered once and kept as files of small pixels.

`python -m training.pictures --work DIR --split train --count 64000` writes `DIR/pictures-train.npy`, uint8
(n, 64, 64, 3), a block at a time; run again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.demo.rendering import render
from dar_search.demo.splits import Split, scene
from dar_search.demo.world import Scene
from dar_search.preparation import Preparation

PREPARATION = Preparation(64, 64)
BLOCK = 500


def training_scene(number: int, split: Split = "train") -> Scene:
    return scene(f"training:{number}", split)


def picture(number: int, split: Split) -> NDArray[np.uint8]:
    """What the encoder sees of training scene `number`: rendered, stored as JPEG of a random quality, prepared."""
    image = render(training_scene(number, split), f"training:{split}:{number}")
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=random.Random(f"quality:{number}").randint(80, 96))
    with Image.open(stored) as reopened:
        return PREPARATION.prepare(reopened)


def block(job: tuple[int, int, Split]) -> tuple[int, NDArray[np.uint8]]:
    first, last, split = job
    os.nice(19 - os.nice(0))
    return first, np.stack([picture(number, split) for number in range(first, last)])


def render_all(work: Path, split: Split, count: int, workers: int = 2) -> NDArray[np.uint8]:
    """Memory-mapped pixels of the first `count` training scenes of the split."""
    work.mkdir(parents=True, exist_ok=True)
    path, marks = work / f"pictures-{split}.npy", work / f"pictures-{split}.json"
    done: set[int] = set(json.loads(marks.read_text())["blocks"]) if marks.exists() else set()
    if path.exists() and np.load(path, mmap_mode="r").shape[0] != count:
        raise SystemExit(f"{path} holds another number of pictures than {count}: remove it to start again.")
    mode = "r+" if path.exists() else "w+"
    pixels = np.lib.format.open_memmap(path, mode, np.uint8, None if mode == "r+" else (count, 64, 64, 3))
    jobs = [(first, min(first + BLOCK, count), split) for first in range(0, count, BLOCK) if first not in done]
    if jobs:
        with ProcessPoolExecutor(workers) as pool:
            for first, rendered in pool.map(block, jobs):
                pixels[first : first + len(rendered)] = rendered
                pixels.flush()
                done.add(first)
                marks.write_text(json.dumps({"blocks": sorted(done)}))
                print(f"pictures {split}: {len(done) * BLOCK} of {count}", flush=True)
    return pixels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "validation", "test"), default="train")
    parser.add_argument("--count", type=int, default=64_000)
    arguments = parser.parse_args()
    render_all(arguments.work, arguments.split, arguments.count)
