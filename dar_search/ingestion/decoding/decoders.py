"""Decoder processes at work: jobs in, outcomes out, whatever the pictures are.

A process that hangs or dies costs one failure: it is replaced, and the work goes on.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

from dar_search.errors import DecodersUnavailable, PictureError
from dar_search.ingestion.decoding.bringing import brought
from dar_search.ingestion.decoding.cores import usable_cores
from dar_search.ingestion.decoding.decoder_handle import COMMAND, START_SECONDS, DecoderHandle, Died
from dar_search.ingestion.decoding.jobs import Decoded, Job, Outcome, Undecodable
from dar_search.ingestion.decoding.limits import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ingestion.sources.outside import IN_ORDER, Outside
from dar_search.ingestion.sources.source import SourceItem
from dar_search.preparation import Preparation

MAX_FAILED_STARTS = 3
_STOP_CHECK_SECONDS = 0.2
_NO_JOB_SECONDS = 0.02
_START_HINT = "Check the installation, the memory, and the limits of processes and open files."
# Answers that come one by one are waited for a little, while every process has work: each awakening has its price.
_GATHER_SECONDS = 0.05


class Decoders:
    """A set of decoder processes.

    Args:
        preparation: the encoder's.
        limits: what one picture may cost.
        processes: how many at once; None: one for each core.
        command: what to start; another one is for tests.
        outside: where pictures come from that are in no file, and which files may be read; None: the web, with the
            default settings, and every file. What is given is left open.
    """

    def __init__(
        self,
        preparation: Preparation,
        limits: DecodeLimits = DEFAULT_LIMITS,
        *,
        processes: int | None = None,
        command: Sequence[str] = COMMAND,
        outside: Outside | None = None,
    ) -> None:
        self._outside = outside or Outside()
        self._closes_outside = outside is None
        self._preparation = preparation
        self._limits = limits
        self._most = processes or usable_cores()
        self._command = command
        self._handles: list[DecoderHandle] = []
        self._again: deque[Job] = deque()
        self._not_brought: list[Outcome] = []
        self._failed_starts = 0
        self._stopping = False

    @property
    def allowance(self) -> Allowance:
        """What may be read."""
        return self._outside.allowance

    def decode(self, jobs: Iterable[Job | None]) -> Iterator[Outcome]:
        """One outcome for each job; see `bursts`."""
        with closing(self.bursts(jobs)) as bursts:
            for burst in bursts:
                yield from burst

    def bursts(self, jobs: Iterable[Job | None]) -> Generator[list[Outcome], None, None]:
        """One outcome for each job, in the order in which they are done, as many at a time as there are just then.

        Takes jobs as it needs them. A None among the jobs says that there is none just now: it is asked again soon.

        Processes start with the first jobs, in the calling thread, and end with the iterator. Where another one cannot
        be started, those that are there do the work.

        Raises:
            DecodersUnavailable: decoder processes do not start.
            OutOfResources: there are no descriptors for what the jobs need. In both cases no picture is to blame.
        """
        outside = self._outside
        source = brought(iter(jobs), outside.picture, outside.fetch_settings.concurrency, IN_ORDER)
        try:
            while not self._stopping:
                more = self._hand_out(source)
                for handle in self._handles:
                    handle.send()
                if self._not_brought:
                    burst, self._not_brought = self._not_brought, []
                    yield burst
                if not more and not any(handle.jobs for handle in self._handles):
                    return
                if burst := [outcome for handle in self._worth_a_look() for outcome in self._collect(handle)]:
                    yield burst
        finally:
            for handle in self._handles:
                handle.end()
            self._handles.clear()
            source.close()
            if self._closes_outside:
                outside.close()

    def stop(self) -> None:
        """Makes `decode` end soon, from any thread, without outcomes for what is under way."""
        self._stopping = True

    def kill(self) -> None:
        """Ends the processes now, from any thread, where the one that they work for does not come back. What else they
        have is freed once it does."""
        self._stopping = True
        for handle in list(self._handles):
            handle.kill()

    def _hand_out(self, source: Iterator[Job | Undecodable | None]) -> bool:
        """Keeps every process supplied -> whether there may be more jobs."""
        while len(self._handles) < self._most or any(len(handle.jobs) < handle.wanted for handle in self._handles):
            try:
                job = self._again.popleft() if self._again else next(source)
            except StopIteration:
                return False
            if job is None:
                return True
            if isinstance(job, Undecodable):
                self._not_brought.append(job)
                return True
            self._supplied_worst().give(job)
        return True

    def _supplied_worst(self) -> DecoderHandle:
        """An idle process, else a new one, else the one that lacks the most."""
        handle = min(self._handles, key=lambda handle: len(handle.jobs) - handle.wanted, default=None)
        if handle is not None and (not handle.jobs or len(self._handles) >= self._most):
            return handle
        try:
            new = DecoderHandle(self._preparation, self._limits, self._command, self._outside.allowance)
        except OSError as error:
            if handle is None:
                raise DecodersUnavailable(f"No decoder process can be started: {error}.", _START_HINT) from error
            self._most = len(self._handles)
            return handle
        self._handles.append(new)
        return new

    def _worth_a_look(self) -> list[DecoderHandle]:
        """The processes that have answered, ended or hang; waits for one, but never long, so that `stop` is seen."""
        poll = select.poll()
        for handle in self._handles:
            poll.register(handle.answers, select.POLLIN)
        ready = poll.poll(0)
        if not ready:
            longest = _STOP_CHECK_SECONDS if any(handle.jobs for handle in self._handles) else _NO_JOB_SECONDS
            left = min((handle.seconds_left() for handle in self._handles), default=math.inf)
            ready = poll.poll(max(0, math.ceil(1000 * min(left, longest))))
            gather = min((handle.spare_seconds() for handle in self._handles), default=0.0)
            if ready and gather > 0:
                time.sleep(min(gather, _GATHER_SECONDS))
                ready = poll.poll(0)
        found = {descriptor for descriptor, _ in ready}
        return [handle for handle in self._handles if handle.answers in found or handle.seconds_left() <= 0]

    def _collect(self, handle: DecoderHandle) -> Iterator[Outcome]:
        try:
            outcomes = handle.receive()
        except Died:
            yield from self._replace(handle, "decoder_died")
            return
        if handle.ready:
            self._failed_starts = 0
        yield from outcomes
        # Looked at only after its answers were taken: the caller may have let us wait longer than any limit.
        if not outcomes and handle.seconds_left() <= 0:
            yield from self._replace(handle, "decode_timeout")

    def _replace(self, handle: DecoderHandle, code: str) -> Iterator[Outcome]:
        """Ends a process; its first job is to blame, the others are done again. The next job starts a new one."""
        self._handles.remove(handle)
        ending = handle.end()
        jobs = deque(handle.jobs)
        if not handle.ready:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                reason = ending if code == "decoder_died" else f"not ready after {START_SECONDS:g} s"
                raise DecodersUnavailable(f"The decoder process does not start: {reason}.", _START_HINT)
        elif jobs:
            job = jobs.popleft()
            if code == "decode_timeout":
                message = str(self._limits.timed_out())
            else:
                message = f"The decoder process died of this picture ({ending})."
            yield Undecodable(job, code, message)
        self._again.extendleft(reversed(jobs))


def decode_files(paths: Sequence[Path], preparation: Preparation, limits: DecodeLimits) -> list[Decoded]:
    """The pictures that somebody searches with, upright, in their order, decoded as ingestion does it: so a picture
    finds itself. Raises PictureError, naming the file."""
    jobs = [Job(SourceItem(str(path), str(path), os.fsencode(path.absolute()))) for path in paths]
    decoded: dict[str, Decoded] = {}
    with closing(Decoders(preparation, limits, processes=1).bursts(jobs)) as bursts:
        for outcome in chain.from_iterable(bursts):
            if isinstance(outcome, Undecodable):
                raise PictureError(outcome.code, f"{outcome.job.item.key}: {outcome.message}")
            if isinstance(outcome, Decoded):
                decoded[outcome.job.item.id] = outcome
    return [decoded[job.item.id] for job in jobs]
