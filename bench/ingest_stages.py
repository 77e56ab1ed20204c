"""The bare work of ingest, measured apart, stage by stage: see ingest.py."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from dar_search.data import FloatArray, ImageRecord
from dar_search.ingestion.decoding.cores import usable_cores
from dar_search.ingestion.decoding.decode import DEFAULT_LIMITS, DecodedPicture, decode
from dar_search.ingestion.sources.files import read_file
from dar_search.ports import Encoder, ImageIndex
from dar_search.preparation import Preparation
from dar_search.settings.ingest import BATCH_SIZE

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

WRITE_SIZE = 256


@dataclass(frozen=True)
class Costs:
    """CPU seconds a picture."""

    decode: float
    encode: float
    write: float

    @property
    def total(self) -> float:
        return self.decode + self.encode + self.write

    def mean(self, other: Costs) -> Costs:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Costs(*(statistics.mean(pair) for pair in pairs))


def cpu_seconds() -> float:
    """Of this process, of what it has waited for, and of the node that it runs."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    nodes = [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]
    return own + sum(sum(node.cpu_times()[:2]) for node in nodes)


def cpu_of(work: Callable[[], object]) -> float:
    start = cpu_seconds()
    work()
    return cpu_seconds() - start


def decoded(file: Path, preparation: Preparation) -> DecodedPicture:
    data = read_file(bytes(file), DEFAULT_LIMITS.max_bytes)
    hashlib.sha256(data).hexdigest()
    return decode(data, preparation)


def decode_cost(files: list[Path], preparation: Preparation) -> float:
    """CPU seconds of one of the processes that decode all the files at once, one on each core."""
    spawn = multiprocessing.get_context("spawn")
    start, spent = spawn.Barrier(usable_cores()), spawn.Queue()
    children = [
        spawn.Process(target=decode_all, args=(files, preparation, start, spent)) for _ in range(usable_cores())
    ]
    for child in children:
        child.start()
    costs = [spent.get() for _ in children]
    for child in children:
        child.join()
    return statistics.mean(costs)


def decode_all(files: list[Path], preparation: Preparation, start: Barrier, spent: Queue[float]) -> None:
    start.wait()
    began = time.process_time()
    for file in files:
        decoded(file, preparation)
    spent.put(time.process_time() - began)


def encode_all(pictures: list[DecodedPicture], encoder: Encoder) -> FloatArray:
    """In batches, side by side on the cores, one thread of torch's for each."""
    import torch

    def encode(start: int) -> FloatArray:
        torch.set_num_threads(1)
        batch = np.stack([picture.pixels for picture in pictures[start : start + BATCH_SIZE]])
        return encoder.encode_prepared(batch)

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(usable_cores()) as pool:
        rows = np.concatenate(list(pool.map(encode, range(0, len(pictures), BATCH_SIZE))))
    torch.set_num_threads(threads)
    return rows


def records_of(pictures: list[DecodedPicture], embeddings: FloatArray) -> list[ImageRecord]:
    return [
        ImageRecord(
            f"{number:032}", embedding, f"file:///{number}.jpg", "file:///", "0" * 129, thumbnail=picture.thumbnail
        )
        for number, (picture, embedding) in enumerate(zip(pictures, embeddings, strict=True))
    ]


def write_all(records: list[ImageRecord], index: ImageIndex) -> None:
    for start in range(0, len(records), WRITE_SIZE):
        part = records[start : start + WRITE_SIZE]
        assert index.write(part, versions=[1] * len(part)) == []
    index.refresh()


def costs_apart(files: list[Path], pictures: list[DecodedPicture], encoder: Encoder, index: ImageIndex) -> Costs:
    decode_cpu = decode_cost(files, encoder.preparation)
    embeddings: list[FloatArray] = []
    encode_cpu = cpu_of(lambda: embeddings.append(encode_all(pictures, encoder)))
    records = records_of(pictures, embeddings[0])
    write_cpu = cpu_of(lambda: write_all(records, index))
    count = len(files)
    return Costs(decode_cpu / count, encode_cpu / count, write_cpu / count)
