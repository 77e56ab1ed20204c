"""opensearch/README.md: its snippets run against a real node, its table is what bench/sizing.py prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml

from dar_search.demo.picture_files import draw_gallery
from dar_search.settings import load_settings
from dar_search.stores.opensearch_connection import connect
from tests.compose_file import ROOT

README = ROOT / "opensearch" / "README.md"
SNIPPET = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text() -> str:
    return README.read_text("utf-8")


def snippets(language: str) -> list[tuple[bool, str]]:
    """(whether it is run, its text)."""
    return [(not marked, body) for marked, name, body in SNIPPET.findall(text()) if name == language]


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
    (block,) = [body for _, body in snippets("yaml")]
    targets = [one["static_configs"][0]["targets"][0] for one in yaml.safe_load(block)["scrape_configs"]]
    settings = load_settings()
    assert targets == [f"query:{settings.query.admin_port}", f"ingest:{settings.ingest.admin_port}"]


@pytest.fixture
def place(tmp_path: Path, opensearch_url: str) -> tuple[Path, str, dict[str, str]]:
    """A folder as the page's reader has it, an index's name of one's own, an environment."""
    if shutil.which("curl") is None:
        if os.environ.get("DAR_TEST_REQUIRE_ALL"):
            pytest.fail("curl is not installed")
        pytest.skip("curl is not installed")
    draw_gallery(tmp_path / "photos", 12)
    (tmp_path / "opensearch").symlink_to(README.parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
    own = {
        "OPENSEARCH_URL": opensearch_url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    return tmp_path, f"page-{uuid.uuid4().hex[:10]}", kept | own


def test_every_snippet_runs_or_says_why_it_is_not_run(place: tuple[Path, str, dict[str, str]]) -> None:
    folder, index, env = place
    running = [body for runs, body in snippets("sh") if runs]
    assert len(running) >= 4
    node = connect(env["OPENSEARCH_URL"], load_settings())
    # The index in use, from which the aliases change over.
    aliases = {index: {}, f"{index}-write": {"is_write_index": True}}
    node.indices.create(index=f"{index}-000001", body={"aliases": aliases})
    try:
        for body in running:
            # An index's name, not the folder ./photos: other tests share the node.
            own = re.sub(r"(?<![/\w])photos", index, body).replace("dar-images", f"{index}-template")
            done = subprocess.run(["bash", "-e", "-c", own], cwd=folder, env=env, capture_output=True, text=True)
            assert done.returncode == 0, f"{own}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            assert done.stdout.strip(), f"{own}\nprinted nothing"
        assert list(node.indices.get_alias(name=index)) == [f"{index}-next-000001"]
    finally:
        node.indices.delete(index=f"{index}-000001,{index}-next-000001", ignore=404, ignore_unavailable=True)
        node.indices.delete_index_template(name=f"{index}-template", ignore=404)
        node.close()
