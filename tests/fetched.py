"""Fetching, as its tests do it: from loopback, once, with small limits."""

import pytest

from dar_search.errors import PictureError
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.fetching.fetcher import Fetcher
from dar_search.settings.fetch import FetchSettings
from tests.pictures import jpeg, scene

PICTURE = jpeg(scene())


def settings(**changes: object) -> FetchSettings:
    own = {"allowed_hosts": ("127.0.0.1",), "seconds": 20.0, "tries": 1, "max_megabytes": 1.0}
    return FetchSettings.model_validate(own | changes)


def code(url: str, **changes: object) -> str:
    """The code that fetching a URL fails with."""
    with Fetcher(settings(**changes)) as fetcher, pytest.raises(PictureError) as caught:
        fetcher.fetch(url)
    assert caught.value.code in FAILURE_CODES
    assert str(caught.value).isprintable()
    return caught.value.code
