"""The ingest service's OpenAPI document is true: no request made from it meets a defect or an undocumented answer.

8 requests an operation in `make test`, 200 with DAR_TORTURE=1.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
import schemathesis
from dar_ingest.app import create_app
from dar_ingest.runtime import Runtime
from dar_ingest.service import IngestService
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from dar_search.settings import load_settings
from tests.grid_encoder import GridEncoder

EXAMPLES = 200 if os.environ.get("DAR_TORTURE") == "1" else 8
WANTED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
_folder = tempfile.TemporaryDirectory()
_runtime = Runtime(load_settings(store=f"sqlite:{_folder.name}/store.db"), encoder=GridEncoder())
_service = IngestService(_runtime, lambda job, shard: None)
_service.warm_up().join()
schema = schemathesis.openapi.from_wsgi("/_dar/openapi/openapi.json", create_app(_service).wsgi_app)


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    _service.close()
    _runtime.close()
    _folder.cleanup()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_a_defect_or_undocumented(case: schemathesis.Case) -> None:
    response = case.call()
    case.validate_response(response, checks=CHECKS.get_by_names(list(WANTED)))
