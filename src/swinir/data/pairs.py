"""Image files of a data set, and the pairs of low and high quality an evaluation compares."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.data.bsrgan import BsrganOptions, bsrgan
from swinir.data.degradations import add_gaussian_noise, compress_jpeg
from swinir.errors import DataError, ImageError


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One picture twice, [h, w, C] and [scale·h, scale·w, C], grey (C = 1) or RGB (C = 3).

    ``lq`` is uint8, or float32 with white at 1 where it is noise that no integer holds.
    """

    name: str
    lq: NDArray[np.uint8] | NDArray[np.float32]
    hq: NDArray[np.uint8]


def image_files(folder: Path) -> list[Path]:
    """List the image files below ``folder``, sorted by path.

    Raises:
        DataError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: name one that holds the images")
    files = sorted(path for path in folder.rglob("*") if _is_image(path) and path.is_file())
    if not files:
        raise DataError(f"no image in {folder}: looked for {', '.join(imaging.READABLE_SUFFIXES)}")
    return files


def _is_image(path: Path) -> bool:
    """Tell by its name; hidden files are not pictures (some systems leave ``._a.png`` beside ``a.png``)."""
    return path.suffix.lower() in imaging.READABLE_SUFFIXES and not path.name.startswith(".")


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


def super_resolution_pairs(folder: Path, scale: int, channels: int = 3) -> Iterator[Pair]:
    """Pair each high-resolution picture with its low-resolution version.

    ``folder`` holds the pictures themselves or a folder ``HR`` of them. Beside ``HR``, files of
    ``LR_bicubic/X<scale>/`` named ``<name>.png``, ``<name>x<scale>.png`` or alike are taken as they are; where
    there are none, it is made by MATLAB's bicubic, which gives the benchmark's files to the pixel.

    Raises:
        DataError: the folder is missing or empty, or sizes do not fit.
    """
    lq_folder = folder / "LR_bicubic" / f"X{scale}"
    for path in original_files(folder):
        try:
            hq = imaging.modcrop(read_pixels(path, channels), scale)
            lq_path = find_lq_file(lq_folder, path.stem, scale)
            lq = imaging.resize_bicubic(hq, 1 / scale) if lq_path is None else read_pixels(lq_path, channels)
        except ImageError as error:
            raise DataError(f"cannot evaluate on {folder}: {error}") from error
        if (lq.shape[0] * scale, lq.shape[1] * scale) != hq.shape[:2]:
            raise DataError(
                f"{lq_path} is {lq.shape[1]}×{lq.shape[0]}, which is not 1/{scale} of {path.name}'s "
                f"{hq.shape[1]}×{hq.shape[0]} pixels"
            )
        yield Pair(name=path.stem, lq=lq, hq=hq)


def denoising_pairs(folder: Path, sigma: float, channels: int = 3) -> Iterator[Pair]:
    """Pair each picture with itself under white Gaussian noise: the published evaluation's very noise.

    Args:
        folder: holds the pictures themselves or a folder ``HR`` of them.
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
        folder: holds the pictures themselves or a folder ``HR`` of them.
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
        folder: holds the pictures themselves or a folder ``HR`` of them.
        scale: how many times smaller the low quality is.
        options: of the degradation; the generator of a picture is seeded with its place in the folder.

    Raises:
        DataError: the folder is missing or empty, or a picture cannot be read.
    """
    for number, path in enumerate(original_files(folder)):
        try:
            hq = imaging.modcrop(read_pixels(path, 3), scale)
        except ImageError as error:
            raise DataError(f"cannot evaluate on {folder}: {error}") from error
        yield Pair(name=path.stem, lq=bsrgan(hq, scale, np.random.default_rng(number), options), hq=hq)


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
    for path in original_files(folder):
        try:
            hq = read(path)
        except ImageError as error:
            raise DataError(f"cannot evaluate on {folder}: {error}") from error
        yield Pair(name=path.stem, lq=degrade(hq), hq=hq)


def original_files(folder: Path) -> list[Path]:
    """List a test set's pictures: those of its folder ``HR``, or where there is none its own."""
    return image_files(folder / "HR" if (folder / "HR").is_dir() else folder)


def find_lq_file(folder: Path, stem: str, scale: int) -> Path | None:
    """Find the low-resolution file of a picture, or None when ``folder`` has none of them."""
    if not folder.is_dir():
        return None
    wanted = {stem, f"{stem}x{scale}", f"{stem}_LR", f"{stem}_x{scale}"}
    found = [
        path
        for path in folder.iterdir()
        if _is_image(path) and path.stem.lower() in {name.lower() for name in wanted}
    ]
    if not found:
        raise DataError(
            f"{folder} has no low-resolution file of {stem}: looked for {', '.join(sorted(wanted))}"
        )
    return sorted(found)[0]
