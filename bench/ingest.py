"""Ingest's pace against what the cores could give for the bare work, on JPEG files of 640 x 480.

The bare work is measured apart, in this process and on the same files, as CPU seconds (user and system, all threads):

    decode  reading a file, its sha256, decoding, the encoder's pixels, the thumbnail
    encode  `encode_prepared`, in ingest's own batches; the cheaper of torch's default threads and one thread
    write   `index.write` into a new SQLite store, 256 records at a time

    bound = cores / (decode + encode + write)     pictures a second, were every core busy with nothing else
    pace  = pictures / wall-clock seconds of `ingest()`: listing, look-ups, starting the decoders, passing pictures
            between processes, waiting for the disk and all else included; the encoder is loaded before

The printed ratio is pace / bound, the median over the repetitions, each of which measures both. Two shares explain it:
"overhead" is the CPU time of ingest (its decoders included) beyond the bare work, and "idle" is what the cores did not
do at all meanwhile. Other programs on the machine lower the pace and not the bound: they are shown as "others".

    python bench/ingest.py [--pictures 2000] [--repeat 3] [--encoder demo|open_clip:...]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dar_search.data import ImageRecord
from dar_search.ingestion.decoding.cores import usable_cores
from dar_search.ingestion.decoding.decode import DEFAULT_LIMITS, DecodedPicture, decode
from dar_search.ingestion.ingest import BATCH_SIZE, ingest
from dar_search.ingestion.sources.files import read_file
from dar_search.ingestion.sources.source import open_source
from dar_search.models import catalogue
from dar_search.ports import Encoder
from dar_search.stores.sqlite import SQLiteStore
from tests.checkpoints import open_clip_folder
from tests.pictures import encoded, photograph

WRITE_SIZE = 256
# About the demo encoder's cost, for as long as there is no demo bundle: a ViT of 64 patches.
SMALL_VIT = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 192, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class Costs:
    """CPU seconds a picture."""

    decode: float
    encode: float
    write: float

    @property
    def total(self) -> float:
        return self.decode + self.encode + self.write


@dataclass(frozen=True)
class Run:
    """One `ingest()`: wall-clock and CPU seconds a picture, and shares of the cores' time."""

    wall: float
    cpu: float
    idle: float
    others: float


def make_pictures(folder: Path, count: int) -> None:
    """Different files: crops of a few large procedural photographs, mirrored, at several qualities."""
    random = np.random.default_rng(0)
    large = [photograph(seed, 1280, 960) for seed in range(min(8, count))]
    for number in range(count):
        image = large[number % len(large)]
        left, top = int(random.integers(0, 640)), int(random.integers(0, 480))
        image = image.crop((left, top, left + 640, top + 480))
        if random.integers(2):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        (folder / f"{number:05}.jpg").write_bytes(encoded(image, "JPEG", quality=int(random.integers(80, 93))))


def cpu_of(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def costs_apart(files: list[Path], encoder: Encoder, store: Path) -> Costs:
    import torch

    pictures: list[DecodedPicture] = []

    def decode_all() -> None:
        import hashlib

        for file in files:
            data = read_file(bytes(file), DEFAULT_LIMITS.max_bytes)
            hashlib.sha256(data).hexdigest()
            pictures.append(decode(data, encoder.preparation))

    embeddings: list[np.ndarray] = []

    def encode_all() -> None:
        embeddings.clear()
        for start in range(0, len(pictures), BATCH_SIZE):
            batch = np.stack([picture.pixels for picture in pictures[start : start + BATCH_SIZE]])
            embeddings.append(encoder.encode_prepared(batch))

    decode_cpu = cpu_of(decode_all)
    threads = torch.get_num_threads()
    encode_cpu = cpu_of(encode_all)
    torch.set_num_threads(1)
    encode_cpu = min(encode_cpu, cpu_of(encode_all))
    torch.set_num_threads(threads)
    records = [
        ImageRecord(
            f"{number:032}", embedding, f"file:///{number}.jpg", "file:///", "0" * 129, thumbnail=picture.thumbnail
        )
        for number, (picture, embedding) in enumerate(zip(pictures, np.concatenate(embeddings), strict=True))
    ]
    index = SQLiteStore(store).create("apart", encoder.provenance)

    def write_all() -> None:
        for start in range(0, len(records), WRITE_SIZE):
            index.write(records[start : start + WRITE_SIZE])

    write_cpu = cpu_of(write_all)
    count = len(files)
    return Costs(decode_cpu / count, encode_cpu / count, write_cpu / count)


def run_ingest(folder: Path, count: int, encoder: Encoder, store: Path) -> Run:
    index = SQLiteStore(store).create("run", encoder.provenance)
    before, machine = _cpu_seconds(), psutil.cpu_times()
    start = time.perf_counter()
    report = ingest(open_source(folder), index, encoder)
    wall = time.perf_counter() - start
    cpu = _cpu_seconds() - before
    after = psutil.cpu_times()
    assert (report.indexed, report.failed) == (count, 0), report
    whole = sum(after[:8]) - sum(machine[:8])
    idle = (after.idle + after.iowait - machine.idle - machine.iowait) / whole
    return Run(wall / count, cpu / count, idle, max(0.0, 1 - idle - cpu / whole))


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def load(name: str, folder: Path) -> Encoder:
    name = name or f"open_clip:{open_clip_folder(folder / 'encoder', model=SMALL_VIT)}"
    encoder = catalogue.encoder(name, device="cpu", dtype="float32")
    encoder.encode_images([photograph(0, 320, 240)] * BATCH_SIZE)
    return encoder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--encoder", default="", help="default: a small open_clip model with random weights")
    arguments = parser.parse_args()
    cores = usable_cores()
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder = root / "pictures"
        folder.mkdir()
        make_pictures(folder, arguments.pictures)
        files = sorted(folder.iterdir())
        size = sum(file.stat().st_size for file in files) / len(files)
        encoder = load(arguments.encoder, root)
        print(f"{len(files):,} JPEG files of 640 x 480, {size / 1e3:.0f} kB each; {cores} cores")
        print(f"encoder: {encoder.provenance.encoder}, {encoder.preparation.describe()}")
        for number in range(arguments.repeat):
            costs = costs_apart(files, encoder, root / f"apart{number}.db")
            run = run_ingest(folder, len(files), encoder, root / f"run{number}.db")
            bound = cores / costs.total
            ratios.append(1 / run.wall / bound)
            print(
                f"apart: decode {1e3 * costs.decode:.2f} + encode {1e3 * costs.encode:.2f} + write "
                f"{1e3 * costs.write:.2f} = {1e3 * costs.total:.2f} ms of CPU a picture: bound {bound:.1f} pictures/s; "
                f"ingest {1 / run.wall:.1f} pictures/s: {ratios[-1]:.3f} "
                f"(overhead {run.cpu / costs.total - 1:+.1%}, idle {run.idle:.1%}, others {run.others:.1%})"
            )
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(f"peak memory of the largest process: {peak / 1024:.0f} MiB")
    print(f"ingest's pace / the bound of {cores} cores: {statistics.median(ratios):.3f} (median of {len(ratios)})")


if __name__ == "__main__":
    main()
