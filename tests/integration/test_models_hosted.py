"""Models in model processes, chosen by settings: what services use. The demo's bundle, real processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from dar_search.bootstrap import hosted_models, models
from dar_search.data import Dialogue, Turn
from dar_search.errors import ModelTimeout, SettingsError, UnknownModel, WeightsMissing
from dar_search.method.rewriting import ImaginationOptions, rewrite
from dar_search.models.hosting import Models
from dar_search.settings import Settings, load_settings

DIALOGUE = Dialogue("a red circle", (Turn("what is beside it?", "a blue square"), Turn("how large?", "small")))


@pytest.fixture(scope="module", autouse=True)
def one_thread_each() -> Iterator[None]:
    """Small models: several processes with as many threads as cores would only wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(device="cpu", encoder="demo", imaginer="demo", reformulator="rules")


@pytest.fixture(scope="module")
def hosted(settings: Settings) -> Iterator[Models]:
    with hosted_models(settings) as hosted:
        hosted.warm_up()
        yield hosted


@pytest.fixture(scope="module")
def local(settings: Settings) -> Models:
    return models(settings)


def test_they_answer_as_the_models_themselves_do(hosted: Models, local: Models) -> None:
    pictures = [Image.new("RGB", (90, 70), colour) for colour in ("red", "green", "blue")]
    assert hosted.encoder.provenance == local.encoder.provenance
    assert hosted.encoder.preparation == local.encoder.preparation
    np.testing.assert_allclose(
        hosted.encoder.encode_texts(["a red circle", "x"]), local.encoder.encode_texts(["a red circle", "x"]), atol=1e-5
    )
    np.testing.assert_allclose(hosted.encoder.encode_images(pictures), local.encoder.encode_images(pictures), atol=1e-5)
    assert hosted.encoder.encode_texts([]).shape == (0, local.encoder.provenance.dimension)
    assert hosted.imaginer is not None
    assert local.imaginer is not None
    theirs = hosted.imaginer.imagine("a red circle", count=3, seed=5, steps=2)
    ours = local.imaginer.imagine("a red circle", count=3, seed=5, steps=2)
    assert [(one.id, one.prompt, one.seed) for one in theirs] == [(one.id, one.prompt, one.seed) for one in ours]
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-4)
    assert hosted.imaginer.name == local.imaginer.name == "demo"


def test_a_dialogue_is_rewritten_with_them(hosted: Models) -> None:
    soon = hosted.within(30)
    rewritten = rewrite(DIALOGUE, soon.encoder, soon.reformulator, soon.imaginer, options=ImaginationOptions(count=2))
    assert {leg.status for leg in rewritten.legs.values()} == {"ok"}
    assert len(rewritten.imaginations) >= 2


def test_a_list_longer_than_a_batch_comes_back_whole_and_in_order(hosted: Models) -> None:
    texts = [f"picture number {number}" for number in range(300)]
    rows = hosted.encoder.encode_texts(texts)
    assert rows.shape[0] == 300
    np.testing.assert_allclose(rows[-1:], hosted.encoder.encode_texts(texts[-1:]), atol=1e-5)


def test_what_is_in_the_cache_needs_no_process(hosted: Models) -> None:
    assert hosted.imaginer is not None
    (first,) = hosted.imaginer.imagine("a cached kite", count=1, seed=0)
    imaginer = psutil.Process(hosted.health()["imaginer"].pid)
    imaginer.suspend()
    try:
        soon = hosted.within(0.5).imaginer
        assert soon is not None
        assert soon.imagine("a cached kite", count=1, seed=0) == (first,)
        with pytest.raises(ModelTimeout):
            soon.imagine("another kite", count=1, seed=0)
    finally:
        imaginer.resume()


def test_a_call_ends_when_its_time_is_over_and_the_process_lives_on(hosted: Models) -> None:
    before = hosted.health()["encoder"].pid
    over = hosted.within(0.0)
    began = time.monotonic()
    with pytest.raises(ModelTimeout):
        over.encoder.encode_texts(["too late"])
    assert time.monotonic() - began < 1
    assert over.imaginer is not None
    with pytest.raises(ModelTimeout):
        over.imaginer.imagine("too late", count=1, seed=0)
    assert hosted.encoder.encode_texts(["in time"]).shape[0] == 1
    assert hosted.health()["encoder"].pid == before


def test_the_encoder_answers_while_the_imaginer_is_down(hosted: Models) -> None:
    imaginer = psutil.Process(hosted.health()["imaginer"].pid)
    imaginer.suspend()
    try:
        assert hosted.imaginer is not None
        with pytest.raises(ModelTimeout):
            hosted.within(0.2).imaginer.imagine("a stopped one", count=1, seed=1)  # type: ignore[union-attr]
        assert hosted.encoder.encode_texts(["a text"]).shape[0] == 1
        assert hosted.ready
    finally:
        imaginer.resume()


def test_switched_off_they_run_here_and_start_nothing(settings: Settings) -> None:
    off = settings.model_process.model_copy(update={"mode": "off"})
    with hosted_models(settings.model_copy(update={"model_process": off})) as here:
        assert here.health() == {}
        assert here.ready
        assert here.within(5).encoder.encode_texts(["a kite"]).shape[0] == 1
        here.warm_up()
        assert here.processes == {}


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ({"encoder": "nothing:x"}, UnknownModel),
        ({"imaginer": "nothing:x"}, UnknownModel),
        ({"reformulator": "nothing:x"}, UnknownModel),
        ({"encoder": "open_clip:/no/such/folder"}, UnknownModel),
        ({"encoder": "transformers:/no/such/folder"}, WeightsMissing),
        ({"encoder_options": {"batsh": 3}}, SettingsError),
    ],
)
def test_a_wrong_name_is_refused_before_anything_starts(names: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        hosted_models(load_settings(**names))


def test_what_cannot_be_loaded_says_so_in_the_process_and_to_its_caller(settings: Settings, tmp_path: Path) -> None:
    with hosted_models(settings.model_copy(update={"imaginer": f"prior:{tmp_path}"})) as broken:
        with pytest.raises(WeightsMissing, match=r"model_index\.json"):
            broken.processes["imaginer"].warm_up()
        assert broken.imaginer is not None
        with pytest.raises(WeightsMissing, match=r"model_index\.json"):
            broken.imaginer.imagine("a kite", count=1, seed=0)
        assert broken.health()["imaginer"].state == "broken"
        assert broken.health()["encoder"].state == "idle"


def test_one_process_may_serve_all_models_and_its_service_loads_no_torch_itself() -> None:
    program = """
        import sys
        from dar_search.bootstrap import hosted_models
        from dar_search.settings import load_settings
        with hosted_models(load_settings(device="cpu", model_process={"mode": "shared"})) as models:
            states = [models.ready]
            models.warm_up()
            states.append(models.ready)
            assert models.encoder.encode_texts(["a kite"]).shape[0] == 1
            assert len(models.imaginer.imagine("a kite", count=2, seed=0)) == 2
            print(list(models.health()), states)
        print(sorted({"torch", "open_clip", "diffusers", "transformers"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == ["['encoder+imaginer'] [False, True]", "[]"], done.stderr
