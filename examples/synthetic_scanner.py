"""Scan photos on a bad scanner that is made up: pairs to try training on one's own degradation with.

python examples/synthetic_scanner.py PHOTOS scans/

The scanner's lens blurs, more along its carriage; film grain is coarser than a pixel and strongest in the middle
tones; dust and hairs lie on the glass; the file is a JPEG. The first photos are kept for validation.
See docs/finetune.md.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.data import image_files
from swinir.data.blur import filter_picture, gaussian_kernel
from swinir.data.degradations import compress_jpeg

SIDE_PX = 384
BLUR_PX = (0.7, 1.1)  # standard deviations across and along the carriage
GRAIN_PX = 0.6
GRAIN_255 = 9.0
SPECKS_PER_MEGAPIXEL = 150
HAIRS_PER_MEGAPIXEL = 25
JPEG_QUALITY = 75

Pixels = NDArray[np.uint8]


def scan(photo: Pixels, generator: np.random.Generator) -> Pixels:
    """Scan a photo, [H, W, 3] RGB to the same size."""
    unit = np.divide(photo, 255, dtype=np.float32)
    across, along = BLUR_PX
    blurred = filter_picture(unit, gaussian_kernel(9, np.diag([across**2, along**2])))
    grain = generator.standard_normal((*photo.shape[:2], 1), np.float32)
    grain = filter_picture(grain, gaussian_kernel(5, np.eye(2) * GRAIN_PX**2))
    grain *= np.float32(GRAIN_255 / 255 / grain.std())
    middle = 4 * blurred.mean(axis=2, keepdims=True) * (1 - blurred.mean(axis=2, keepdims=True))
    grainy = blurred + grain * (0.3 + 0.7 * middle)
    cover = draw_dust(photo.shape[0], photo.shape[1], generator)[:, :, None]
    dusty = grainy * (1 - cover) + 0.92 * cover
    return compress_jpeg((dusty.clip(0, 1) * 255).round().astype(np.uint8), JPEG_QUALITY)


def draw_dust(height: int, width: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw how much of each pixel dust covers, [H, W] in [0, 1]: specks, and hairs that turn as they go."""
    cover = np.zeros((height, width, 1), np.float32)
    megapixels = height * width / 1e6
    for _ in range(generator.poisson(SPECKS_PER_MEGAPIXEL * megapixels)):
        row, column = (int(generator.integers(length)) for length in (height, width))
        size = int(generator.integers(1, 4))
        cover[row : row + size, column : column + size] = generator.uniform(0.4, 1)
    for _ in range(generator.poisson(HAIRS_PER_MEGAPIXEL * megapixels)):
        place = generator.uniform((0, 0), (height, width))
        angle, opacity = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 0.8)
        for _ in range(int(generator.integers(15, 60))):
            angle += generator.normal(0, 0.15)
            place += (np.sin(angle), np.cos(angle))
            row, column = (int(value) for value in place)
            if 0 <= row < height and 0 <= column < width:
                cover[row, column] = opacity
    return filter_picture(cover, gaussian_kernel(5, np.eye(2) * 0.5**2))[:, :, 0]


def main() -> None:
    """Write ``train/lq``, ``train/hq``, ``val/lq`` and ``val/hq``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--held-out", type=int, default=12, help="photos for validation")
    options = parser.parse_args()
    for number, path in enumerate(image_files(options.photos)):
        photo = imaging.read(path).pixels
        if photo.shape[2] != 3 or photo.dtype != np.uint8:
            continue
        top, left = ((length - min(SIDE_PX, length)) // 2 for length in photo.shape[:2])
        crop = np.ascontiguousarray(photo[top : top + SIDE_PX, left : left + SIDE_PX])
        part = options.folder / ("val" if number < options.held_out else "train")
        for kind, pixels in (("lq", scan(crop, np.random.default_rng(number))), ("hq", crop)):
            (part / kind).mkdir(parents=True, exist_ok=True)
            imaging.write(imaging.Image(pixels=pixels), part / kind / f"{path.stem}.png")


if __name__ == "__main__":
    main()
