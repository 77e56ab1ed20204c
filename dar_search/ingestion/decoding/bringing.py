"""Brings pictures that are in no file into memory, several at once, before they are decoded."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from dar_search.errors import OutOfResources, PictureError
from dar_search.ingestion.decoding.jobs import Job, Undecodable
from dar_search.ingestion.sources.source import SourceItem

# Bytes that wait for a decoder; beyond them nothing more is begun.
MAX_WAITING_BYTES = 128 << 20
_WAIT_SECONDS = 0.02


def brought(
    jobs: Iterator[Job | None], picture: Callable[[SourceItem], bytes], threads: int, in_order: tuple[str, ...] = ()
) -> Generator[Job | Undecodable | None, None, None]:
    """Jobs whose pictures are in a file, or at hand, go by; the others come as they are ready, with bytes or failed.

    None: there is nothing just now. The iterator never waits long, and never for a picture that is on its way alone.

    Args:
        picture: an item -> its bytes; called from other threads. Raises PictureError for a failure of the item;
            what else it raises is raised here, and OutOfResources where the failure came of that.
        threads: how many at once.
        in_order: beginnings of `SourceItem.at` of pictures that are read one by one, in this thread.
    """
    pool: ThreadPoolExecutor | None = None
    under_way: dict[Future[bytes], Job] = {}
    ready: deque[Job | Undecodable] = deque()
    ended = False
    try:
        while not ended or under_way or ready:
            none_now = False
            while not ended and len(under_way) < threads and _waiting(ready) < MAX_WAITING_BYTES:
                try:
                    job = next(jobs)
                except StopIteration:
                    ended = True
                    break
                if job is None:
                    none_now = True
                    break
                if job.data or not job.item.at:
                    yield job
                    continue
                if in_order and job.item.at.startswith(in_order):
                    yield _result(job, partial(picture, job.item))
                    continue
                pool = pool or ThreadPoolExecutor(threads, "dar-bring")
                under_way[pool.submit(picture, job.item)] = job
            if not ready and under_way:
                wait(under_way, 0 if none_now else _WAIT_SECONDS, FIRST_COMPLETED)
            for future in [future for future in under_way if future.done()]:
                ready.append(_result(under_way.pop(future), future.result))
            if ready:
                yield ready.popleft()
            elif not ended or under_way:
                yield None
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _waiting(ready: deque[Job | Undecodable]) -> int:
    return sum(len(one.data) for one in ready if isinstance(one, Job))


def _result(job: Job, picture: Callable[[], bytes]) -> Job | Undecodable:
    try:
        return dataclasses.replace(job, data=picture())
    except PictureError as error:
        if (short := OutOfResources.of(error)) is not None:
            raise short from error
        return Undecodable(job, error.code, str(error))
