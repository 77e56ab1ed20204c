"""Ingest's pace against what the cores could give for the bare work, on JPEG files of 640 x 480.

The bare work is measured apart (ingest_stages.py), on the same files and the same cores, as CPU seconds (user, system):

    decode  reading a file, its sha256, decoding, the encoder's pixels, the thumbnail: a process on each core
    encode  `encode_prepared`, in ingest's own batches: a thread on each core, torch's threads one each
    write   `index.write` into a new store, 256 records at a time, with versions: one writer, as in ingest

Each core has work meanwhile, as it has in ingest: cores share caches and memory, and the same work costs 5 to 10 % less
where the other is idle, which is not what all of them can give.

    bound = cores / (decode + encode + write)     pictures a second, were every core busy with nothing else
    pace  = pictures / wall-clock seconds of the whole job, as `dar ingest` does it (into SQLite) or a worker of the
            ingest service (into OpenSearch): listing, look-ups, starting the decoders, passing pictures between
            processes, waiting for the disk, making all searchable; the encoder is loaded before

The printed ratio is pace / bound, the median over the repetitions; the bound of each is the mean of what was measured
right before and after it, as the same work's cost moves by a tenth from minute to minute. Two shares explain it:
"overhead" is the CPU time of ingest (its decoders included) beyond the bare work, and "idle" is what the cores did not
do at all meanwhile. Other programs on the machine lower the pace and not the bound: they are shown as "others".

    python bench/ingest.py [--pictures 2000] [--repeat 9] [--encoder demo|small|ViT-B-32|...] [--store sqlite|node|...]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from figures import figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ingest_stages import WRITE_SIZE, costs_apart, cpu_seconds, decoded, encode_all, records_of, write_all

from dar_search.data import Provenance
from dar_search.ingestion.decoding.cores import usable_cores
from dar_search.ingestion.decoding.decode import DecodedPicture
from dar_search.ingestion.ingest import ingest
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ingestion.pipeline.working import Worker
from dar_search.ingestion.sources.opening import open_source
from dar_search.models import catalogue
from dar_search.ports import Encoder, ImageIndex
from dar_search.settings import load_settings
from dar_search.settings.ingest import BATCH_SIZE
from dar_search.stores.node import ClusterRequest, LocalCluster
from dar_search.stores.opensearch.store import OpenSearchStore
from dar_search.stores.sqlite.ledger import SQLiteLedger
from dar_search.stores.sqlite.store import SQLiteStore
from tests.checkpoints import open_clip_folder
from tests.pictures import encoded, photograph

#: Records, and whole runs, before anything is measured: a node that has just started compiles its code meanwhile, and
#: writing costs three times as much at first.
WARM_UP, WARM_UP_RUNS = 40_000, 2
BOUND = 0.9
_SMALL_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
#: Architectures with random weights: a ViT of 64 patches, and CLIP's own picture tower.
RANDOM = {
    "small": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 192, "head_width": 32, "patch_size": 8},
        "text_cfg": _SMALL_TEXT,
    },
    "ViT-B-32": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": _SMALL_TEXT,
    },
}


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


@contextmanager
def opened(store: str, folder: Path) -> Iterator[Callable[[str, Provenance], ImageIndex]]:
    """What makes a new index by its name: in SQLite, on a local node, or on a cluster."""
    if store == "sqlite":
        yield lambda name, provenance: SQLiteStore(folder / f"{name}.db").create(name, provenance)
        return
    with nullcontext() if store != "node" else LocalCluster(ClusterRequest(heap="1g", seconds=600)) as cluster:
        made = OpenSearchStore(cluster.url if cluster else store, load_settings())
        names: list[str] = []

        def create(name: str, provenance: Provenance) -> ImageIndex:
            names.append(f"bench-{uuid.uuid4().hex[:8]}-{name}")
            return made.create(names[-1], provenance)

        try:
            yield create
        finally:
            for name in names:
                made.drop(name)
            made.close()


def warm_up(pictures: list[DecodedPicture], encoder: Encoder, index: ImageIndex) -> None:
    """Writes WARM_UP records."""
    pictures = pictures[:WRITE_SIZE]
    records = records_of(pictures, encode_all(pictures, encoder))
    for number in range(WARM_UP // len(records)):
        write_all([replace(one, id=f"{number:08}{one.id}") for one in records], index)


def run_ingest(folder: Path, count: int, encoder: Encoder, index: ImageIndex, ledger: Path, *, service: bool) -> Run:
    """The job is kept in a new SQLite file. service: a worker of the ingest service does it; else as `dar ingest`."""
    jobs = SQLiteLedger(ledger)
    before, machine = cpu_seconds(), psutil.cpu_times()
    start = time.perf_counter()
    if service:
        Worker(jobs, lambda job: index, encoder).work(jobs.create(JobSpec(index.name, str(folder))).id)
    else:
        ingest(open_source(folder), index, encoder, ledger=jobs)
    wall = time.perf_counter() - start
    cpu = cpu_seconds() - before
    after = psutil.cpu_times()
    (made,) = jobs.jobs()
    found = jobs.job(made.id)
    assert (found.state, found.indexed, found.failed) == ("done", count, 0), found
    jobs.close()
    whole = sum(after[:8]) - sum(machine[:8])
    idle = (after.idle + after.iowait - machine.idle - machine.iowait) / whole
    return Run(wall / count, cpu / count, idle, max(0.0, 1 - idle - cpu / whole))


def load(name: str, folder: Path) -> Encoder:
    if name in RANDOM:
        name = f"open_clip:{open_clip_folder(folder / 'encoder', model=RANDOM[name])}"
    encoder = catalogue.encoder(name, device="cpu", dtype="float32")
    encoder.encode_images([photograph(0, 320, 240)] * BATCH_SIZE)
    return encoder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument(
        "--encoder", default="demo", help="small: a small open_clip model with random weights; ViT-B-32: that one, too"
    )
    parser.add_argument("--store", default="sqlite", help="sqlite; node: a local OpenSearch; or a cluster's address")
    arguments = parser.parse_args()
    cores = usable_cores()
    ratios = []
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        root = Path(temporary)
        folder = root / "pictures"
        folder.mkdir()
        make_pictures(folder, arguments.pictures)
        files = sorted(folder.iterdir())
        size = sum(file.stat().st_size for file in files) / len(files)
        encoder = load(arguments.encoder, root)
        print(f"{len(files):,} JPEG files of 640 x 480, {size / 1e3:.0f} kB each; {cores} cores")
        print(f"encoder: {encoder.provenance.encoder}, {encoder.preparation.describe()}")
        create = stack.enter_context(opened(arguments.store, root))
        service = arguments.store != "sqlite"

        def ingested(name: str) -> Run:
            index = create(name, encoder.provenance)
            return run_ingest(folder, len(files), encoder, index, root / f"{name}-jobs", service=service)

        pictures = [decoded(file, encoder.preparation) for file in files]
        if service:
            warm_up(pictures, encoder, create("warm-up", encoder.provenance))
            for number in range(WARM_UP_RUNS):
                ingested(f"warm-up{number}")
        before = costs_apart(files, pictures, encoder, create("apart", encoder.provenance))
        for number in range(arguments.repeat):
            run = ingested(f"run{number}")
            after = costs_apart(files, pictures, encoder, create(f"apart{number}", encoder.provenance))
            costs, before = before.mean(after), after
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
    where = {"sqlite": "SQLite", "node": "OpenSearch"}.get(arguments.store, arguments.store)
    what = f"ingestion into {where}, {arguments.pictures:,} JPEG files, encoder {arguments.encoder}"
    shown = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    figure(
        f"{what}, against {cores} cores' pace for the stages measured apart", statistics.median(ratios), shown,
        at_least=BOUND,
    )  # fmt: skip


if __name__ == "__main__":
    main()
