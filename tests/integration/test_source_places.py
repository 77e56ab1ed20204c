"""Pictures that are in no file of their own reach the decoders: a stretch of a file, and bytes in memory."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.held_bytes import HeldBytes
from dar_search.ingestion.decoding.jobs import Decoded, Job, Undecodable
from dar_search.ingestion.sources.source import SourceItem
from dar_search.preparation import Preparation
from tests.pictures import jpeg, scene

PREPARATION = Preparation(32, 32, "squash")


def test_a_stretch_of_a_file_and_bytes_in_memory_are_decoded_as_the_file_would_be(tmp_path: Path) -> None:
    picture = jpeg(scene())
    alone, among = tmp_path / "alone.jpg", tmp_path / "among.bin"
    alone.write_bytes(picture)
    among.write_bytes(b"x" * 1_000 + picture + b"y" * 1_000)
    jobs = [
        Job(SourceItem("file", "k", bytes(alone))),
        Job(SourceItem("stretch", "k", bytes(among), start=1_000, length=len(picture))),
        Job(SourceItem("memory", "k", b"", at="x:1"), data=picture),
        Job(SourceItem("beyond", "k", bytes(among), start=2_500, length=len(picture))),
    ]
    outcomes = {outcome.job.item.id: outcome for outcome in Decoders(PREPARATION, processes=1).decode(jobs)}
    for name in ("file", "stretch", "memory"):
        decoded = outcomes[name]
        assert isinstance(decoded, Decoded)
        assert decoded.sha256 == hashlib.sha256(picture).hexdigest()
        assert (decoded.width, decoded.height) == scene().size
    beyond = outcomes["beyond"]
    assert isinstance(beyond, Undecodable)
    assert beyond.code == "truncated_picture"


@pytest.mark.skipif(sys.platform != "linux", reason="counts open descriptors in /proc")
def test_held_bytes_are_freed_once_they_were_answered() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    jobs = (Job(SourceItem(str(number), "k", b"", at="x:1"), data=jpeg(scene())) for number in range(20))
    assert sum(isinstance(outcome, Decoded) for outcome in Decoders(PREPARATION, processes=2).decode(jobs)) == 20
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_held_bytes_are_read_from_their_start_by_whoever_opens_them() -> None:
    held = HeldBytes(b"abc")
    assert [Path(os.fsdecode(held.path)).read_bytes() for _ in range(2)] == [b"abc", b"abc"]
    held.close()
    assert not Path(os.fsdecode(held.path)).exists()
