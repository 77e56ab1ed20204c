"""Decoder processes: no picture takes the work down, or another picture with it."""

import contextlib
import dataclasses
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dar_search.data import ImageRecord
from dar_search.errors import DarError, DecodersUnavailable, ModelFailed, OutOfResources
from dar_search.ingestion.decoding.decode import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.decoding.decoder_handle import COMMAND, MOST_JOBS
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Outcome, Same, Undecodable
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.pipeline.uploads import Upload, Uploads
from dar_search.ingestion.sources.locations import file_uri, record_id
from dar_search.ingestion.sources.source import SourceItem
from dar_search.preparation import Preparation
from dar_search.stores.sqlite.store import SQLiteStore
from tests import hostile_decoder
from tests.grid_encoder import GridEncoder
from tests.hostile_decoder import hostile
from tests.pictures import jpeg, png, scene
from tests.shortages import held_by, no_descriptors

ROOT = Path(__file__).resolve().parents[2]
PREPARATION = Preparation(32, 32, "squash")


@pytest.fixture(autouse=True)
def tests_are_importable_in_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def job(path: Path, stored_digest: str = "") -> Job:
    key = file_uri(bytes(path))
    return Job(SourceItem(record_id(key), key, bytes(path)), stored_digest)


def jobs(folder: Path, contents: Sequence[bytes]) -> list[Job]:
    for number, content in enumerate(contents):
        (folder / f"{number:03}.jpg").write_bytes(content)
    return [job(folder / f"{number:03}.jpg") for number in range(len(contents))]


def hostile_decoders(limits: DecodeLimits = DEFAULT_LIMITS, processes: int = 2) -> Decoders:
    return Decoders(PREPARATION, limits, processes=processes, command=hostile_decoder.COMMAND)


def decoder_processes() -> list[psutil.Process]:
    """Those that this process has started; other tests may have left servers running."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("decoder" in word for word in child.cmdline()):
                found.append(child)
    return found


def codes(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """File name -> code, "" for a decoded picture. Fails if a picture has two outcomes."""
    found = {
        Path(os.fsdecode(outcome.job.item.path)).name: outcome.code if isinstance(outcome, Undecodable) else ""
        for outcome in outcomes
    }
    assert len(found) == len(outcomes)
    return found


def test_every_picture_has_one_outcome(tmp_path: Path) -> None:
    work = jobs(tmp_path, [jpeg(scene())] * 30)
    outcomes = list(Decoders(PREPARATION, processes=2).decode(work))
    assert codes(outcomes) == {f"{number:03}.jpg": "" for number in range(30)}
    first = outcomes[0]
    assert isinstance(first, Decoded)
    assert first.pixels.shape == (32, 32, 3)
    assert (first.width, first.height) == (200, 120)


def test_bytes_that_the_index_has_are_not_decoded(tmp_path: Path) -> None:
    (work,) = jobs(tmp_path, [jpeg(scene())])
    (decoded,) = Decoders(PREPARATION).decode([work])
    assert isinstance(decoded, Decoded)
    again = Job(work.item, f"{decoded.sha256}:whatever")
    assert list(Decoders(PREPARATION).decode([again])) == [Same(again)]
    (tmp_path / "000.jpg").write_bytes(jpeg(scene(), 3))
    (changed,) = Decoders(PREPARATION).decode([again])
    assert isinstance(changed, Decoded)


@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("segfault", "decoder_died", "SIGSEGV"),
        ("killed", "decoder_died", "SIGKILL"),
        ("exit", "decoder_died", "the last words"),
        ("eat", "out_of_memory", "memory"),
        ("babble 4", "decoder_died", ""),
        ("lie", "decoder_died", ""),
    ],
)
def test_a_hostile_picture_costs_one_failure_and_the_work_goes_on(
    tmp_path: Path, does: str, code: str, says: str
) -> None:
    good = jpeg(scene())
    work = jobs(tmp_path, [good, good, hostile(does), good, good, hostile(does), good, good])
    outcomes = list(hostile_decoders().decode(work))
    assert codes(outcomes) == {f"{number:03}.jpg": code if number in (2, 5) else "" for number in range(8)}
    messages = [outcome.message for outcome in outcomes if isinstance(outcome, Undecodable)]
    assert all(says in message and message.isprintable() for message in messages)


def test_a_picture_that_hangs_its_decoder_costs_one_failure_and_the_work_goes_on(tmp_path: Path) -> None:
    work = jobs(tmp_path, [jpeg(scene()), hostile("hang"), jpeg(scene()), jpeg(scene())])
    outcomes = list(hostile_decoders(replace(DEFAULT_LIMITS, seconds=6)).decode(work))
    assert codes(outcomes) == {"000.jpg": "", "001.jpg": "decode_timeout", "002.jpg": "", "003.jpg": ""}
    assert [outcome.message for outcome in outcomes if isinstance(outcome, Undecodable)] == [
        "Decoding took longer than 6 s. Make the picture smaller, or raise ingest.decode.seconds."
    ]


def test_nothing_but_hostile_pictures_still_ends(tmp_path: Path) -> None:
    work = jobs(tmp_path, [hostile("killed")] * 12)
    assert set(codes(list(hostile_decoders().decode(work))).values()) == {"decoder_died"}


def test_a_real_picture_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    slow, quick = jobs(tmp_path, [png(9_900, 9_900), jpeg(scene())])
    limits = replace(DEFAULT_LIMITS, seconds=0.05)
    (outcome,) = Decoders(PREPARATION, limits, processes=1).decode([slow])
    assert isinstance(outcome, Undecodable)
    assert outcome.code == "decode_timeout"
    assert codes(list(Decoders(PREPARATION, processes=1).decode([slow, quick]))) == {"000.jpg": "", "001.jpg": ""}


def test_a_real_picture_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    big, small = jobs(tmp_path, [png(9_900, 9_900), jpeg(scene())])
    limits = replace(DEFAULT_LIMITS, memory_bytes=96 << 20)
    assert codes(list(Decoders(PREPARATION, limits, processes=1).decode([big, small]))) == {
        "000.jpg": "out_of_memory",
        "001.jpg": "",
    }


def test_a_consumer_that_takes_its_time_makes_no_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = jobs(tmp_path, [jpeg(scene())] * 6)
    decoders = Decoders(PREPARATION, processes=2)
    outcomes = decoders.decode(work)
    found = [next(outcomes)]
    for handle in decoders._handles:
        assert not handle.jobs or select.select([handle.answers], [], [], 60)[0], "an answer should wait in the pipe"
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 10 * DEFAULT_LIMITS.seconds)
    assert set(codes([*found, *outcomes]).values()) == {""}


def test_jobs_are_taken_only_as_they_are_needed(tmp_path: Path) -> None:
    taken = 0

    def supply() -> Iterator[Job]:
        nonlocal taken
        for work in jobs(tmp_path, [jpeg(scene())] * 40):
            taken += 1
            yield work

    for done, _ in enumerate(Decoders(PREPARATION, processes=2).decode(supply()), start=1):
        assert taken - done < 2 * MOST_JOBS


def test_processes_start_only_as_they_are_needed_and_end_with_the_iterator(tmp_path: Path) -> None:
    work = jobs(tmp_path, [jpeg(scene())] * 9)
    outcomes = Decoders(PREPARATION, processes=8).decode(work[:2])
    next(outcomes)
    children = decoder_processes()
    assert len(children) == 2
    outcomes.close()  # type: ignore[attr-defined]
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_stopping_from_another_thread_ends_the_iterator_though_a_decoder_hangs(tmp_path: Path) -> None:
    work = jobs(tmp_path, [hostile("hang")] * 2)
    decoders = hostile_decoders()
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(decoders.decode(work)))
    thread.start()
    decoders.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert outcomes == []


@pytest.mark.parametrize("command", [("false",), (sys.executable, "-c", "raise SystemExit('no such module')")])
def test_decoders_that_do_not_start_are_one_clear_error(tmp_path: Path, command: tuple[str, ...]) -> None:
    work = jobs(tmp_path, [jpeg(scene())])
    with pytest.raises(DarError, match="does not start: ended with status 1") as raised:
        list(Decoders(PREPARATION, command=command).decode(work))
    assert raised.value.hint


def test_an_error_of_the_supply_is_raised_and_leaves_no_process_behind(tmp_path: Path) -> None:
    def supply() -> Iterator[Job]:
        yield from jobs(tmp_path, [jpeg(scene())] * 3)
        raise OSError("the list broke off")

    with pytest.raises(OSError, match="the list broke off"):
        list(Decoders(PREPARATION, processes=2).decode(supply()))
    assert decoder_processes() == []


def test_a_decoder_knows_no_secret_of_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "geheim")
    outcomes = Decoders(PREPARATION, processes=1).decode(jobs(tmp_path, [jpeg(scene())] * 2))
    next(outcomes)
    (child,) = decoder_processes()
    assert "OPENSEARCH_PASSWORD" not in child.environ()
    outcomes.close()  # type: ignore[attr-defined]


def test_a_file_in_the_working_folder_cannot_pose_as_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = jobs(tmp_path, [jpeg(scene())])
    (tmp_path / "numpy.py").write_text("raise SystemExit('posing')")
    monkeypatch.chdir(tmp_path)
    assert codes(list(Decoders(PREPARATION, command=COMMAND).decode(work))) == {"000.jpg": ""}


@pytest.mark.parametrize("does", ["hang", "wait"])
def test_decoders_end_when_the_process_that_started_them_is_killed(tmp_path: Path, does: str) -> None:
    """Also one that hangs in native code, and one that waits for work."""
    told = tmp_path / "pid"
    (tmp_path / "a.jpg").write_bytes(hostile(f"hang {told}") if does == "hang" else jpeg(scene()))
    script = f"""
import os, sys, threading
from pathlib import Path
from tests.integration.test_ingestion_decoders import hostile_decoders, job
outcomes = hostile_decoders(processes=1).decode(work for work in [job(Path({str(tmp_path / "a.jpg")!r}))] * 2)
threading.Thread(target=lambda: list(outcomes), daemon=True).start() if {does == "hang"} else next(outcomes)
print("started", flush=True)
threading.Event().wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == "started\n"
        while does == "hang" and not (told.exists() and told.read_text()):
            assert parent.poll() is None
            threading.Event().wait(0.01)  # another process writes the file: there is no event to wait for
        (child,) = psutil.Process(parent.pid).children()
        watch = os.pidfd_open(child.pid)
        try:
            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()
            assert select.select([watch], [], [], 60)[0], "the decoder outlived its parent"
        finally:
            os.close(watch)


def test_without_descriptors_no_decoder_starts_and_no_picture_is_to_blame(tmp_path: Path) -> None:
    work = jobs(tmp_path, [jpeg(scene())])
    before = held_by()
    with no_descriptors(), pytest.raises(DecodersUnavailable, match="Too many open files"):
        list(Decoders(PREPARATION).decode(work))
    assert held_by() == before
    assert codes(list(Decoders(PREPARATION).decode(work))) == {"000.jpg": ""}


class Held:
    """Jobs of which the first is given, and the others only when they are let go."""

    def __init__(self, work: list[Job]) -> None:
        self._work = work
        self.let_go = False

    def __iter__(self) -> Iterator[Job | None]:
        yield self._work[0]
        while not self.let_go:
            yield None
        yield from self._work[1:]


def test_where_one_decoder_more_cannot_be_started_those_that_are_there_do_the_work(tmp_path: Path) -> None:
    held = Held(jobs(tmp_path, [jpeg(scene())] * 12))
    outcomes = Decoders(PREPARATION, processes=8).decode(held)
    found = [next(outcomes)]
    held.let_go = True
    with no_descriptors():
        found += outcomes
    assert codes(found) == {f"{number:03}.jpg": "" for number in range(12)}


def test_bytes_for_which_there_is_no_descriptor_are_not_given_and_not_to_blame(tmp_path: Path) -> None:
    before = held_by()
    held = Held([dataclasses.replace(one, data=jpeg(scene())) for one in jobs(tmp_path, [b""] * 3)])
    outcomes = Decoders(PREPARATION, processes=1).decode(held)
    next(outcomes)
    held.let_go = True
    with no_descriptors(), pytest.raises(OutOfResources, match="Too many open files"):
        next(outcomes)
    assert held_by() == before


def test_a_decoder_that_lacks_a_descriptor_blames_no_picture(tmp_path: Path) -> None:
    work = jobs(tmp_path, [jpeg(scene()), hostile("short"), jpeg(scene())])
    with pytest.raises(OutOfResources, match="Too many open files"):
        list(hostile_decoders(processes=1).decode(work))
    assert decoder_processes() == []


def test_uploads_outlive_decoders_that_cannot_start(tmp_path: Path) -> None:
    """Its program is missing, then ends at once, and then is there."""
    program = tmp_path / "decoder"
    ledger, encoder, store = MemoryLedger(), GridEncoder(), SQLiteStore(tmp_path / "store.db")
    index = store.create("uploads", encoder.provenance)
    uploads = Uploads(ledger, encoder, lambda url: b"", command=(str(program),))
    try:
        assert uploads.trouble() is None
        for says in ("No such file", "ended with status 1"):
            with pytest.raises(DecodersUnavailable, match=says):
                uploads.put(index, [Upload(jpeg(scene()))])
            trouble = uploads.trouble()
            assert trouble is not None
            assert says in trouble.message
            program.write_text("#!/bin/sh\nexit 1\n")
            program.chmod(0o755)
        program.with_name("new").write_text(f"#!/bin/sh\nexec {shlex.join(COMMAND)}\n")
        program.with_name("new").chmod(0o755)
        program.with_name("new").replace(program)
        while uploads.trouble() is not None:
            threading.Event().wait(0.02)  # it tries by itself, in a thread of its own
        (record,) = uploads.put(index, [Upload(jpeg(scene()))])
        assert isinstance(record, ImageRecord)
    finally:
        uploads.close()
        store.close()
    with pytest.raises(ModelFailed, match="ending"):
        uploads.put(index, [Upload(jpeg(scene()))])
