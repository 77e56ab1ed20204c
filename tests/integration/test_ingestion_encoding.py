"""Ingest with a real model: a picture's stored embedding is the one that the encoder gives for the plain picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.ingest import ingest
from dar_search.ingestion.sources.locations import record_id
from dar_search.ingestion.sources.opening import open_source
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.encoders.towers import TowersEncoder
from dar_search.stores.sqlite.store import SQLiteStore
from tests.checkpoints import open_clip_folder
from tests.pictures import encoded, jpeg, photograph


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TowersEncoder:
    return open_clip_encoder(str(open_clip_folder(tmp_path_factory.mktemp("encoder"))), device="cpu")


def test_stored_embeddings_are_those_of_the_plain_pictures(encoder: TowersEncoder, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    kinds = {
        "plain.png": encoded(photograph(1, 320, 240), "PNG"),
        "small.jpg": jpeg(photograph(2, 90, 70)),
        "turned.jpg": jpeg(photograph(3, 90, 70), 6),
        "draft.jpg": jpeg(photograph(4, 1200, 900)),
        "turned-draft.jpg": jpeg(photograph(5, 1200, 900), 8),
        "grey-draft.jpg": encoded(photograph(6, 1200, 900).convert("L"), "JPEG"),
    }
    for name, content in kinds.items():
        (folder / name).write_bytes(content)
    index = SQLiteStore(tmp_path / "store.db").create("photos", encoder.provenance)
    report = ingest(open_source(folder), index, encoder, decoders=Decoders(encoder.preparation, processes=1))
    assert (report.indexed, report.failed) == (len(kinds), 0)
    records = index.get(list(index.ids()))
    paths = [folder.resolve() / name for name in kinds]
    stored = np.stack([records[record_id(path.as_uri())].embedding for path in paths])
    plain = encoder.encode_images([ImageOps.exif_transpose(Image.open(path)) for path in paths])
    distances = np.linalg.norm(stored[:, None] - plain[None], axis=2)
    others = distances[~np.eye(len(kinds), dtype=bool)].min()
    for own, name in zip(distances.diagonal(), kinds, strict=True):
        limit = others / 10 if "draft" in name else 1e-5
        assert own < limit, (name, own, others)
