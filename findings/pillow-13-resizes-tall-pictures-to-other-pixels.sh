#!/bin/bash
# One would guess: Image.resize gives the same bytes in every Pillow of these years (the filters have not changed since
# 3.x), so the pixels that a vision encoder sees, and an index's vectors, do not depend on the version.
# True: Pillow 13.0 resizes down before across where the height shrinks by much (python-pillow #9549). Between the two
# passes values are cut off at 0 and 255, so the order shows: the same tall picture with sharp edges becomes other pixels
# than in 12.1, by up to 17 levels, with no option to choose. And resize(box=...) of a part, which is "resize, then crop"
# without the rest up to rounding in 12.1, is no longer that in 13.0: the order is chosen anew for the part.
# Exits 0 while this is so, 1 when it changes.
set -eu
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
trap 'rm -rf "$work"' EXIT
for version in 12.1.0 13.0.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet "pillow==$version" "numpy==2.3.5"
  "$work/$version/bin/python" - "$work/$version.npy" <<'PY'
import sys
import numpy as np
import PIL
from PIL import Image

rng = np.random.default_rng(0)
def tall(width, height):  # black and white blocks of a few pixels, as letters on a page are
    return Image.fromarray(np.kron(rng.integers(0, 2, (height // 4, width // 4), dtype=np.uint8) * 255,
                                   np.ones((4, 4), np.uint8)))
screenshot = tall(320, 2400)
whole = np.asarray(screenshot.resize((224, 224), Image.Resampling.BICUBIC), int)
strip = Image.fromarray(rng.integers(0, 256, (3000, 20), dtype=np.uint8))
cropped = np.asarray(strip.resize((224, 33600), Image.Resampling.BICUBIC), int)[16688:16912]
boxed = np.asarray(strip.resize((224, 224), Image.Resampling.BICUBIC, box=(0, 1490, 20, 1510)), int)
np.save(sys.argv[1], whole)
print(f"Pillow {PIL.__version__}: resize(box=...) differs from the crop of the whole by up to {abs(cropped - boxed).max()} levels")
PY
done
"$work/13.0.0/bin/python" - "$work" <<'PY'
import sys
import numpy as np

before, after = (np.load(f"{sys.argv[1]}/{version}.npy") for version in ("12.1.0", "13.0.0"))
difference = abs(before - after)
print(f"320 x 2400 resized to 224 x 224: 12.1.0 and 13.0.0 differ in {(difference > 0).mean():.0%} of the pixels, "
      f"by up to {difference.max()} levels")
sys.exit(0 if difference.max() > 5 else 1)
PY
