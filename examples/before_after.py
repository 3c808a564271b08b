"""Put a bicubic enlargement and a restored one side by side.

python examples/before_after.py photo.png photo_x4.png before_after.png
"""

import sys
from pathlib import Path

import numpy as np

from swinir import imaging

# Side of the detail that is shown, in pixels of the original: small enough to see pixels.
DETAIL_PX = 96
# Where its middle is, of the picture's height and width; in the sample photo an eye is there.
CENTRE = (0.38, 0.35)


def main(before: Path, after: Path, destination: Path) -> None:
    """Write the same detail of both pictures, left the bicubic one, right the restored one."""
    original, restored = imaging.read(before), imaging.read(after)
    scale = restored.height // original.height
    sides = (original.height, original.width)
    top, left = (
        min(max(round(at * side) - DETAIL_PX // 2, 0), side - DETAIL_PX)
        for at, side in zip(CENTRE, sides, strict=True)
    )
    enlarged = imaging.resize_bicubic(original.pixels, scale)
    window = np.s_[top * scale : (top + DETAIL_PX) * scale, left * scale : (left + DETAIL_PX) * scale]
    gap = np.full((DETAIL_PX * scale, 8, enlarged.shape[2]), 255, enlarged.dtype)
    pixels = np.concatenate([enlarged[window], gap, restored.pixels[window]], axis=1)
    imaging.write(imaging.Image(pixels=pixels), destination)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
