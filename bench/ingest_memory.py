"""Memory of an ingestion of many pictures, its decoders included: it must not grow with their number.

    python bench/ingest_memory.py [--pictures 50000] [--encoder demo|small|ViT-B-32|...] [--store sqlite|node|...]

Different JPEG files of 640 x 480 under many names: each is read, decoded, encoded and written. What is this program's
alone (USS, its decoder processes included) is taken each second. Printed: the median at each tenth of the time, and
the last tenth against the second (the first still loads).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import psutil
from figures import figure

from ingest import load, make_pictures, opened, run_ingest

DIFFERENT = 2_000
BOUND = 1.1
MIB = 1 << 20


class Sampler:
    """Takes the memory of this process and of its decoders until it is stopped, in MiB."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(1.0):
            with suppress(psutil.NoSuchProcess):
                taken = [own, *(child for child in own.children() if child.name() != "java")]
                self.samples.append(sum(process.memory_full_info().uss for process in taken) / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--encoder", default="demo")
    parser.add_argument("--store", default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        few, many = root / "few", root / "many"
        few.mkdir()
        many.mkdir()
        make_pictures(few, min(DIFFERENT, arguments.pictures))
        files = sorted(few.iterdir())
        for number in range(arguments.pictures):
            os.link(files[number % len(files)], many / f"{number:06}.jpg")
        encoder = load(arguments.encoder, root)
        with opened(arguments.store, root) as create:
            index = create("memory", encoder.provenance)
            sampler = Sampler()
            try:
                run = run_ingest(many, arguments.pictures, encoder, index, root / "jobs")
            finally:
                sampler.stop()
    tenths = [sampler.samples[n * len(sampler.samples) // 10 : (n + 1) * len(sampler.samples) // 10] for n in range(10)]
    medians = [statistics.median(tenth) for tenth in tenths if tenth]
    print(f"{arguments.pictures:,} pictures in {run.wall * arguments.pictures:.0f} s, {1 / run.wall:.0f} a second")
    print("memory by tenths of the time, MiB: " + " ".join(f"{median:.0f}" for median in medians))
    what = f"ingestion of {arguments.pictures:,} pictures, memory in the last tenth of the time against the second"
    figure(what, medians[-1] / medians[1], at_most=BOUND)


if __name__ == "__main__":
    main()
