"""Hostile pictures through real decoder processes: each is decoded or a failure with a code, and the work goes on."""

import os
from pathlib import Path

from dar_search.ingestion.decoding.decode import DecodeLimits
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Undecodable
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.sources.locations import file_uri, record_id
from dar_search.ingestion.sources.source import SourceItem
from dar_search.preparation import Preparation
from tests.hostile_pictures import crafted, mutated, real

PREPARATION = Preparation(32, 32, "squash")
LIMITS = DecodeLimits(max_bytes=64 << 20, seconds=20, memory_bytes=1 << 30)
TORTURE = os.environ.get("DAR_TORTURE") == "1"
SEED = int(os.environ.get("DAR_TORTURE_SEED", "20261124"))


def outcomes(folder: Path, contents: dict[str, bytes]) -> dict[str, str]:
    """Name -> "decoded", or the code; the last picture, a good one, is decoded whatever came before."""
    found: dict[str, str] = {}
    names = [*contents, "zz-good.jpg"]
    for name, data in (contents | {"zz-good.jpg": real()["jpg"]}).items():
        (folder / name).write_bytes(data)
    jobs = []
    for name in names:
        key = file_uri(bytes(folder / name))
        jobs.append(Job(SourceItem(record_id(key), key, bytes(folder / name), place=name)))
    for outcome in Decoders(PREPARATION, LIMITS, processes=2).decode(jobs):
        place = outcome.job.item.place
        assert place not in found
        if isinstance(outcome, Undecodable):
            assert outcome.code in FAILURE_CODES, (place, outcome)
            assert outcome.message.isprintable()
            found[place] = outcome.code
        else:
            assert isinstance(outcome, Decoded)
            assert outcome.pixels.shape == (32, 32, 3)
            assert outcome.width * outcome.height <= LIMITS.max_pixels
            found[place] = "decoded"
    assert found.keys() == set(names)
    assert found["zz-good.jpg"] == "decoded"
    return found


def test_mutated_pictures_are_decoded_or_failures(tmp_path: Path) -> None:
    count = 5_000 if TORTURE else 200
    print(f"{count} mutations with DAR_TORTURE_SEED={SEED}")
    found = outcomes(tmp_path, mutated(SEED, count))
    codes = set(found.values())
    assert {"decoded", "truncated_picture", "broken_picture"} <= codes
    assert not codes & {"decoder_died", "decode_timeout", "file_missing", "unreadable_file"}, found


def test_crafted_pictures_are_decoded_or_the_failure_that_they_are(tmp_path: Path) -> None:
    found = outcomes(tmp_path, crafted())
    expected = {
        "bomb.png": "too_many_pixels",
        "just-too-many.png": "too_many_pixels",
        "long.png": "side_too_long",
        "bomb.tif": "too_many_pixels",
        "bomb.webp": "too_many_pixels",
        "bomb.gif": "too_many_pixels",
        "bomb.bmp": "too_many_pixels",
        "bomb.heic": "too_many_pixels",
        "bomb.jpg": "too_many_pixels",
        "two-in-one.jpg": "decoded",
        "grey-with-profile.jpg": "decoded",
        "zip.jpg": "not_a_picture",
        "pdf.jpg": "unsupported_format",
        "page.jpg": "not_a_picture",
        "drawing.jpg": "unsupported_format",
        "entities.svg.png": "unsupported_format",
        "program.jpg": "not_a_picture",
        "script.png": "not_a_picture",
        "zeros.jpg": "not_a_picture",
        "phone.heic": "broken_picture",
    }
    assert {name: found[name] for name in expected} == expected
    assert not set(found.values()) & {"decoder_died", "file_missing", "unreadable_file"}, found
