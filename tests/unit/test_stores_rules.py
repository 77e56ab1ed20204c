"""Rules that both stores share and that the contract suite cannot reach through a store."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import DimensionMismatch, EncoderMismatch, RequestError
from dar_search.stores.fields import type_of
from dar_search.stores.names import check_name
from dar_search.stores.provenance import check_dimension, check_provenance
from dar_search.stores.records import UNIT_TOLERANCE, check_records, load_metadata

EMBEDDING = np.array([0.6, 0.8], np.float32)


def record(**fields: object) -> ImageRecord:
    return ImageRecord(**{"id": "a", "embedding": EMBEDDING, "source": "s"} | fields)  # type: ignore[arg-type]


@given(st.text(max_size=40))
def test_a_name_is_taken_as_it_is_or_refused_in_one_printable_line(name: str) -> None:
    refused: RequestError | None = None
    try:
        assert check_name(name) == name
    except RequestError as error:
        refused = error
    if refused is None:
        assert name == name.lower()
        assert not set(name) & set('\\/*?"<>| ,#:')
    else:
        assert refused.message.isprintable()
        assert refused.hint


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_embedding_of_any_float_type_is_kept_as_float32(dtype: type) -> None:
    checked = check_records([record(embedding=EMBEDDING.astype(dtype))], 2, {})
    assert checked.embeddings.dtype == np.float32
    assert np.allclose(checked.embeddings, [EMBEDDING], atol=1e-3)


@pytest.mark.parametrize(
    "embedding", [np.array([0, 1]), np.array([True, False]), np.array(["a", "b"]), np.array([None, 1.0])], ids=repr
)
def test_an_embedding_that_is_not_of_floats_is_refused(embedding: np.ndarray) -> None:
    ((_, failure),) = check_records([record(embedding=embedding)], 2, {}).refused
    assert failure.code == "bad_embedding"


@pytest.mark.parametrize("embedding", [np.zeros(3), np.zeros((1, 2)), np.float32(1.0), [0.6, 0.8], None], ids=repr)
def test_what_is_no_vector_of_the_dimension_is_a_mismatch(embedding: object) -> None:
    with pytest.raises(DimensionMismatch):
        check_records([record(embedding=embedding)], 2, {})


@pytest.mark.parametrize(
    ("scale", "accepted"), [(1 + UNIT_TOLERANCE / 2, 1), (1 - UNIT_TOLERANCE / 2, 1), (1.01, 0), (0.99, 0)]
)
def test_rounding_is_forgiven_and_a_wrong_length_is_not(scale: float, accepted: int) -> None:
    assert len(check_records([record(embedding=(EMBEDDING * scale).astype(np.float32))], 2, {}).accepted) == accepted


SCALARS = (
    st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = SCALARS | st.lists(st.text()) | st.lists(st.integers(-(2**63), 2**63 - 1)) | st.lists(st.booleans())


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,10}", fullmatch=True), VALUES, max_size=5))
def test_metadata_survives_its_json_with_types_and_all(metadata: dict) -> None:
    metadata.pop("not", None)
    checked = check_records([record(metadata=metadata)], 2, {})
    assert not checked.refused
    expected = {name: tuple(value) if isinstance(value, list) else value for name, value in metadata.items()}
    assert repr(load_metadata(checked.metadata[0])) == repr(expected)


@given(st.recursive(st.none() | st.text() | st.floats() | st.integers() | st.binary(), st.lists, max_leaves=6))
def test_any_value_has_a_type_or_is_refused_in_words(value: object) -> None:
    refused = ""
    found = None
    try:
        found = type_of(value)
    except ValueError as error:
        refused = str(error)
    if isinstance(value, float) and not math.isfinite(value):
        assert refused
    assert bool(refused) == (found is None and value != [])


def test_of_records_with_one_id_the_last_accepted_one_is_kept() -> None:
    records = [record(caption="1"), record(caption="2"), record(caption="3", metadata={"x": None})]
    checked = check_records(records, 2, {})
    assert [r.caption for r in checked.accepted] == ["2"]
    assert [failure.code for _, failure in checked.refused] == ["metadata_value"]


def test_a_provenance_is_asked_for_only_where_there_is_one() -> None:
    stored = Provenance("e", "r", 2, "p")
    check_provenance("photos", stored, None)
    check_provenance("photos", stored, Provenance("e", "r", 2, "p"))
    with pytest.raises(EncoderMismatch, match="photos"):
        check_provenance("photos", stored, Provenance("e", "s", 2, "p"))
    with pytest.raises(RequestError):
        check_dimension(Provenance("e", "r", 0, "p"))
