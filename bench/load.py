"""The query service under more clients than it lets in: what they get, and what becomes of its memory.

200 clients (Locust; see load_clients.py) ask for a minute without a pause, on the embedded store, or on a node with
--url. The service is the real one with its default limits (8 searches at once, 16 waiting, 12 streams); its models
weigh nothing (see light_service.py). Clients and service share the machine's cores.

Printed: answers by status, the share of errors, p50 and p99 of what was answered with 200, the service's memory (what
is its own alone, of all its processes) before, during and after. The exit status is 1
where an answer was neither right nor a 429 as documented (Retry-After, a problem with a code), or the service's process
was not the same at the end.

    python bench/load.py [--clients 200] [--seconds 60] [--pictures 20000] [--url http://...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import urllib3
from figures import figure
from light_service import DIMENSION, Running, running
from stores_opensearch import new_index, records, unit_rows

from dar_search.bootstrap import open_store
from dar_search.settings import load_settings

_REST_SECONDS = 5.0
_MIB = 1 << 20


@contextmanager
def filled(address: str, pictures: int) -> Iterator[str]:
    """The name of an index with so many random pictures, dropped at the end."""
    store = open_store(address, load_settings(store=address, opensearch={"timeout": 300}))
    try:
        with new_index(store, DIMENSION) as index:  # type: ignore[arg-type]  # any store has these methods
            made = records(unit_rows(pictures, DIMENSION))
            for start in range(0, len(made), 10_000):
                if refused := index.write(made[start : start + 10_000]):
                    raise SystemExit(f"{len(refused)} pictures were refused: {refused[0]}")
            index.refresh()
            yield index.name
    finally:
        store.close()


class Memory:
    """The service's processes. pids: of all but the master."""

    def __init__(self, service: Running) -> None:
        self._master = psutil.Process(service.pid)

    @property
    def pids(self) -> list[int]:
        return sorted(child.pid for child in self._master.children(recursive=True))

    def mebibytes(self) -> float:
        """What is theirs alone (USS)."""
        processes = [self._master, *self._master.children(recursive=True)]
        return sum(float(process.memory_full_info().uss) for process in processes) / _MIB


def load(service: Running, index: str, clients: int, seconds: float, memory: Memory) -> tuple[Any, list[float]]:
    """What the clients say, and the service's memory, taken each second."""
    script = Path(__file__).with_name("load_clients.py")
    command = [sys.executable, str(script), service.address, index, str(clients), str(seconds)]
    samples: list[float] = []
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said) as child:
        while child.poll() is None:
            samples.append(memory.mebibytes())
            try:
                child.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
        said.seek(0)
        if child.returncode:
            raise SystemExit(f"The clients ended with {child.returncode}.")
        return json.loads(said.read().strip().splitlines()[-1]), samples


def report(said: Any, clients: int, seconds: float) -> None:
    print(f"  {'':10} {'answers':>8}   {'p50':>7} {'p99':>7} ms of 200s   by status")
    whole: Counter[str] = Counter()
    for kind, found in sorted(said["outcomes"].items()):
        whole.update(found)
        times = said["took_ms"].get(kind, [])
        p50, p99 = np.percentile(times, (50, 99)) if times else (float("nan"), float("nan"))
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(found.items()))
        print(f"  {kind:10} {sum(found.values()):8,}   {p50:7.1f} {p99:7.1f}              {statuses}")
    total, wrong = whole.total(), sum(said["undocumented"].values())
    if not total:
        raise SystemExit("Nothing was answered.")
    pace, busy = whole["200"] / seconds, 100 * whole["429"] / total
    print(f"  {'together':10} {total:8,}   {pace:.0f} answered with 200 a second; {busy:.1f}% 429")
    shown = f"{wrong} of {total:,} answers; {busy:.1f}% were 429, {pace:.0f} a second 200"
    figure(
        f"query service, {clients} clients for {seconds:g} s: errors that are not documented", wrong, shown, at_most=0
    )
    for name, count in list(said["undocumented"].items())[:20]:
        print(f"  {count:6} x {name}")
    legs = ", ".join(f"{name}: {count:,}" for name, count in sorted(said["degraded"].items()))
    print(f"legs that answers lacked: {legs or 'none'}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--url", help="a node; default: the embedded store, in a temporary file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        address = options.url or f"sqlite:{Path(folder) / 'images.sqlite'}"
        with filled(address, options.pictures) as index, running(address, index, Path(folder)) as service:
            print(
                f"load: {options.clients} clients for {options.seconds:g} s, {options.pictures:,} x {DIMENSION} "
                f"{'on a node' if options.url else 'embedded'}, {psutil.cpu_count()} cores"
            )
            memory = Memory(service)
            before, workers = memory.mebibytes(), memory.pids
            said, samples = load(service, index, options.clients, options.seconds, memory)
            time.sleep(_REST_SECONDS)
            after, same = memory.mebibytes(), memory.pids == workers
            alive = urllib3.request("GET", f"{service.address}/_dar/health", timeout=10, retries=False).status == 200
    report(said, options.clients, options.seconds)
    tenths = [max(samples[n * len(samples) // 10 : (n + 1) * len(samples) // 10]) for n in range(10)]
    print(f"memory, MiB: {before:.1f} before; by tenths of the time {' '.join(f'{most:.0f}' for most in tenths)}")
    what = f"query service, {options.clients} clients for {options.seconds:g} s: memory at the end, against half-way"
    figure(what, after / tenths[4], f"{after / tenths[4]:.2f} ({tenths[4]:.0f} to {after:.0f} MiB)", at_most=1.1)
    if not same:
        print("The service's process ended and was started again.")
    if said["clients"] != options.clients:
        print(f"Only {said['clients']} clients were there at the end.")
    failed = bool(said["undocumented"]) or not same or not alive or said["clients"] != options.clients
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
