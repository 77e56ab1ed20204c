"""Vectors that exist already: in without a model, once each, and only where they are the encoder's."""

import random
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import FloatArray
from dar_search.errors import EncoderMismatch, SourceError, SourceNotAllowed
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.report import IngestReport
from dar_search.ingestion.pipeline.working import Worker
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.store import SQLiteStore
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import fill, stored
from tests.integration.test_ingestion_killed import finish, stop_after
from tests.picture_lists import embeddings, parquet_list

COUNT = 45
D = GridEncoder.provenance.dimension


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "store.sqlite")) as opened:
        yield opened


@pytest.fixture
def index(store: SQLiteStore) -> SQLiteIndex:
    return store.create("photos", GridEncoder.provenance)


def encoded(folder: Path) -> FloatArray:
    pictures = [Image.open(path) for path in sorted(folder.glob("*.jpg"))]
    return GridEncoder().encode_images(pictures)


def bring(source: Path, index: SQLiteIndex, encoder: GridEncoder | None = None, **options: Any) -> IngestReport:
    request = IngestRequest(processes=1)
    return ingest(open_source(source, **options), index, encoder or GridEncoder(), request)


def random_vectors(count: int, dimension: int = D) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(count, dimension)).astype(np.float32)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_folder_of_embeddings_goes_in_as_it_is(tmp_path: Path, index: SQLiteIndex, kind: type) -> None:
    (tmp_path / "pictures").mkdir()
    fill(tmp_path / "pictures", COUNT)
    vectors = encoded(tmp_path / "pictures") * 7  # of any length
    paths = [str(path) for path in sorted((tmp_path / "pictures").glob("*.jpg"))]
    captions = [f"picture {number}" for number in range(COUNT)]
    source = embeddings(tmp_path / "emb", vectors.astype(kind), paths, caption=captions)
    encoder = GridEncoder()
    report = bring(source, index, encoder)
    assert (report.indexed, report.failures, report.notes) == (COUNT, (), ())
    assert encoder.pictures == 32, "a sample alone is encoded"
    records = {record.source: record for record in stored(index).values()}
    for path, vector, caption in zip(paths, vectors, captions, strict=True):
        record = records[Path(path).resolve().as_uri()]
        assert record.embedding @ vector / 7 > 0.9999
        assert abs(float(np.linalg.norm(record.embedding)) - 1) < 1e-6
        assert (record.caption, record.thumbnail) == (caption, None)
    again = bring(source, index)
    assert (again.indexed, again.unchanged) == (0, COUNT)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), D), pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float16())]
)
def test_a_column_of_a_parquet_list_has_the_vectors(tmp_path: Path, index: SQLiteIndex, kind: pa.DataType) -> None:
    (tmp_path / "pictures").mkdir()
    fill(tmp_path / "pictures", COUNT)
    rows = encoded(tmp_path / "pictures").astype(np.float16 if "halffloat" in str(kind) else np.float64)
    source = parquet_list(tmp_path / "list.parquet", tmp_path / "pictures", COUNT, emb=pa.array(list(rows), kind))
    encoder = GridEncoder()
    report = bring(source, index, encoder, vectors="emb")
    assert (report.indexed, report.failures, encoder.pictures) == (COUNT, (), 32)
    assert {record.metadata["city"] for record in stored(index).values()} == {"Paris"}
    whole = list(open_source(source, vectors="emb").items())
    assert list(open_source(source, vectors="emb").items(whole[16].cursor)) == whole[17:]


def test_pictures_in_the_same_file_are_the_sample(tmp_path: Path, index: SQLiteIndex) -> None:
    (tmp_path / "pictures").mkdir()
    fill(tmp_path / "pictures", COUNT)
    held = [path.read_bytes() for path in sorted((tmp_path / "pictures").glob("*.jpg"))]
    for name, vectors in (("wrong", random_vectors(COUNT)), ("right", encoded(tmp_path / "pictures"))):
        table = pa.table({"image": held, "emb": list(vectors)})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=10)
    with pytest.raises(EncoderMismatch, match="over 32 pictures"):
        bring(tmp_path / "wrong.parquet", index, vectors="emb")
    encoder = GridEncoder()
    assert bring(tmp_path / "right.parquet", index, encoder, vectors="emb").indexed == COUNT
    assert encoder.pictures == 32


def test_vectors_of_another_model_are_refused_with_what_was_measured(tmp_path: Path, index: SQLiteIndex) -> None:
    (tmp_path / "pictures").mkdir()
    fill(tmp_path / "pictures", COUNT)
    paths = [str(path) for path in sorted((tmp_path / "pictures").glob("*.jpg"))]
    with pytest.raises(EncoderMismatch, match=r"grid.*cosine -?0\.\d{3} .* over 32 pictures"):
        bring(embeddings(tmp_path / "other", random_vectors(COUNT), paths), index)
    with pytest.raises(EncoderMismatch, match=f"have {D + 1} dimensions"):
        bring(embeddings(tmp_path / "longer", random_vectors(COUNT, D + 1), paths), index)
    assert index.count() == 0


def test_rows_that_were_mixed_up_are_refused(tmp_path: Path, index: SQLiteIndex) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / f"pictures/{number:03}.jpg")
    paths = [str(path) for path in sorted((tmp_path / "pictures").glob("*.jpg"))]
    vectors = encoded(tmp_path / "pictures")
    with pytest.raises(EncoderMismatch):
        bring(embeddings(tmp_path / "mixed", np.roll(vectors, 1, 0), paths), index)
    assert bring(embeddings(tmp_path / "right", vectors, paths), index).indexed == COUNT


class NoModel(GridEncoder):
    """An encoder that is here by name alone."""

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        raise AssertionError("no picture is to be encoded")


def test_where_no_picture_can_be_read_they_go_in_and_that_is_said(tmp_path: Path, index: SQLiteIndex) -> None:
    names = [f"{number:09}" for number in range(COUNT)]  # as a webdataset's keys are
    source = embeddings(tmp_path / "emb", random_vectors(COUNT), names)
    report = bring(source, index, NoModel())
    assert report.indexed == COUNT
    assert [note for note in report.notes if "grid was not checked" in note] == list(report.notes) != []
    places = sorted(record.source.rpartition("/")[2] for record in stored(index).values())
    assert places[0] == "metadata_0.parquet#R1"


def test_a_row_whose_vector_has_no_direction_is_a_failure(tmp_path: Path, index: SQLiteIndex) -> None:
    vectors = random_vectors(6)
    vectors[1] = 0
    vectors[2, 3] = np.nan
    vectors[4, 5] = np.inf
    source = embeddings(tmp_path / "emb", vectors, ["x"] * 6)
    report = bring(source, index, NoModel())
    assert report.indexed == 3
    assert [(one.source.rpartition("#")[2], one.code) for one in report.failures] == [
        (row, "bad_vector") for row in ("R2", "R3", "R5")
    ]
    ragged = [[1.0] * D, [1.0] * (D - 1), None, [None] * D, [], [2.0] + [0.0] * (D - 1)]
    pq.write_table(pa.table({"id": list("abcdef"), "emb": ragged}), tmp_path / "ragged.parquet")
    report = bring(tmp_path / "ragged.parquet", index, NoModel(), vectors="emb")
    assert (report.indexed, [one.code for one in report.failures]) == (2, ["bad_vector"] * 4)


def test_halves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def made(name: str) -> Path:
        return embeddings(tmp_path / name, random_vectors(20), ["x"] * 20)

    lone = made("lone")
    (lone / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(SourceError, match="both halves of part 1"):
        open_source(lone)
    uneven = made("uneven")
    np.save(uneven / "img_emb" / "img_emb_0.npy", random_vectors(9))
    with pytest.raises(SourceError, match="9 vectors, and its table 10 rows"):
        open_source(uneven)
    for wrong in (np.ones(10, np.float32), np.ones((10, 4), np.int64), np.asfortranarray(random_vectors(10))):
        other = made(f"wrong {wrong.dtype} {wrong.ndim}")
        np.save(other / "img_emb" / "img_emb_0.npy", wrong)
        with pytest.raises(SourceError, match="NumPy file cannot be read"):
            open_source(other)
    kept = made("kept")
    with Outside(allowance=Allowance.named([str(kept / "metadata")])) as outside, pytest.raises(SourceNotAllowed):
        open_source(kept, outside=outside)


def test_new_captions_do_not_need_the_vectors_again(tmp_path: Path, index: SQLiteIndex) -> None:
    vectors = random_vectors(6)
    source = embeddings(tmp_path / "a", vectors, ["x"] * 6, caption=["old"] * 6)
    bring(source, index, NoModel())
    pq.write_table(pa.table({"caption": ["new"] * 6}), source / "metadata" / "metadata_0.parquet")
    report = bring(source, index, NoModel())
    assert report.indexed == 6
    assert {record.caption for record in stored(index).values()} == {"new"}
    assert len({record.embedding.tobytes() for record in stored(index).values()}) == 6


def test_a_worker_pauses_a_job_whose_vectors_are_another_models(tmp_path: Path, store: SQLiteStore) -> None:
    (tmp_path / "pictures").mkdir()
    fill(tmp_path / "pictures", COUNT)
    paths = [str(path) for path in sorted((tmp_path / "pictures").glob("*.jpg"))]
    vectors = encoded(tmp_path / "pictures")
    ledger = MemoryLedger()
    done = []
    for name, brought in (("wrong", random_vectors(COUNT)), ("right", vectors)):
        source = embeddings(tmp_path / name, brought, paths)
        job = ledger.create(JobSpec(name, str(source), store.address))
        worker = Worker(ledger, lambda job: store.create(job.spec.index, GridEncoder.provenance), GridEncoder())
        worker.work(job.id)
        done.append(ledger.job(job.id))
    assert [job.state for job in done] == ["paused", "done"]
    assert "cosine" in str(done[0])
    assert store.names() == ["right"]


def test_a_run_that_was_killed_goes_on_and_has_each_vector_once(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    fill(tmp_path / "pictures", 40)
    paths = [str(path) for path in sorted((tmp_path / "pictures").glob("*.jpg"))]
    vectors = np.tile(encoded(tmp_path / "pictures"), (60, 1))
    pictures = [f"{path}#{number}" if number >= 40 else path for number, path in enumerate(paths * 60)]
    source = embeddings(tmp_path / "emb", vectors, pictures, part=500)
    whole, steps = finish(source, tmp_path / "whole.sqlite")
    assert whole["indexed"] == len(vectors)
    stop_after(source, tmp_path / "killed.sqlite", random.Random(3).randrange(3, steps - 2), signal.SIGKILL)
    killed, _ = finish(source, tmp_path / "killed.sqlite")
    assert (killed["indexed"] + killed["unchanged"], killed["failures"]) == (len(vectors), [])
    one, other = stored(open_index(tmp_path / "whole.sqlite")), stored(open_index(tmp_path / "killed.sqlite"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key].embedding, other[key].embedding) for key in one)
