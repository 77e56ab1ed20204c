"""Both stores against the least that their work costs; each part is a script that has options of its own.

python bench/stores.py [sqlite] [opensearch]
"""

import argparse
import subprocess
import sys
from pathlib import Path

PARTS = ("sqlite", "opensearch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="which stores; both if none is named", metavar="|".join(PARTS))
    parts = parser.parse_args().parts or PARTS
    if not set(parts) <= set(PARTS):
        parser.error(f"there are the parts {' and '.join(PARTS)}")
    failed = [part for part in parts if subprocess.run([sys.executable, _script(part)]).returncode]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _script(part: str) -> Path:
    return Path(__file__).with_name(f"stores_{part}.py")


if __name__ == "__main__":
    main()
