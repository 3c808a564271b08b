"""Make the pictures of the gallery with the models of the package: python docs/site/gallery.py.

All are details of examples/chelsea.png (CC0). Each shows, from left to right, what a model is given (enlarged by
bicubic where it is smaller), what the model makes of it, and the original where there is one.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir import Restorer, imaging
from swinir.data.bsrgan import REALISTIC, bsrgan
from swinir.data.degradations import compress_jpeg

REPOSITORY = Path(__file__).parents[2]
PHOTO = REPOSITORY / "examples" / "chelsea.png"
PICTURES = REPOSITORY / "docs" / "images"
GAP_PX = 6
QUALITY = 82

Pixels = NDArray[np.uint8]


def main() -> None:
    """Write every picture."""
    photo = imaging.read(PHOTO).pixels
    face, eye = photo[20:260, 60:380], photo[70:150, 100:206]
    for scale, detail in ((2, photo[50:210, 90:302]), (4, eye)):
        write(f"x{scale}", imaging.resize_bicubic(detail, scale), restore(f"lightweight-x{scale}", detail))
    noisy = (face + np.random.default_rng(0).normal(0, 25, face.shape)).round().clip(0, 255).astype(np.uint8)
    write("denoise", noisy, restore("denoise", noisy), face)
    compressed = compress_jpeg(face, 20)
    write("dejpeg", compressed, restore("dejpeg", compressed), face)
    worn = bsrgan(photo[:300, :448], 4, np.random.default_rng(10), REALISTIC)
    enlarged = imaging.resize_bicubic(worn, 4), restore("real-x4", worn), restore("real-x4-sharp", worn)
    write("real", *(pixels[20:260, 60:380] for pixels in (*enlarged, photo)))


def restore(model: str, pixels: Pixels) -> Pixels:
    """Restore with a model of the package."""
    return Restorer.from_pretrained(model, device="cpu")(np.ascontiguousarray(pixels))


def write(name: str, *tiles: Pixels) -> None:
    """Put tiles side by side, white between them."""
    gap = np.full((len(tiles[0]), GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([part for tile in tiles for part in (gap, tile)][1:], axis=1)
    imaging.write(imaging.Image(pixels=row), PICTURES / f"gallery-{name}.webp", quality=QUALITY)


if __name__ == "__main__":
    main()
