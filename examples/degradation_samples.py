"""Show what real-world training does to a photo: each part alone, and the whole chain.

python examples/degradation_samples.py photo.png degradations.webp
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.data.blur import (
    anisotropic_covariance,
    filter_picture,
    gaussian_kernel,
    isotropic_covariance,
)
from swinir.data.bsrgan import PUBLISHED, REALISTIC, bsrgan, downsample_by_stride, resize
from swinir.data.degradations import compress_jpeg
from swinir.data.noise import (
    Camera,
    add_camera_noise,
    add_color_noise,
    add_correlated_noise,
    add_gray_noise,
    add_poisson_noise,
    random_covariance,
)

TILE_PX = 180
SCALE = 4
# Everything is shown at twice its size, downsampling alone at four times, so that pixels can be seen.
ZOOM = 2
DETAIL_PX = TILE_PX // ZOOM * SCALE
# Where the detail's middle is, of the photo's height and width; in the page's photo a kitten's face is there.
CENTRE = (0.28, 0.59)
# The same of the detail in it that the parts are shown on: an eye.
INNER_CENTRE = (0.3, 0.27)

Picture = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def main(photo: Path, destination: Path) -> None:
    """Write the sheet: rows of blurs, downsamplings, noise, JPEG and order, then two rows of the chain."""
    detail = cut(imaging.read(photo).pixels, CENTRE, DETAIL_PX)
    small = cut(detail, INNER_CENTRE, TILE_PX // ZOOM)
    unit = to_unit(small)
    rows = [
        [small, *map(to_pixels, blurs(unit))],
        list(map(to_pixels, downsamplings(to_unit(cut(detail, INNER_CENTRE, TILE_PX))))),
        list(map(to_pixels, noises(unit))),
        [*(compress_jpeg(small, quality) for quality in (95, 60, 30)), *map(to_pixels, orders(unit))],
        [bsrgan(detail, SCALE, np.random.default_rng(seed), PUBLISHED) for seed in range(6)],
        [bsrgan(detail, SCALE, np.random.default_rng(seed), REALISTIC) for seed in range(6, 12)],
    ]
    tiles = [[enlarge(pixels, TILE_PX // len(pixels)) for pixels in row] for row in rows]
    sheet = stack([stack(row, axis=1) for row in tiles], axis=0)
    imaging.write(imaging.Image(pixels=sheet), destination, quality=80)


def blurs(picture: Picture) -> list[Picture]:
    """Blur round with sigmas 1.4 and 2.8 px, then stretched: two angles, and a wide one."""
    covariances = [
        isotropic_covariance(1.4),
        isotropic_covariance(2.8),
        anisotropic_covariance(np.pi / 6, 8, 0.3),
        anisotropic_covariance(np.pi / 6 + np.pi / 2, 8, 0.3),
        anisotropic_covariance(0, 8, 3),
    ]
    return [filter_picture(picture, gaussian_kernel(25, covariance)) for covariance in covariances]


def downsamplings(picture: Picture) -> list[Picture]:
    """Shrink to a quarter: three interpolations, a stride after two Gaussians, and by way of a smaller size."""
    final = (TILE_PX // SCALE, TILE_PX // SCALE)
    smaller = (final[0] * 5 // 8, final[1] * 5 // 8)
    return [
        resize(picture, final, "area"),
        resize(picture, final, "bilinear"),
        resize(picture, final, "bicubic"),
        downsample_by_stride(picture, SCALE, 0.4),
        downsample_by_stride(picture, SCALE, 2.4),
        resize(resize(picture, smaller, "area"), final, "bicubic"),
    ]


def noises(picture: Picture) -> list[Picture]:
    """Add Gaussian noise (colour, grey, correlated), photon noise (colour, grey) and a camera's, all strong."""
    generator = np.random.default_rng(1)
    camera = Camera(red_gain=2.2, blue_gain=1.7, shot=6e-3, read=1e-4)
    return [
        add_color_noise(picture, 25, generator),
        add_gray_noise(picture, 25, generator),
        add_correlated_noise(picture, random_covariance(25, generator), generator),
        add_poisson_noise(picture, 100, generator, gray=False),
        add_poisson_noise(picture, 100, generator, gray=True),
        add_camera_noise(picture, camera, generator),
    ]


def orders(picture: Picture) -> list[Picture]:
    """Demosaic without noise; and blur and noise in both orders."""
    quiet = Camera(red_gain=2.2, blue_gain=1.7, shot=0, read=0)
    kernel = gaussian_kernel(25, isotropic_covariance(1.4))
    return [
        add_camera_noise(picture, quiet, np.random.default_rng(0)),
        add_color_noise(filter_picture(picture, kernel), 25, np.random.default_rng(0)),
        filter_picture(add_color_noise(picture, 25, np.random.default_rng(0)), kernel),
    ]


def cut(pixels: Pixels, centre: tuple[float, float], side_px: int) -> Pixels:
    """Cut a square whose middle is at ``centre`` (of height and width), or as near as the borders let it be."""
    top, left = (
        min(max(round(at * side) - side_px // 2, 0), side - side_px)
        for at, side in zip(centre, pixels.shape[:2], strict=True)
    )
    return pixels[top : top + side_px, left : left + side_px]


def to_unit(pixels: Pixels) -> Picture:
    """Turn 8 bits into [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)


def to_pixels(picture: Picture) -> Pixels:
    """Clip [0, 1] and round to 8 bits."""
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def enlarge(pixels: Pixels, factor: int) -> Pixels:
    """Repeat each pixel, so that it can be seen."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def stack(tiles: list[Pixels], axis: int) -> Pixels:
    """Put tiles in a row (axis 1) or rows on each other (axis 0), a white gap between them."""
    shape = list(tiles[0].shape)
    shape[axis] = 6
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (gap, tile)][1:], axis=axis)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
