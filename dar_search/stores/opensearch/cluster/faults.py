"""What each version of OpenSearch gets wrong in searches by vectors, and what is done about it.

Read in the servers' issues and release notes; most rows were tried on a real server too. This project's own searches
meet none of them: `here` says why. They are for those who search the same index otherwise, and for `dar doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

KNN, HYBRID, SECURITY = "opensearch-knn", "opensearch-neural-search", "opensearch-security"
Version = tuple[int, int]
Status = Literal["reproduced here", "ruled out here", "read, not run"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row.

    Attributes:
        name: stable, for programs.
        plugin: whose it is; a cluster without it has not the fault.
        since, before: the versions that have it, since <= version < before; None: still there, as far as is known.
        symptom: what happens.
        source: where it is told.
        here: what dar-search does instead.
        advice: what to do in searches of one's own.
        status: what is known of it: tried on the versions that tests/integration/test_opensearch_faults.py runs on,
            or only read.
    """

    name: str
    plugin: str
    since: Version
    before: Version | None
    symptom: str
    source: str
    here: str
    advice: str
    status: Status

    def touches(self, version: str, plugins: Collection[str] | None) -> bool:
        """Whether a cluster has it. version: as "2.19.1"; plugins: None where they are not known."""
        number = version_number(version)
        within = self.since <= number and (self.before is None or number < self.before)
        return within and self.status != "ruled out here" and (plugins is None or self.plugin in plugins)


FAULTS = (
    Fault(
        "hybrid_cuts_ties", HYBRID, (2, 19), None,
        "hybrid cuts a leg in the midst of equal scores: of equally good pictures, some get nothing of that leg",
        "neural-search #325, #910",
        "joins the legs itself, and treats equal scores alike",
        "Set pagination_depth beyond what may be equal.",
        "reproduced here",
    ),
    Fault(
        "hybrid_follows_size", HYBRID, (2, 19), None,
        "hybrid without pagination_depth cuts its legs at the page's size: another size gives another order",
        "neural-search #280",
        "says how deep each leg goes",
        "Send the same pagination_depth with every page.",
        "reproduced here",
    ),
    Fault(
        "hybrid_unfused_with_dfs", HYBRID, (2, 19), (3, 8),
        "hybrid with search_type dfs_query_then_fetch on several shards is not joined, and its marks come as hits",
        "neural-search #1490; refused from 3.8, #1873",
        "asks for each leg by itself, so that words are counted over all shards",
        "Leave search_type out of hybrid searches.",
        "reproduced here",
    ),
    Fault(
        "rrf_ranks_by_shard", HYBRID, (2, 19), (3, 5),
        "the server's RRF ranks on each shard by itself, so the order depends on how documents are spread",
        "neural-search #1718",
        "ranks over all shards, in the client",
        "Use one shard, or the normalization-processor.",
        "reproduced here",
    ),
    Fault(
        "hybrid_ignores_collapse", HYBRID, (2, 19), (3, 6),
        "collapse in a hybrid search leaves duplicates, or groups wrongly",
        "neural-search #665, #1411, #1753, #1763, #1787",
        "keeps one document a picture, and collapses nothing",
        "Drop duplicates after the search.",
        "reproduced here",
    ),
    Fault(
        "hybrid_from_request_cache", HYBRID, (2, 19), None,
        "hybrid with request_cache on one shard fails (500) when it is asked again with the same body",
        "neural-search #601; seen on 2.19.1",
        "never asks for the request cache",
        "Leave request_cache out of hybrid searches.",
        "reproduced here",
    ),
    Fault(
        "hybrid_refuses_whole_weights", HYBRID, (2, 19), None,
        "weights of a normalization-processor that are written as whole numbers fail (500)",
        "seen on 2.19.1",
        "writes every weight with a decimal point",
        "Write 1.0, not 1.",
        "reproduced here",
    ),
    Fault(
        "hybrid_explain_moves_scores", HYBRID, (2, 19), None,
        "explain changes the scores of a hybrid search a little",
        "seen on 2.19.1",
        "explains from the legs' own scores",
        "Compare no scores of searches with and without explain.",
        "reproduced here",
    ),
    Fault(
        "hybrid_counts_from_cache", HYBRID, (2, 19), None,
        "hybrid with size 0 counts otherwise when its answer comes from the request cache",
        "said of 2.19",
        "counts in no hybrid search",
        "Nothing.",
        "ruled out here",
    ),
    Fault(
        "hybrid_under_document_security", HYBRID, (2, 19), (3, 9),
        "hybrid fails or scores wrongly for users with document-level security",
        "neural-search #1303, #1950; security #6416, #6428",
        "joins the legs itself, except in an index with search processors of its own",
        "Give such users no hybrid search.",
        "read, not run",
    ),
    Fault(
        "knn_on_a_field_alias", KNN, (2, 19), (3, 9),
        "k-NN on a field alias finds nothing, and says nothing",
        "k-NN #3484, #3485",
        "names the vector field itself",
        "Name the field that the alias leads to; script_score takes the alias.",
        "reproduced here",
    ),
    Fault(
        "excluded_vector_is_lost", KNN, (2, 19), None,
        "in an index whose _source leaves the vector out, a partial update takes a document out of k-NN for good",
        "seen on 2.19.1 and 3.5.0",
        "keeps all fields in _source, and writes whole documents",
        "Leave the vector in _source.",
        "reproduced here",
    ),
    Fault(
        "vectors_in_objects_read_as_1", KNN, (3, 6), (3, 7),
        "a vector inside an object is read back as 1",
        "OpenSearch #21184",
        "keeps the vector at the top of a document",
        "Neither copy nor reindex such documents on this version.",
        "read, not run",
    ),
    Fault(
        "templated_vector_reads_as_1", KNN, (3, 0), (3, 9),
        "a vector that a dynamic template mapped may be read back as 1, and be copied so by a reindex",
        "k-NN #3012, with faiss; not so with lucene on 3.5.0",
        "maps every field by name",
        "Map vectors by name.",
        "read, not run",
    ),
)  # fmt: skip


def faults_of(version: str, plugins: Collection[str] | None) -> tuple[Fault, ...]:
    """The rows that touch a cluster. Args: see `Fault.touches`."""
    return tuple(fault for fault in FAULTS if fault.touches(version, plugins))


def version_number(version: str) -> Version:
    """ "2.19.1" -> (2, 19)."""
    major, minor, *_ = (*(int(part) for part in re.findall(r"\d+", version)[:2]), 0, 0)
    return major, minor
