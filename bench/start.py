"""What a command costs before it has done anything: `dar search` with the models loaded anew, and with warm ones.

Both are whole processes, one right after the other: the first starts the process that keeps the models, which loads
them, and the second finds it. Between the pairs it is stopped. The index has the demo's pictures and its encoder.

    python bench/start.py [--pictures 408] [--repeat 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dar_search.demo.picture_files import draw_gallery

BOUND = 0.15


def timed(*arguments: str, home: Path) -> float:
    """Wall-clock seconds of one command. Raises CalledProcessError."""
    began = time.perf_counter()
    environment = os.environ | {"DAR_DATA_FOLDER": str(home), "DAR_CONFIG": ""}
    command = [sys.executable, "-m", "dar_search", *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=408)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        files = draw_gallery(home / "gallery", options.pictures)
        timed("ingest", str(files.manifest), "--index", "photos", "--encoder", "demo", home=home)
        search = ("search", "--index", "photos", "--caption", "a red balloon at the beach")
        ratios = []
        for _ in range(options.repeat):
            first, second = timed(*search, home=home), timed(*search, home=home)
            timed("models", "stop", home=home)
            ratios.append(second / first)
            print(f"first {first:.2f} s, second {second:.2f} s: {second / first:.3f}", flush=True)
    middle = statistics.median(ratios)
    shown = f"{middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    what = f"`dar search` over {options.pictures} pictures: the second, on warm models, against the first"
    figure(what, middle, shown, at_most=BOUND)


if __name__ == "__main__":
    main()
