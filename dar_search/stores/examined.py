"""What a store says of an index whose contents it has looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Examined:
    """An index, looked at from end to end.

    Attributes:
        pictures: how many are whole.
        lost: the ids of those that are not.
        unnamed: how many more are not, whose ids cannot be told.
        problems: what else is damaged, a line each.
    """

    name: str
    pictures: int
    lost: tuple[str, ...] = ()
    unnamed: int = 0
    problems: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        return not (self.lost or self.unnamed or self.problems)


@runtime_checkable
class Examinable(Protocol):
    """A store that can look at all that an index holds."""

    def examine(self, name: str) -> Examined:
        """Takes time in proportion to the index. Raises IndexNotFound, StoreError."""
        ...

    def problems(self) -> Sequence[str]:
        """What is wrong beside the indices, a line each."""
        ...


@runtime_checkable
class Savable(Protocol):
    """A store that can copy what is whole of it to another place."""

    def save_to(self, path: Path) -> list[Examined]:
        """To a new file: each index, as it is examined. Raises StoreError where there is something at the path.
        Unless it raises, the file is there, and complete."""
        ...
