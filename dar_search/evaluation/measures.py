"""Measures over ranks: per dialogue and round first, means from them.

Ranks are float64 arrays (dialogues, rounds): the target's place in that round's ranking, from 1; infinity where a
ranking of limited depth missed it. THE TIE RULE: pictures with the same score rank by id, ascending, as the stores
do; so a rank is 1 + (pictures with a higher score) + (pictures with the same score and a smaller id).

Hits@k and BRI follow the released evaluators of ChatIR (NeurIPS 2023) and PlugIR (ACL 2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.float64]
Values = NDArray[np.float64]


def hits_at_k(ranks: Ranks, k: int) -> Values:
    """(dialogues, rounds) of 0 or 1: was the target in the top k in this round OR AN EARLIER ONE. Cumulative."""
    return np.asarray(np.maximum.accumulate(recall_at_k(ranks, k), axis=1))


def recall_at_k(ranks: Ranks, k: int) -> Values:
    """(dialogues, rounds) of 0 or 1: is the target in the top k in this round."""
    return (ranks <= k).astype(np.float64)


def reciprocal_rank(ranks: Ranks) -> Values:
    """(dialogues, rounds) of 1 / rank; 0 for a miss. Its mean is MRR."""
    return np.asarray(1.0 / ranks)


def best_log_rank_integral(ranks: Ranks, depth: int) -> Values:
    """BRI of each dialogue, (dialogues,); lower is better.

    The trapezoid over rounds of log(best rank so far, from 0, + 1), divided by (rounds - 1). A miss counts as the
    first place after a ranking of `depth`. With a single round there is no integral: the log rank itself.
    """
    best = np.minimum.accumulate(np.where(np.isinf(ranks), depth + 1, ranks), axis=1)
    logs = np.log(best)  # ranks from 1 here: rank from 0, + 1
    if logs.shape[1] == 1:
        return np.asarray(logs[:, 0])
    return np.asarray(np.trapezoid(logs, axis=1) / (logs.shape[1] - 1))


def harmed(ranks: Ranks, text_only: Ranks) -> Values:
    """(dialogues, rounds) of 0 or 1: is the rank worse than with the text alone. Its mean is the harm rate."""
    return (ranks > text_only).astype(np.float64)


def helped(ranks: Ranks, text_only: Ranks) -> Values:
    """(dialogues, rounds) of 0 or 1: is the rank better than with the text alone."""
    return (ranks < text_only).astype(np.float64)


def harm_factor(ranks: Ranks, text_only: Ranks, depth: int) -> Values:
    """(rounds,): by how many times the harmed dialogues' ranks grew, geometric mean; 1 where none was harmed."""
    last = float(depth + 1)
    growth = np.log(np.minimum(ranks, last)) - np.log(np.minimum(text_only, last))
    worse = harmed(ranks, text_only)
    count = worse.sum(axis=0)
    mean = np.divide((growth * worse).sum(axis=0), count, out=np.zeros(ranks.shape[1]), where=count > 0)
    return np.asarray(np.exp(mean))
