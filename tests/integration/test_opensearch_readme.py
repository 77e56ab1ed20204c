"""opensearch/README.md: its snippets run against a real node, its table is what bench/sizing.py prints."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml

from dar_search.demo.picture_files import draw_gallery
from dar_search.settings import load_settings
from dar_search.stores.opensearch.cluster.connection import connect
from tests.compose_file import ROOT
from tests.programs import needed
from tests.snippets import reader_environment, run_snippet, snippets

README = ROOT / "opensearch" / "README.md"


def text() -> str:
    return README.read_text("utf-8")


def test_the_table_of_sizes_is_what_the_script_prints() -> None:
    done = subprocess.run([sys.executable, ROOT / "bench" / "sizing.py"], capture_output=True, text=True, check=True)
    written = re.search(r"<!-- sizing -->\n(.*)<!-- /sizing -->", text(), re.DOTALL)
    assert written is not None
    assert written[1] == done.stdout
    assert "| 1,000,000,000 |" in written[1]


def test_every_file_that_the_page_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", text())
    assert len(links) >= 10
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_ports_to_watch_are_the_services_own() -> None:
    (block,) = [snippet.text for snippet in snippets(README) if snippet.language == "yaml"]
    targets = [one["static_configs"][0]["targets"][0] for one in yaml.safe_load(block)["scrape_configs"]]
    settings = load_settings()
    assert targets == [f"query:{settings.query.admin_port}", f"ingest:{settings.ingest.admin_port}"]


@pytest.fixture
def place(tmp_path: Path, opensearch_url: str) -> tuple[Path, str, dict[str, str]]:
    """A folder as the page's reader has it, an index's name of one's own, an environment."""
    needed("curl")
    draw_gallery(tmp_path / "photos", 12)
    (tmp_path / "opensearch").symlink_to(README.parent)
    env = reader_environment(tmp_path) | {"OPENSEARCH_URL": opensearch_url}
    return tmp_path, f"page-{uuid.uuid4().hex[:10]}", env


def test_every_snippet_runs_or_says_why_it_is_not_run(place: tuple[Path, str, dict[str, str]]) -> None:
    folder, index, env = place
    running = [snippet.text for snippet in snippets(README) if snippet.runs and snippet.language == "sh"]
    assert len(running) >= 4
    node = connect(env["OPENSEARCH_URL"], load_settings())
    # The index in use, from which the aliases change over.
    aliases = {index: {}, f"{index}-write": {"is_write_index": True}}
    node.indices.create(index=f"{index}-000001", body={"aliases": aliases})
    try:
        for body in running:
            # An index's name, not the folder ./photos: other tests share the node.
            own = re.sub(r"(?<![/\w])photos", index, body).replace("dar-images", f"{index}-template")
            run_snippet("sh", own, folder, env)
        assert list(node.indices.get_alias(name=index)) == [f"{index}-next-000001"]
    finally:
        node.indices.delete(index=f"{index}-000001,{index}-next-000001", ignore=404, ignore_unavailable=True)
        node.indices.delete_index_template(name=f"{index}-template", ignore=404)
        node.close()
