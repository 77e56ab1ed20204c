"""What the two images carry of other people's Python packages, from the metadata of those that are installed here.

`python -m tests.third_party` writes the tables of THIRD_PARTY.md anew; `tests/unit/test_third_party.py` holds that they
are complete. Names and licences, no versions: another version of a package changes nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "THIRD_PARTY.md"
DOCKERFILES = {"ingest": ROOT / "ingest" / "Dockerfile", "query": ROOT / "query_rewriter" / "Dockerfile"}
#: What torch brings for CUDA: not in the images as they are built by default, whose torch is the one for processors.
FOR_CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")
_EXTRA = re.compile(r"--extra (\S+)")
#: Whose wheel has libraries in it under other terms than the package.
_WHEELS = {"pillow-heif": "BSD-3-Clause; the wheel GPL-2.0, for x265 in it"}
#: Of what packages say in words of their own, the SPDX expression.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}


def carried(image: str) -> dict[str, str]:
    """Package -> licence, of all that an image's Dockerfile installs and is installed here."""
    text = DOCKERFILES[image].read_text("utf-8")
    found: dict[str, str] = {}
    asked = set[tuple[str, frozenset[str]]]()
    waiting = [("dar-search", frozenset(_EXTRA.findall(text))), *((name, frozenset[str]()) for name in _besides(text))]
    while waiting:
        one = waiting.pop()
        if one in asked:
            continue
        asked.add(one)
        try:
            package = distribution(one[0])
        except PackageNotFoundError:
            continue  # for another system
        found[one[0]] = licence(package)
        waiting += _requirements(package, one[1])
    del found["dar-search"]
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """As the package declares it, in SPDX's words where it is plain which are meant."""
    about = package.metadata
    if special := _WHEELS.get(canonicalize_name(about["Name"])):
        return special
    if expression := about.get("License-Expression"):
        return str(expression)
    kinds = [kind.rpartition(" :: ")[2] for kind in about.get_all("Classifier") or () if kind.startswith("License ::")]
    lines = str(about.get("License") or "").strip().splitlines()
    names = kinds or lines[:1] or ["not declared"]
    return " or ".join(_SPDX.get(name, name) for name in names)


def written(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the page, without its head."""
    section = PAGE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def tables() -> dict[str, str]:
    """Heading -> its table."""
    images = {image: carried(image) for image in DOCKERFILES}
    every = dict(sorted({name: found[name] for found in images.values() for name in found}.items()))
    plain = {name: one for name, one in every.items() if not FOR_CUDA.fullmatch(name)}
    return {
        "Python packages": _table(plain, images),
        "With CUDA": _table({name: one for name, one in every.items() if name not in plain}, images),
    }


def _table(packages: Mapping[str, str], images: Mapping[str, Iterable[str]]) -> str:
    rows = [
        f"| {name} | {one} | {' | '.join('yes' if name in found else '' for found in images.values())} |"
        for name, one in packages.items()
    ]
    return "\n".join([f"| package | licence | {' | '.join(images)} |", "|---|---|---|---|", *rows])


def _besides(dockerfile: str) -> Iterator[str]:
    """What the Dockerfile names itself, before the project's own requirements."""
    for line in re.findall(r"uv pip install .*--index-url \S+ (.*)", dockerfile):
        yield from (canonicalize_name(Requirement(part.strip('"')).name) for part in line.split())


def _requirements(package: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in package.requires or ():
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield canonicalize_name(wanted.name), frozenset(wanted.extras)


def main() -> None:
    text = PAGE.read_text("utf-8")
    for heading, table in tables().items():
        before, after = text.split(f"## {heading}\n")
        _, rest = re.split(r"^\|.*\n(?:\|.*\n)*", after, maxsplit=1, flags=re.MULTILINE)
        prose = after[: after.index("|")]
        text = f"{before}## {heading}\n{prose}{table}\n{rest}"
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
