"""Embedded stores whose files are damaged at random, and what searches in them say.

    python -m tests.damaged_stores SEED COUNT

prints how many of COUNT damages were said, changed no answer, changed one in silence, or raised what nobody expects.
"""

from __future__ import annotations

import collections
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar_search.data import ImageRecord, Provenance, SearchResult
from dar_search.errors import IndexNotFound, StoreError
from dar_search.filters import parse_filter
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite import schema
from dar_search.stores.sqlite.store import SQLiteStore
from tests.contract.gallery import random_units

DIMENSION, SIZE = 16, 60
PROVENANCE = Provenance("e", "r", DIMENSION, "p")
_THINGS = ("dog", "cat", "boat", "bicycle", "umbrella", "pizza", "horse", "train", "lamp", "kettle")
_PLACES = ("on the beach", "in the street", "near a river", "under bridges", "at night", "by the running water")

Answers = list[tuple[Any, ...]]


def records(first: int = 0, count: int = SIZE, seed: int = 1) -> list[ImageRecord]:
    """Of which no two are alike, with captions, metadata of each kind, and thumbnails here and there."""
    choice, vectors = random.Random(seed), random_units(first + count, DIMENSION, seed)
    return [
        ImageRecord(
            f"picture-{number * 7919 % 1_000:03d}",
            vectors[number],
            f"file:///pictures/{number}.png",
            origin="file:///pictures",
            digest=f"{number:064x}:{seed:064x}",
            caption=f"a {choice.choice(_THINGS)} and a {choice.choice(_THINGS)} {choice.choice(_PLACES)}, {number}",
            metadata={"n": number, "city": choice.choice(["Paris", "Rome"]), "tags": (f"t{number % 5}", "all")},
            width=640 + number,
            height=480,
            thumbnail=choice.randbytes(150) if number % 3 == 0 else None,
        )
        for number in range(first, first + count)
    ]


def requests() -> list[SearchRequest]:
    """Of each leg, of both, with filters of each kind, with thumbnails, and a later page."""
    vector = random_units(1, DIMENSION, seed=77)[0]
    asked = [
        SearchRequest(vector, size=8),
        SearchRequest(text="a dog by the river running", size=8),
        SearchRequest(vector, "cats under a bridge", size=8, offset=8, thumbnails=True),
        SearchRequest(vector, "umbrella", size=SIZE + 20),
    ]
    for filter in ({"n": {"gte": 10, "lt": 45}}, {"city": "Rome"}, {"tags": ["t1", "t3"]}):
        asked.append(SearchRequest(vector, "pizza at night", parse_filter(filter), size=8))
    return asked


def answer(result: SearchResult) -> tuple[Any, ...]:
    """All of a result but the times."""
    return result.hits, {name: (leg.status, leg.lowest, leg.highest, leg.cut) for name, leg in result.legs.items()}


def answers(store: SQLiteStore) -> Answers:
    index = store.open("photos")
    return [answer(index.search(request)) for request in requests()]


@dataclass
class Sound:
    """A store's files by what follows its name, the answers of their present state and of states before, and pages."""

    files: dict[str, bytes]
    page_bytes: int
    states: list[Answers]
    older: bytes = b""
    others: bytes = b""


@contextmanager
def pages_of(page_bytes: int) -> Iterator[None]:
    before, schema.PAGE_BYTES = schema.PAGE_BYTES, page_bytes
    try:
        yield
    finally:
        schema.PAGE_BYTES = before


def sound(folder: Path, page_bytes: int, *, killed: bool) -> Sound:
    """A store that was written in several steps. killed: with its log, as a process that is killed leaves it."""
    path = folder / f"sound-{page_bytes}-{killed}.sqlite"
    states: list[Answers] = []
    with pages_of(page_bytes):
        store = SQLiteStore(path)
        index = store.create("photos", PROVENANCE)
        store.create("others", PROVENANCE).write(records(0, 10, seed=3))
        index.write(records(0, SIZE // 2))
        index.delete([record.id for record in records(0, 5)])
        store.close()
        older = path.read_bytes()
        store = SQLiteStore(path)
        index = store.open("photos")
        for step in range(4):
            states.append(answers(store))
            index.write(records(SIZE // 2 + 8 * step, 8, seed=4))
        states.append(answers(store))
        index.delete([record.id for record in records(20, 6)])
        states.append(answers(store))
        files = {"": path.read_bytes()}
        if killed:
            files |= {end: path.with_name(path.name + end).read_bytes() for end in ("-wal", "-shm")}
        store.close()
        if not killed:
            files, states = {"": path.read_bytes()}, states[-1:]
        other = SQLiteStore(folder / f"other-{page_bytes}-{killed}.sqlite")
        other.create("photos", PROVENANCE).write(records(0, SIZE, seed=9))
        other.close()
    others = (folder / f"other-{page_bytes}-{killed}.sqlite").read_bytes()
    return Sound(files, page_bytes, states, older, others)


def _byte(content: bytearray, choice: random.Random, store: Sound) -> None:
    used = [place for place in choice.choices(range(len(content)), k=50) if content[place]] or [0]
    content[choice.choice(used)] ^= 1 << choice.randrange(8)


def _any_byte(content: bytearray, choice: random.Random, store: Sound) -> None:
    content[choice.randrange(len(content))] = choice.randrange(256)


def _structure(content: bytearray, choice: random.Random, store: Sound) -> None:
    """The header of a page, or the places of its cells."""
    content[min(len(content) - 1, _page(content, choice, store) + choice.randrange(60))] = choice.randrange(256)


def _header(content: bytearray, choice: random.Random, store: Sound) -> None:
    content[choice.randrange(min(120, len(content)))] = choice.randrange(256)


def _block(content: bytearray, choice: random.Random, store: Sound) -> None:
    start, length = choice.randrange(len(content)), choice.choice([2, 16, 300, 5_000])
    content[start : start + length] = choice.randbytes(len(content[start : start + length]))


def _zeros(content: bytearray, choice: random.Random, store: Sound) -> None:
    start = _page(content, choice, store)
    content[start : start + store.page_bytes] = bytes(len(content[start : start + store.page_bytes]))


def _swapped(content: bytearray, choice: random.Random, store: Sound) -> None:
    one, two = _page(content, choice, store), _page(content, choice, store)
    page = content[one : one + store.page_bytes]
    content[one : one + store.page_bytes] = content[two : two + store.page_bytes]
    content[two : two + store.page_bytes] = page


def _foreign(content: bytearray, choice: random.Random, store: Sound) -> None:
    """A page of an older copy, or of another store."""
    start, source = _page(content, choice, store), choice.choice([store.older, store.others])
    page = source[start : start + store.page_bytes]
    content[start : start + len(page)] = page


def _two_cells(content: bytearray, choice: random.Random, store: Sound) -> None:
    """Two cells of a page in each other's place: all is there, and cannot be looked up."""
    start = _page(content, choice, store)
    place = start + (12 if content[start] in (2, 5) else 8) + 2 * choice.randrange(4)
    pair = content[place : place + 4]
    content[place : place + 4] = pair[2:] + pair[:2]


def _cut(content: bytearray, choice: random.Random, store: Sound) -> None:
    """Not to nothing: an empty file is a new store, and one of a byte is empty to SQLite."""
    del content[max(2, choice.choice([_page(content, choice, store), choice.randrange(len(content))])) :]


def _page(content: bytearray, choice: random.Random, store: Sound) -> int:
    return store.page_bytes * choice.randrange(max(1, len(content) // store.page_bytes))


DAMAGES: tuple[Callable[[bytearray, random.Random, Sound], None], ...] = (
    *(_byte, _byte, _any_byte, _structure, _structure, _header, _block, _zeros, _swapped, _foreign, _two_cells, _cut),
)


def tried(store: Sound, path: Path, choice: random.Random) -> tuple[str, str]:
    """Damages a copy at `path` and asks it everything. The outcome: "said", "same", "wrong" or "defect"; and what was
    done and came of it."""
    files = {end: bytearray(content) for end, content in store.files.items()}
    end = choice.choice([*files, *(["-wal"] * 3 if "-wal" in files else [])])
    damages = choice.choices(DAMAGES, k=choice.choice([1, 1, 1, 3]))
    for damage in damages:
        damage(files[end], choice, store)
    for one in ("", "-wal", "-shm"):
        path.with_name(path.name + one).unlink(missing_ok=True)
    for one, content in files.items():
        path.with_name(path.name + one).write_bytes(content)
    done = f"{end or 'file'} {[damage.__name__ for damage in damages]}"
    said: list[str] = []
    states: set[int] = set(range(len(store.states)))
    for number, request in enumerate(requests()):
        opened = SQLiteStore(path)
        try:
            found = answer(opened.open("photos").search(request))
        except IndexNotFound as error:
            return "wrong", f"{done}: {error}"
        except StoreError as error:
            if not error.hint:
                return "defect", f"{done}: request {number}: no hint: {error}"
            said.append(error.message)
            continue
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            return "defect", f"{done}: request {number}: {type(error).__name__}: {error}"
        finally:
            opened.close()
        fitting = {state for state in states if store.states[state][number] == found}
        if not fitting:
            return "wrong", f"{done}: request {number}"
        states = fitting
    if said:
        return "said", f"{done}: {said[0]}"
    return ("same" if len(store.states) - 1 in states else "earlier"), done


def run(seed: int, count: int, folder: Path, told: Callable[[str], None] = print) -> collections.Counter[str]:
    """Tries `count` damages; how many had which outcome."""
    stores = [sound(folder, page_bytes, killed=killed) for page_bytes in (1_024, 16_384) for killed in (False, True)]
    outcomes: collections.Counter[str] = collections.Counter()
    for number in range(count):
        choice = random.Random(f"{seed}-{number}")
        outcome, what = tried(choice.choice(stores), folder / "damaged.sqlite", choice)
        outcomes[outcome] += 1
        if outcome in ("wrong", "defect"):
            told(f"seed {seed}, damage {number}: {outcome}: {what}")
    return outcomes


def main(arguments: Sequence[str]) -> None:
    seed, count = map(int, arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(f"seed {seed}: {dict(run(seed, count, Path(folder)))}")


if __name__ == "__main__":
    main(sys.argv[1:])
