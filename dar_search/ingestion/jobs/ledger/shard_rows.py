"""A shard's row, and what may become of it: pure functions. A shard is open, held (leased) or done.

Its body: token (of the latest lease), holder, beat, losses (leases that ended by a death), sequence (of its writes),
outcomes (a character for each item: "." none yet, "i" indexed, "u" unchanged, "f" failed), failures by position,
attempts by position, and begun: the positions whose attempt counts against this lease.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dar_search.data import Failure
from dar_search.ingestion.jobs.data import Held, Settled
from dar_search.ingestion.jobs.ledger.rows import Row

_LETTERS = {"indexed": "i", "unchanged": "u", "failed": "f"}


def new_shard(size: int, sequence: int) -> dict[str, Any]:
    return {
        "token": 0,
        "holder": "",
        "beat": 0,
        "losses": 0,
        "sequence": sequence,
        "outcomes": "." * size,
        "failures": {},
        "attempts": {},
        "begun": [],
    }


def outcomes_of(row: Row) -> str:
    return str(row.body["outcomes"])


def claimed(row: Row, holder: str) -> Row:
    """With a new lease; unchanged where it is not open."""
    if row.state != "open":
        return row
    lease = {"token": row.body["token"] + 1, "holder": holder, "beat": 0, "begun": []}
    return dataclasses.replace(row, state="held", body=row.body | lease)


def counted_attempt(row: Row, positions: Sequence[int]) -> Row:
    attempts = dict(row.body["attempts"])
    for place in positions:
        attempts[str(place)] = attempts.get(str(place), 0) + 1
    return dataclasses.replace(
        row, body=row.body | {"attempts": attempts, "begun": sorted({*row.body["begun"], *positions})}
    )


def recorded(row: Row, settled: Sequence[Settled]) -> Row:
    """With results; done where every item has one. A result that is there already stands."""
    outcomes = list(outcomes_of(row))
    failures = dict(row.body["failures"])
    for one in settled:
        if outcomes[one.position] == ".":
            outcomes[one.position] = _LETTERS[one.result]
            if one.failure is not None:
                failures[str(one.position)] = [one.failure.source, one.failure.code, one.failure.message]
    state = "done" if "." not in outcomes else row.state
    return _with(row, "".join(outcomes), failures, state)


def released(row: Row) -> Row:
    """Open again, by its holder: the attempts under way killed nobody."""
    attempts = dict(row.body["attempts"])
    for place in map(str, row.body["begun"]):
        attempts[place] = max(0, attempts.get(place, 0) - 1)
    attempts = {place: number for place, number in attempts.items() if number}
    return dataclasses.replace(row, state="open", body=row.body | {"holder": "", "begun": [], "attempts": attempts})


def expired(row: Row, held: Held) -> Row | None:
    """Open again, because its holder seems dead; None where the holder has moved since, or is not the holder."""
    body = row.body
    if row.state != "held" or (body["token"], body["beat"], body["holder"]) != (held.token, held.beat, held.holder):
        return None
    lost = {"holder": "", "begun": [], "losses": body["losses"] + 1}
    return dataclasses.replace(row, state="open", body=body | lost)


def retried(row: Row, replayable: Collection[int], codes: Sequence[str] | None, sequence: int) -> Row:
    """With those failures to be done again."""
    failures = dict(row.body["failures"])
    outcomes = list(outcomes_of(row))
    attempts = dict(row.body["attempts"])
    for place, (_, code, _) in row.body["failures"].items():
        if int(place) in replayable and (codes is None or code in codes):
            del failures[place]
            attempts.pop(place, None)
            outcomes[int(place)] = "."
    if "".join(outcomes) == row.body["outcomes"]:
        return row
    again = _with(row, "".join(outcomes), failures, "open" if row.state == "done" else row.state)
    return dataclasses.replace(again, body=again.body | {"attempts": attempts, "sequence": sequence})


def given_up(item: Mapping[str, Any], attempts: int) -> Failure:
    message = f"The worker died {attempts} times while it had this picture in hand."
    return Failure(str(item.get("key", item.get("id", ""))), "gave_up", message)


def _with(row: Row, outcomes: str, failures: Mapping[str, Any], state: str) -> Row:
    return dataclasses.replace(
        row,
        state=state,
        indexed=outcomes.count("i"),
        unchanged=outcomes.count("u"),
        failed=outcomes.count("f"),
        body=row.body | {"outcomes": outcomes, "failures": failures},
    )
