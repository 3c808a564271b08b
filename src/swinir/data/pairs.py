"""The pairs of low and high quality that an evaluation compares."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.data.bsrgan import BsrganOptions, bsrgan
from swinir.data.crop_degradations import Bicubic, Degradation, GaussianNoise, Jpeg, RealWorld, StoredPairs
from swinir.data.degradations import add_gaussian_noise, compress_jpeg
from swinir.data.layouts import name_pictures, original_files, pair_files
from swinir.data.stored import read_all_pairs
from swinir.errors import DataError, ImageError, UsageError

Level = TypeVar("Level", int, float)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One picture twice, [h, w, C] and [scale·h, scale·w, C], grey (C = 1) or RGB (C = 3).

    ``lq`` is uint8, or float32 with white at 1 where it is noise that no integer holds.
    """

    name: str
    lq: NDArray[np.uint8] | NDArray[np.float32]
    hq: NDArray[np.uint8]


def read_pixels(path: Path, channels: int | None = None) -> NDArray[np.uint8]:
    """Read a picture as uint8 [H, W, C].

    Args:
        path: the file.
        channels: 3 repeats grey as RGB, 1 turns RGB into full-range luma, None takes either as it is.

    Raises:
        ImageError: it cannot be read.
        DataError: it has more than 8 bits.
    """
    pixels = imaging.read(path).pixels
    if pixels.dtype != np.uint8:
        raise DataError(f"{path} has {pixels.dtype} pixels, but data sets are of 8 bits: convert it first")
    if channels is None:
        return pixels
    if channels == 3:
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    return imaging.rgb_to_gray(pixels) if pixels.shape[2] == 3 else pixels


def degraded_pairs(
    folder: Path, degradation: Degradation, *, scale: int = 1, channels: int = 3
) -> Iterator[Pair]:
    """Pair each original of a test set with what a degradation makes of it, the same every time.

    Args:
        folder: see ``layouts``.
        degradation: of one level: of noise and JPEG the least must be the greatest.
        scale: how many times smaller the low quality is.
        channels: 1 for grey, 3 for RGB.

    Raises:
        DataError: the folder is missing or empty, files do not pair, or one cannot be read.
        UsageError: the degradation is a range of levels.
    """
    match degradation:
        case Bicubic():
            return super_resolution_pairs(folder, scale, channels)
        case GaussianNoise(sigma=(least, greatest)):
            return denoising_pairs(folder, _require_one_level(least, greatest), channels)
        case Jpeg(quality=(least, greatest)):
            return jpeg_pairs(folder, _require_one_level(least, greatest), channels)
        case RealWorld(options=options):
            return real_world_pairs(folder, scale, options)
        case StoredPairs():
            return stored_pairs(folder, scale, channels)


def describe_degradation(degradation: Degradation, scale: int = 1) -> str:
    """Name in words what a model is asked to undo."""
    match degradation:
        case Bicubic():
            return f"bicubic ×{scale}"
        case GaussianNoise(sigma=(least, greatest)):
            return f"denoising, sigma {_require_one_level(least, greatest):g} of 255"
        case Jpeg(quality=(least, greatest)):
            return f"JPEG of quality {_require_one_level(least, greatest)}"
        case RealWorld():
            return f"real-world ×{scale}"
        case StoredPairs():
            return f"own pairs ×{scale}"


def _require_one_level(least: Level, greatest: Level) -> Level:
    if least != greatest:
        raise UsageError(f"a test set has one level of noise or JPEG, got {least} to {greatest}: choose one")
    return least


def super_resolution_pairs(folder: Path, scale: int, channels: int = 3) -> Iterator[Pair]:
    """Pair each original with its low-resolution file, or where the set has none, with one made as MATLAB does.

    MATLAB's bicubic gives the benchmarks' files to the pixel. Originals are cropped to multiples of ``scale``;
    ``layouts`` says where files are looked for.

    Raises:
        DataError: the folder is missing or empty, or files do not fit.
    """
    for files in pair_files(folder, scale):
        try:
            hq = imaging.modcrop(read_pixels(files.original, channels), scale)
            lq = (
                imaging.resize_bicubic(hq, 1 / scale)
                if files.low is None
                else read_pixels(files.low, channels)
            )
        except ImageError as error:
            raise DataError(f"cannot evaluate on {folder}: {error}") from error
        if (lq.shape[0] * scale, lq.shape[1] * scale) != hq.shape[:2]:
            raise DataError(
                f"{files.low} is {lq.shape[1]}×{lq.shape[0]}, which is not 1/{scale} of "
                f"{files.original.name}'s {hq.shape[1]}×{hq.shape[0]} pixels"
            )
        yield Pair(name=files.name, lq=lq, hq=hq)


def denoising_pairs(folder: Path, sigma: float, channels: int = 3) -> Iterator[Pair]:
    """Pair each picture with itself under white Gaussian noise: the published evaluation's very noise.

    Args:
        folder: see ``layouts``.
        sigma: standard deviation of the noise, of 255.
        channels: 1 for grey (of colour pictures the full-range luma), 3 for RGB.

    Raises:
        DataError: the folder is missing or empty, or a picture cannot be read.
    """

    def add_noise(hq: NDArray[np.uint8]) -> NDArray[np.float32]:
        # The published evaluation seeds its generator with 0 before every picture.
        return add_gaussian_noise(hq, sigma, np.random.RandomState(0))

    return _degraded_pairs(folder, lambda path: read_pixels(path, channels), add_noise)


def jpeg_pairs(folder: Path, quality: int, channels: int = 3) -> Iterator[Pair]:
    """Pair each picture with itself after JPEG, as OpenCV compresses and the published evaluation does.

    Args:
        folder: see ``layouts``.
        quality: 1 to 100, libjpeg's scale.
        channels: 1 for grey (of colour pictures the rounded BT.601 luma, 16 to 235), 3 for RGB.

    Raises:
        DataError: the folder is missing or empty, or a picture cannot be read.
    """

    def read(path: Path) -> NDArray[np.uint8]:
        return read_studio_luma(path) if channels == 1 else read_pixels(path, channels)

    return _degraded_pairs(folder, read, lambda hq: compress_jpeg(hq, quality))


def real_world_pairs(folder: Path, scale: int, options: BsrganOptions) -> Iterator[Pair]:
    """Pair each colour picture with what the real world might have made of it, the same every time.

    Args:
        folder: see ``layouts``.
        scale: how many times smaller the low quality is.
        options: of the degradation; the generator of a picture is seeded with its place in the folder.

    Raises:
        DataError: the folder is missing or empty, or a picture cannot be read.
    """
    paths = original_files(folder)
    for number, (name, path) in enumerate(zip(name_pictures(folder, paths), paths, strict=True)):
        try:
            hq = imaging.modcrop(read_pixels(path, 3), scale)
        except ImageError as error:
            raise DataError(f"cannot evaluate on {folder}: {error}") from error
        yield Pair(name=name, lq=bsrgan(hq, scale, np.random.default_rng(number), options), hq=hq)


def stored_pairs(folder: Path, scale: int, channels: int = 3) -> Iterator[Pair]:
    """Read the pairs of a set's folders ``lq`` and ``hq``, matched by name; more than 8 bits are rounded.

    Raises:
        DataError: files are missing, do not pair, or cannot be read.
    """
    try:
        for name, lq, hq in read_all_pairs(folder, scale, channels):
            yield Pair(name=name, lq=lq, hq=hq)
    except ImageError as error:
        raise DataError(f"cannot evaluate on {folder}: {error}") from error


def read_studio_luma(path: Path) -> NDArray[np.uint8]:
    """Read a grey picture as it is, and of a colour one the luma that JPEG restoration is measured on."""
    pixels = read_pixels(path)
    if pixels.shape[2] == 1:
        return pixels
    return imaging.rgb_to_y(pixels).round().astype(np.uint8)[:, :, None]


def _degraded_pairs(
    folder: Path,
    read: Callable[[Path], NDArray[np.uint8]],
    degrade: Callable[[NDArray[np.uint8]], NDArray[np.uint8] | NDArray[np.float32]],
) -> Iterator[Pair]:
    paths = original_files(folder)
    for name, path in zip(name_pictures(folder, paths), paths, strict=True):
        try:
            hq = read(path)
        except ImageError as error:
            raise DataError(f"cannot evaluate on {folder}: {error}") from error
        yield Pair(name=name, lq=degrade(hq), hq=hq)
